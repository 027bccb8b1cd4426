"""``stepwell fetch``: one durable request from the shell. Progress on stderr, the body on stdout."""

import asyncio
import shlex
import sys
import time

import click

from stepwell.cli.errors import CliError
from stepwell.cli.fetch_request import build, fingerprint, sorted_out
from stepwell.cli.options import check_run_id, client_settings, platform_options
from stepwell.cli.resume import Bookmark
from stepwell.server.settings import Settings
from stepwell.wire.constants import MAX_RETRIES

Json = dict[str, object]


@click.command()
@click.argument("target", metavar="URL", required=False)
@click.option("-X", "--request", "method", metavar="METHOD", help="Method [GET; POST with a body].")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; may be repeated.")
@click.option("-d", "--data", metavar="DATA", help="Body: text, @file, or @- for stdin.")
@click.option(
    "--json",
    "json_values",
    metavar="[DATA]",
    is_flag=False,
    flag_value="",
    multiple=True,
    help="With DATA: a JSON body; sets Content-Type and Accept. Alone: print the response as one JSON object.",
)
@click.option("--retries", type=click.IntRange(0, MAX_RETRIES), help="Tries after the first one [19].")
@click.option("--timeout", metavar="DURATION", help="Time for each phase of one attempt, such as 30s.")
@click.option("--deadline", metavar="DURATION", help="Time for everything, retries included.")
@click.option(
    "--max-body", metavar="SIZE", help="The largest body that is taken, such as 5GiB [the platform's: 64MiB]."
)
@click.option("-o", "--output", "file", metavar="FILE", help="Where the body goes [stdout].")
@click.option("-i", "--include", is_flag=True, help="Print status and headers before the body.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--resume", "run_id", metavar="RUN_ID", help="Go on with the request of this run.")
@click.option("--new", "anew", is_flag=True, help="Send anew, even while the same request is under way.")
@platform_options
def fetch(
    target: str | None,
    method: str | None,
    headers: tuple[str, ...],
    data: str | None,
    json_values: tuple[str, ...],
    retries: int | None,
    timeout: str | None,
    deadline: str | None,
    max_body: str | None,
    file: str | None,
    run_id: str | None,
    platform: str | None,
    port: int | None,
    db: str | None,
    *,
    include: bool,
    quiet: bool,
    anew: bool,
) -> None:
    """Make one durable HTTP request to URL.

    The platform that runs on this machine makes it, or else one inside of this command, on the database file. After a
    Ctrl-C run the same command again, or `stepwell fetch --resume RUN_ID`. Exits with 1 for a status of 400 or above.
    """
    target, json_data, as_json = sorted_out(target, json_values, run_id)
    if (target is None) == (run_id is None):
        raise CliError("Give a URL, or --resume RUN_ID.", 2)
    if run_id is not None:
        check_run_id(run_id)
    settings, url = client_settings(platform, port, db)
    bookmark: Bookmark | None = None
    request: Json = {}
    if target is not None:
        request = build(target, method, headers, data, json_data) | _policy(retries, timeout, deadline, max_body)
        bookmark = Bookmark(settings, fingerprint(request, url), time.time_ns() // 1_000_000, anew=anew)
    job = _Job(settings, url, request, bookmark, run_id, file, quiet=quiet, include=include, as_json=as_json)
    raise click.exceptions.Exit(job.perform())


def _policy(retries: int | None, timeout: str | None, deadline: str | None, max_body: str | None) -> Json:
    from stepwell.wire.durations import parse_duration
    from stepwell.wire.sizes import parse_size

    shape: Json = {} if retries is None else {"attempts": retries + 1}
    if max_body is not None:
        try:
            shape["max_body"] = parse_size(max_body)
        except ValueError as error:
            raise CliError(f"--max-body: {error}.", 2) from error
    for name, text in (("timeout_ms", timeout), ("deadline_ms", deadline)):
        if text is not None:
            try:
                shape[name] = parse_duration(f"{text}s" if text.isdigit() else text)
            except ValueError as error:
                raise CliError(f"--{name[:-3]} {text!r} is not a duration such as 30s or 5m.", 2) from error
            if not shape[name]:
                raise CliError(f"--{name[:-3]} must be longer than 0.", 2)
    return shape


class _Job:
    """One command's work, and what to say when it is interrupted."""

    def __init__(
        self,
        settings: Settings,
        url: str | None,
        request: Json,
        bookmark: Bookmark | None,
        run_id: str | None,
        file: str | None,
        *,
        quiet: bool,
        include: bool,
        as_json: bool,
    ) -> None:
        self._settings = settings
        self._url = url
        self._request = request
        self._bookmark = bookmark
        self._run_id = run_id
        self._file = file
        self._quiet = quiet
        self._include = include
        self._as_json = as_json

    def perform(self) -> int:
        """The exit code: 0, 1 for an answer of 400 or above, 130 after a Ctrl-C."""
        from stepwell.cli.platform import NotRunning
        from stepwell.cli.receive import NotDelivered, RequestFailed

        try:
            return asyncio.run(self._work())
        except KeyboardInterrupt:
            print(f"Interrupted. {self._farewell()}", file=sys.stderr)
            return 130
        except NotRunning as error:
            raise CliError(f"{error} {self._farewell()}" if self._run_id else str(error)) from error
        except NotDelivered as error:
            raise CliError(f"{error} {self._farewell()}") from error
        except RequestFailed:
            self._forget()
            raise

    async def _work(self) -> int:
        from stepwell.cli.fetch_json import deliver_json
        from stepwell.cli.local import working
        from stepwell.cli.progress import Progress
        from stepwell.cli.receive import deliver, follow, start

        progress = Progress(quiet=self._quiet)
        async with working(self._settings, self._url) as platform:
            if self._bookmark is not None:
                self._run_id = await start(platform, self._request, self._bookmark, progress)
            assert self._run_id is not None
            steps = await follow(platform, self._run_id, progress)
            if self._as_json:
                code = await deliver_json(platform, self._run_id, steps, file=self._file)
            else:
                code = await deliver(platform, steps, include=self._include, file=self._file)
        self._forget()
        return code

    def _forget(self) -> None:
        if self._bookmark is not None:
            self._bookmark.drop()

    def _farewell(self) -> str:
        if self._run_id is None:
            return "The request was not accepted yet; run the same command again."
        where = "".join(f" {shlex.quote(word)}" for word in self._where())
        return f"The request is kept: go on with: stepwell fetch --resume {self._run_id}{where}"

    def _where(self) -> list[str]:
        """The options that say what variables and the file do not say: a database's URL is not shown for nothing."""
        default, _ = client_settings(None, None, None)
        words = ["--url", self._url] if self._url else []
        if self._settings.port != default.port:
            words += ["--port", str(self._settings.port)]
        return words + (["--db", self._settings.db] if self._settings.db != default.db else [])
