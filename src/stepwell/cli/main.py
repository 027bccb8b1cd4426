"""The entry point. Whatever goes wrong ends in one line on stderr and an exit code, never in a traceback."""

import io
import os
import sys
from collections.abc import Sequence

NEEDS_SERVER = "The command line needs the server extra: pip install 'stepwell[server]'"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's) and exit: 0 well, 1 failed, 2 misused, 130 stopped."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """The same, with the exit code as the result."""
    _speak()
    try:
        from stepwell.cli.guard import guarded
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "stepwell":
            raise
        print(f"Error: {NEEDS_SERVER}", file=sys.stderr)
        return 1
    return guarded(list(sys.argv[1:] if argv is None else argv))


def _speak() -> None:
    """There is an output, also where it was closed; a character that it has no code for is no reason to stop."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # as with `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
