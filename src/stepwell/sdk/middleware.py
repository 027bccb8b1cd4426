"""Middleware: code of the user's around every call of a function (``Client(middleware=[...])``), as the other SDKs have it.

A new instance is made for each call request, or send of events outside of a run. Hooks run in this order, the client's
middleware before the function's; those named ``after_*`` and ``transform_output`` run in the reverse order::

    transform_input, before_memoization                      at the start of a call
    (the function's code as far as its steps are on record)
    after_memoization, before_execution                      where new code begins
    (the new code: up to the next step, a step's callable, or the end)
    after_execution                                          unless the function raised
    transform_output, before_response

    before_send_events, after_send_events                    around client.send and step.send_event
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.client import Client
    from stepwell.sdk.context import Context, ContextSync
    from stepwell.sdk.events import Event
    from stepwell.sdk.functions import Function


class NoOutput:
    """The type of ``NO_OUTPUT``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_OUTPUT"


NO_OUTPUT = NoOutput()
"""The output of a function that raised: None is a value of its own."""


@dataclass(slots=True)
class StepMemo:
    """The record of an ended step. ``data``: its result, JSON; ``error``: name, message and stack of one that failed.

    What a hook sets them to is what the function gets; an ``error`` that is not None goes before ``data``.
    """

    data: Any = None
    error: dict[str, Any] | None = None


class StepMemos:
    """The ended steps of the run, in the order in which they ended."""

    __slots__ = ("_memos",)

    def __init__(self, memos: Mapping[str, StepMemo]) -> None:
        self._memos = memos

    def __len__(self) -> int:
        return len(self._memos)

    def values(self) -> Iterator[StepMemo]:
        """The memos."""
        return iter(self._memos.values())

    def items(self) -> Iterator[tuple[str, StepMemo]]:
        """The memos with the steps' hashed ids."""
        return iter(self._memos.items())


@dataclass(slots=True)
class TransformOutputStepInfo:
    """The step of an output. ``id`` is the user's; ``opts`` what the platform is told of it, which may be changed in place."""

    id: str
    op: Opcode
    opts: dict[str, Any] | None


@dataclass(slots=True)
class TransformOutputResult:
    """What a step or a function came to; a hook may set ``output`` and ``error``.

    ``output``: what it returned, before it becomes JSON; ``NO_OUTPUT`` where the function raised. ``error``: what it raised;
    the outcome is an error while it is not None. ``step``: None for the function itself.
    """

    error: BaseException | None
    output: Any
    step: TransformOutputStepInfo | None

    def has_output(self) -> bool:
        """Whether ``output`` is a value."""
        return self.output is not NO_OUTPUT


@dataclass(slots=True, frozen=True)
class SendEventsResult:
    """What became of the events: their ids, or what went wrong."""

    ids: list[str]
    error: str | None = None


class _Base:
    def __init__(self, client: Client, raw_request: object) -> None:
        self.client = client
        self.raw_request = raw_request
        """The request as the framework has it; None where there is none."""


class Middleware(_Base):
    """Middleware whose hooks are ``async def``; for both kinds of functions. Override what you need."""

    async def transform_input(self, ctx: Context[Any] | ContextSync[Any], function: Function, steps: StepMemos) -> None:
        """A call has come: change ``ctx`` and the memos before the function gets them. Called for every call."""

    async def before_memoization(self) -> None:
        """Before the function runs through what is on record."""

    async def after_memoization(self) -> None:
        """The function has come to the end of what is on record."""

    async def before_execution(self) -> None:
        """Before new code runs."""

    async def after_execution(self) -> None:
        """After new code has run: it found steps, ran one, or returned."""

    async def transform_output(self, result: TransformOutputResult) -> None:
        """A function returned or raised, or one step was found or run. Not called for steps that are planned in parallel."""

    async def before_response(self) -> None:
        """Before the answer goes to the platform."""

    async def before_send_events(self, events: list[Event[Any]]) -> None:
        """Before events are sent: change them in place."""

    async def after_send_events(self, result: SendEventsResult) -> None:
        """After events were sent, or could not be."""


class MiddlewareSync(_Base):
    """Middleware whose hooks are plain; for both kinds of functions. They run on the event loop, so they must not block."""

    def transform_input(self, ctx: Context[Any] | ContextSync[Any], function: Function, steps: StepMemos) -> None:
        """As :meth:`Middleware.transform_input`."""

    def before_memoization(self) -> None:
        """As :meth:`Middleware.before_memoization`."""

    def after_memoization(self) -> None:
        """As :meth:`Middleware.after_memoization`."""

    def before_execution(self) -> None:
        """As :meth:`Middleware.before_execution`."""

    def after_execution(self) -> None:
        """As :meth:`Middleware.after_execution`."""

    def transform_output(self, result: TransformOutputResult) -> None:
        """As :meth:`Middleware.transform_output`."""

    def before_response(self) -> None:
        """As :meth:`Middleware.before_response`."""

    def before_send_events(self, events: list[Event[Any]]) -> None:
        """As :meth:`Middleware.before_send_events`."""

    def after_send_events(self, result: SendEventsResult) -> None:
        """As :meth:`Middleware.after_send_events`."""


AnyMiddleware = Middleware | MiddlewareSync
MakeMiddleware = Callable[["Client", object], AnyMiddleware]
"""What lists of middleware hold: the class, or a function that makes an instance."""
