"""Runs a command and turns every way that it can fail into one line and an exit code."""

import os
import sys
import traceback

import click

from stepwell.cli.errors import explain, one_line
from stepwell.cli.group import cli

INTERRUPTED = 130


def guarded(argv: list[str]) -> int:
    """Run ``stepwell ARGV...``; the exit code."""
    try:
        code = cli.main(args=argv, prog_name="stepwell", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.ClickException as error:
        return _complain(_usage(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001 - whatever it is, the user gets one line
        if os.environ.get("STEPWELL_DEBUG"):
            traceback.print_exc()
        line, code = explain(error)
        return _complain(line, code)


def _complain(line: str, code: int) -> int:
    print(f"Error: {one_line(line)}", file=sys.stderr)
    return code


def _usage(error: click.ClickException) -> str:
    message = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} Try `{context.command_path} --help`." if context is not None else message


def _reader_gone() -> int:
    """Whoever read our output has enough; keep Python from complaining when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
