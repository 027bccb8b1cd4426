"""User exceptions as answers: names, messages, tracebacks, and what they say about trying again."""

import math
import traceback
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from stepwell.errors import FetchError, NonRetriableError, RetryAfterError, StepError
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.dates import rfc3339
from stepwell.wire.errors import MAX_CAUSES, ErrorInfo

_MAX_STACK = 32_000


class Exited(Exception):
    """User code called ``sys.exit()`` in a task, where the SystemExit itself would end the whole program's loop."""


async def without_exit(awaitable: Awaitable[Any]) -> Any:
    """Await it; a SystemExit comes out as ``Exited``."""
    try:
        return await awaitable
    except SystemExit as error:
        raise Exited(_exit_text(error)) from error


def info(error: BaseException, depth: int = 0) -> ErrorInfo:
    """What travels of an exception: of a step's, what the step told; and what it was raised from, as its ``cause``."""
    if isinstance(error, Exited | SystemExit):
        text = str(error) if isinstance(error, Exited) else _exit_text(error)
        return ErrorInfo(name="SystemExit", message=text, stack=_stack(error))
    cause = None
    if error.__cause__ is not None and depth < MAX_CAUSES:
        cause = msgspec.Raw(msgspec.json.encode(info(error.__cause__, depth + 1)))
    if not isinstance(error, StepError):
        return ErrorInfo(name=type(error).__name__, message=message_of(error), stack=_stack(error), cause=cause)
    data = None if error.data is None else msgspec.Raw(msgspec.json.encode(error.data))
    return ErrorInfo(
        name=error.name, message=message_of(error), stack=error.stack or _stack(error), cause=cause, data=data
    )


def encoded(error: BaseException) -> bytes:
    """The same as JSON."""
    return msgspec.json.encode(info(error))


def is_final(error: BaseException) -> bool:
    """Whether trying again is no use: the user says so, or a step's own attempts are used up already.

    The latter also for an exception that was raised from a ``FetchError``, as clients with durable transports do: the
    recorded failure would raise it again. ``RetryAfterError`` is the user's word for the contrary.
    """
    if isinstance(error, RetryAfterError):
        return False
    return isinstance(error, NonRetriableError | StepError) or _from_fetch(error)


def _from_fetch(error: BaseException) -> bool:
    seen: set[int] = set()
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, FetchError):
            return True
        seen.add(id(cause))
        cause = cause.__cause__
    return False


def retry_after(error: BaseException) -> str | None:
    """The header's text for an error that names its time: whole seconds, or an RFC 3339 instant."""
    if not isinstance(error, RetryAfterError):
        return None
    when = error.retry_after
    if isinstance(when, datetime):
        return rfc3339(when)
    seconds = when.total_seconds() if isinstance(when, timedelta) else when / 1000
    return str(max(0, math.ceil(seconds)))


def answer(error: BaseException) -> Answer:
    """The answer of a function that raised."""
    return Answer(
        kind=AnswerKind.ERROR,
        error=info(error),
        no_retry=is_final(error),
        retry_after=retry_after(error),
        req_version=REQUEST_VERSION,
    )


def problem(name: str, message: str, *, no_retry: bool = False) -> Answer:
    """An ERROR answer that is the SDK's own."""
    return Answer(
        kind=AnswerKind.ERROR,
        error=ErrorInfo(name=name, message=message),
        no_retry=no_retry,
        req_version=REQUEST_VERSION,
    )


def _stack(error: BaseException) -> str:
    return _sound("".join(traceback.format_exception(error))[-_MAX_STACK:])


def _exit_text(error: SystemExit) -> str:
    return f"the code called sys.exit({error.code!r}), which is no way to end a run: return, or raise an exception"


def message_of(error: BaseException) -> str:
    """Its message, whatever its class makes of that."""
    try:
        return _sound(str(error))
    except Exception as second:  # noqa: BLE001 - a broken __str__ must not hide the error
        return f"{type(error).__name__}, whose message can not be shown: {type(second).__name__}"


def _sound(text: str) -> str:
    """The text as a plain ``str`` that UTF-8 can write: halves of surrogate pairs, which file names may have, are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()
