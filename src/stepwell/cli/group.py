"""The command group. A command's module is imported only when that command is used."""

from importlib import import_module
from typing import Any, cast

import click

from stepwell.wire.constants import VERSION

_COMMANDS: dict[str, tuple[str, str]] = {
    "dev": ("stepwell.cli.dev:dev", "Run a development platform, with the functions of APP.py in the same process."),
    "serve": ("stepwell.cli.dev:serve", "Run a production platform; needs a signing key and an event key."),
    "fetch": ("stepwell.cli.fetch:fetch", "Make one durable HTTP request; survives Ctrl-C and resumes."),
    "send": ("stepwell.cli.send:send", "Send an event."),
    "runs": ("stepwell.cli.runs:runs", "List runs, or show one as a timed tree of its steps."),
    "tail": ("stepwell.cli.tail:tail", "Show events and runs as they come and go."),
    "rerun": ("stepwell.cli.rerun:rerun", "Run a run again, from its start or from a step."),
    "cancel": ("stepwell.cli.cancel:cancel", "End runs: by id, or many of a function by an expression."),
    "workers": ("stepwell.cli.workers:workers", "List the processes of the platform."),
    "functions": ("stepwell.cli.functions:functions", "List functions; pause one, resume one."),
    "prune": ("stepwell.cli.prune:prune", "Delete runs that ended long ago, and what belongs to them."),
    "rekey": (
        "stepwell.cli.rekey:rekey",
        "Seal a database anew with the newest encryption key, so that older ones can go.",
    ),
    "migrate": ("stepwell.cli.migrate:migrate", "Bring the schema of a PostgreSQL database up to date."),
    "doctor": ("stepwell.cli.doctor:doctor", "Check the settings, the keys, the port, the database and the apps."),
    "completion": ("stepwell.cli.completion:completion", "Print the script for completion in bash, zsh or fish."),
    "version": ("stepwell.cli.group:version", "Print the version."),
}


class LazyGroup(click.Group):
    """Knows names and one-line helps, and loads the rest on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a user's first hour."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its module imported."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(import_module(module), name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, with an error that lists what there is."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"There is no command {args[0]!r}; there are {', '.join(_COMMANDS)}.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=LazyGroup, context_settings=_SETTINGS)
@click.version_option(VERSION, message="stepwell %(version)s")
def cli() -> None:
    """Stepwell: durable functions and durable HTTP requests."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
def version(as_json: bool) -> None:
    """Print the version."""
    click.echo(f'{{"version": "{VERSION}"}}' if as_json else f"stepwell {VERSION}")
