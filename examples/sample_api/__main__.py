"""Start the sample API: ``python -m examples.sample_api [--host H] [--port P] [--print-port] [--delay-ms MS]``."""

import argparse
import asyncio
import contextlib
import signal

from aiohttp import web

from examples.sample_api.app import make_app


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.sample_api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8300, help="0 takes a free port (default: 8300)")
    parser.add_argument("--print-port", action="store_true", help="the first line of output is the port alone")
    parser.add_argument("--delay-ms", type=int, default=0, help="time that each file takes (default: 0)")
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    """Listen until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers on the loop
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(make_app(delay_ms=options.delay_ms), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port, backlog=1024).start()
    port = runner.addresses[0][1]
    print(port if options.print_port else f"sample API on http://{options.host}:{port}", flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments()))
