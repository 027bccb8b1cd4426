"""What a function gets: its event, its run, its tools. Without slots: middleware may add attributes of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from stepwell.sdk.events import Event, read_event
from stepwell.sdk.generics import D
from stepwell.wire.calls import CallRequest

if TYPE_CHECKING:
    from stepwell.sdk.functions import Function
    from stepwell.sdk.group import Group, GroupSync
    from stepwell.sdk.steps import Step
    from stepwell.sdk.steps_sync import StepSync

Logger = logging.LoggerAdapter[logging.Logger]


@dataclass(eq=False)
class _Base(Generic[D]):
    event: Event[D]
    """The event that started the run (the first one of a batch)."""
    events: list[Event[D]]
    run_id: str
    attempt: int
    """Failed attempts before this one, of the call that runs now: counts from 0."""
    logger: Logger
    """Logs once: silent while a replay passes code that has run before."""


@dataclass(eq=False)
class Context(_Base[D]):
    """The argument of an ``async def`` function. ``Context[Order]`` where its trigger's ``schema`` is ``Order``."""

    step: Step
    group: Group


@dataclass(eq=False)
class ContextSync(_Base[D]):
    """The argument of a ``def`` function. ``ContextSync[Order]`` where its trigger's ``schema`` is ``Order``."""

    step: StepSync
    group: GroupSync


class _RunLogger(Logger):
    def __init__(self, logger: logging.Logger, run_id: str, replaying: Callable[[], bool]) -> None:
        super().__init__(logger, {"run_id": run_id})
        self._replaying = replaying

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the base's name
        return not self._replaying() and super().isEnabledFor(level)


def make_context(
    request: CallRequest, function: Function, step: Step, replaying: Callable[[], bool], *, plain: bool = False
) -> Context[Any]:
    """The context of an async function's execution. ``plain``: middleware comes first, so that the events' data are JSON.

    Raises ``EventDataError``.
    """
    from stepwell.sdk.group import Group

    events, logger = _shared(request, function, replaying, plain)
    return Context(events[0], events, request.run_id, request.attempt, logger, step, Group())


def make_context_sync(
    request: CallRequest,
    function: Function,
    step: StepSync,
    group: GroupSync,
    replaying: Callable[[], bool],
    *,
    plain: bool = False,
) -> ContextSync[Any]:
    """As :func:`make_context`, of a sync function's pass."""
    events, logger = _shared(request, function, replaying, plain)
    return ContextSync(events[0], events, request.run_id, request.attempt, logger, step, group)


def _shared(
    request: CallRequest, function: Function, replaying: Callable[[], bool], plain: bool
) -> tuple[list[Event[Any]], Logger]:
    events: list[Event[Any]] = [read_event(raw) for raw in request.events]
    if not plain:
        events = [function.typed(event) for event in events]
    if not events:
        events.append(Event(data={}))
    return events, _RunLogger(function.logger, request.run_id, replaying)
