"""``stepwell doctor``: what a platform would be told, from where, and whether it could work."""

import asyncio
import json
import os
import sys

import click
import msgspec

from stepwell.cli.checks import Check, Verdict, examine
from stepwell.cli.server_options import server_options, started_settings
from stepwell.server.settings import Settings
from stepwell.server.settings.shown import Shown, show

_MARKS = {Verdict.OK: "ok", Verdict.WARNING: "warning", Verdict.FAILED: "FAILED"}


@click.command()
@click.option("--serve", is_flag=True, help="Check what `stepwell serve` would be told, not `stepwell dev`.")
@click.option("--quick", is_flag=True, help="Leave out what is stored of each run.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@server_options
def doctor(serve: bool, quick: bool, as_json: bool, **flags: object) -> None:
    """Check the settings, and what they lead to: keys, port, database, apps; and what is stored of every run.

    Takes the options of `stepwell dev` and `stepwell serve`. Exits with 0 when all is well, 1 when a check failed, 2 when the
    settings make no sense. The database is opened as a start would do it; no app is changed.
    """
    loaded = started_settings("cloud" if serve else "dev", flags)
    shown = show(loaded)
    checks = asyncio.run(_all(loaded.settings, quick))
    failed = any(check.verdict is Verdict.FAILED for check in checks)
    if as_json:
        told = {"ok": not failed, "file": loaded.file, "settings": shown, "checks": checks}
        sys.stdout.write(json.dumps(msgspec.to_builtins(told), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join([*settings_table(shown), "", *checks_table(checks)]) + "\n")
    raise click.exceptions.Exit(1 if failed else 0)


async def _all(settings: Settings, quick: bool) -> list[Check]:
    checks = await examine(settings, os.environ)
    if quick or any(check.name == "database" and check.verdict is Verdict.FAILED for check in checks):
        return checks
    from stepwell.cli.check_runs import examine_runs

    return [*checks, *await examine_runs(settings)]


def settings_table(shown: list[Shown]) -> list[str]:
    """Names, values and sources in columns."""
    name, value = (max(len(text) for text in column) for column in ([s.name for s in shown], [s.value for s in shown]))
    return [f"{each.name:<{name}}  {each.value:<{min(value, 48)}}  {each.source}" for each in shown]


def checks_table(checks: list[Check]) -> list[str]:
    """Verdicts and sentences."""
    return [f"{_MARKS[check.verdict]:<7}  {check.name}: {check.message}" for check in checks]
