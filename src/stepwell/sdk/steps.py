"""``ctx.step``: the tools that a function has. The id of a step is given when the call is made, not when it is awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack, overload

from msgspec.structs import replace

from stepwell.sdk import fetching
from stepwell.sdk.ai import AI
from stepwell.sdk.drivers.preview import Preview, Recorded
from stepwell.sdk.generics import D
from stepwell.sdk.invoking import Data, Timeout, full_id, invoke_call, target
from stepwell.sdk.realtime import NOTHING, one_of
from stepwell.sdk.running import run_call
from stepwell.sdk.signals import OnConflict, Signal, came, signal_call
from stepwell.sdk.sleeping import sleep_call, sleep_until_call
from stepwell.sdk.waiting import met, wait_call
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    import httpx2

    from stepwell.sdk.client import EventLike
    from stepwell.sdk.drivers.execution import Execution
    from stepwell.sdk.events import Event, EventType
    from stepwell.sdk.functions import Function
    from stepwell.sdk.machine import StepCall
    from stepwell.sdk.texts import TextSource

T = TypeVar("T")
Out = TypeVar("Out")
Args = TypeVarTuple("Args")


class Step:
    """The steps of an ``async def`` function. Every method returns an awaitable, so that steps can run in parallel."""

    def __init__(self, run: Execution, function: Function[Any]) -> None:
        self._run = run
        self._function = function
        self.ai = AI(run)

    @overload
    def run(
        self, step_id: str, handler: Callable[[*Args], object], *handler_args: *Args, output_type: type[Out]
    ) -> Coroutine[Any, Any, Out]: ...
    @overload
    def run(
        self, step_id: str, handler: Callable[[*Args], Awaitable[T]], *handler_args: *Args, output_type: Any = None
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def run(
        self, step_id: str, handler: Callable[[*Args], T], *handler_args: *Args, output_type: Any = None
    ) -> Coroutine[Any, Any, T]: ...
    def run(
        self,
        step_id: str,
        handler: Callable[[*Args], Any],
        *handler_args: *Args,
        output_type: Any = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run ``handler(*handler_args)`` once and record what it returns; replays get the record.

        An async handler runs on the loop, a plain one in a thread. Its result goes through JSON: it comes back as the
        handler's return annotation, or ``output_type``, where that is a dataclass, a model or a datetime, else as plain
        JSON. Raises ``StepError`` once the step has failed for good.
        """
        self._run.check()
        return self._wait(run_call(self._run.machine, step_id, handler, handler_args, output_type))

    def sleep(self, step_id: str, duration: int | timedelta | str) -> Coroutine[Any, Any, None]:
        """Sleep durably, up to a year. ``duration``: a text such as ``"1h30m"``, a ``timedelta``, or whole milliseconds."""
        self._run.check()
        return self._wait(sleep_call(self._run.machine, step_id, duration))

    def sleep_until(self, step_id: str, until: datetime) -> Coroutine[Any, Any, None]:
        """Sleep durably until a moment with a zone; one in the past ends at once."""
        self._run.check()
        return self._wait(sleep_until_call(self._run.machine, step_id, until))

    def fetch(
        self, url: fetching.UrlOrRequest, **options: Unpack[fetching.FetchOptions]
    ) -> Coroutine[Any, Any, httpx2.Response]:
        """A durable request: performed by the platform, retried, recorded once. Takes what ``httpx.request`` takes.

        ``url``: an absolute URL or a ready ``Request``. Beyond httpx's keywords: ``id`` (the step's id; default: method,
        host and path), ``retry`` (a :class:`Retry`), ``idempotency_key`` (``""`` for none), ``at_most_once``,
        ``deadline`` (seconds, over all attempts), ``poll`` (follow a 202 until the job is done), ``callback`` (the result is
        the request that the upstream makes to the URL that takes the place of ``stepwell.CALLBACK_URL``), ``max_body`` (bytes
        or a text such as ``"1GiB"``: a larger response is an error), ``stream`` (the body is read from the record, part by
        part, with ``aiter_bytes()`` and its like). Raises ``FetchError`` when there was no response.
        """
        self._run.check()
        asked = fetching.prepare(url, options)
        call = self._run.machine.make(asked.step_id, Opcode.GATEWAY, explicit=asked.explicit)
        return self._run.made(call, self._fetch(call, asked))

    def send_event(self, step_id: str, events: EventLike | Sequence[EventLike]) -> Coroutine[Any, Any, list[str]]:
        """Send events as a step; their ids."""
        return self.run(step_id, self._function.client.send_in_step, events)

    def invoke(
        self, step_id: str, *, function: Function[T], data: Data | None = None, timeout: Timeout | None = None
    ) -> Coroutine[Any, Any, T]:
        """Call another function and wait for what it returns. Raises ``StepError`` when it failed or took too long.

        ``data`` is what it finds in ``ctx.event.data``. ``timeout``: ``"1h"``, a ``timedelta`` or milliseconds; default: a
        year. The called function goes on when its caller no longer waits.
        """
        self._run.check()
        return self._wait(
            invoke_call(self._run.machine, step_id, target(step_id, function), data, timeout, function.kind)
        )

    def invoke_by_id(
        self,
        step_id: str,
        *,
        function_id: str,
        app_id: str | None = None,
        data: Data | None = None,
        timeout: Timeout | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """As :meth:`invoke`, for a function that is not at hand: its ``fn_id``, and its app where that is another one."""
        self._run.check()
        called = full_id(step_id, self._function.client.app_id, app_id, function_id)
        return self._wait(invoke_call(self._run.machine, step_id, called, data, timeout))

    def wait_for_event(
        self, step_id: str, *, event: str | EventType[D], timeout: Timeout, if_exp: str | None = None
    ) -> Coroutine[Any, Any, Event[D] | None]:
        """Wait for an event of a name; None when none came in time.

        ``if_exp``: an expression of ``event``, the one that started this run, and ``async``, the one that may be it, such as
        ``"event.data.order == async.data.order"``. ``timeout``: ``"7d"``, a ``timedelta`` or milliseconds, up to a year.
        Events that came before the wait began do not count.
        """
        self._run.check()
        call = wait_call(self._run.machine, step_id, event, timeout, if_exp)
        return self._run.made(call, self._event(call))

    def wait_for_signal(
        self, step_id: str, *, signal: str, timeout: Timeout, on_conflict: OnConflict = "fail"
    ) -> Coroutine[Any, Any, Signal | None]:
        """Wait for the signal of a name, that one sender sends to this one step; None when it did not come in time.

        While another step waits for it, the run fails, or, with ``on_conflict="replace"``, this one takes the signal over and
        the other has its time-out left. ``timeout``: ``"7d"``, a ``timedelta`` or milliseconds, up to a year.
        """
        self._run.check()
        call = signal_call(self._run.machine, step_id, signal, timeout, on_conflict)
        return self._run.made(call, self._signal(call))

    async def _signal(self, call: StepCall) -> Signal | None:
        return came(await self._run.memo(call))

    def send_signal(self, step_id: str, *, signal: str, data: Any = None) -> Coroutine[Any, Any, str | None]:
        """Send a signal as a step; the id of the run that waited for it, None where none did."""
        return self.run(step_id, self._function.client.send_signal, signal, data)

    @overload
    def publish(
        self, step_id: str | None = None, *, channel: str, topic: str, stream: TextSource
    ) -> Coroutine[Any, Any, str]: ...

    @overload
    def publish(
        self, step_id: str | None = None, *, channel: str, topic: str, data: Any
    ) -> Coroutine[Any, Any, None]: ...

    def publish(
        self,
        step_id: str | None = None,
        *,
        channel: str,
        topic: str,
        data: Any = NOTHING,
        stream: TextSource | None = None,
    ) -> Coroutine[Any, Any, str | None]:
        """Publish as a step, once: JSON for those who read the topic of the channel now. ``step_id``: default, the topic.

        ``stream``: a text instead, piece by piece as it comes. It is the step's result as a whole. A function that returns
        the iterator is called when the step is run, and not at a replay.
        """
        name, client = step_id or f"publish: {topic}", self._function.client
        one_of(data, stream)
        if stream is not None:
            return self.run(name, client.publish_stream, channel, topic, stream, self._run.run_id)
        return self.run(name, client.publish, channel, topic, data, self._run.run_id)

    def _wait(self, call: StepCall) -> Coroutine[Any, Any, Any]:
        return self._run.made(call, self._run.wait(call))

    async def _event(self, call: StepCall) -> Event[Any] | None:
        return met(await self._run.memo(call), call.kind)

    async def exchange(self, asked: fetching.Sendable) -> FetchResponse:
        """The recorded response to a client's request, as received: what durable transports stand on."""
        found, ref = await self._recorded(await self._in_turn(asked), asked)
        return found if ref is None else await self._loaded(found, ref)

    async def exchange_live(self, asked: fetching.Sendable) -> FetchResponse | Preview | Recorded:
        """As :meth:`exchange`; a response whose body takes its time may come before the body has arrived.

        A large one comes with its body still in the platform's care.
        """
        call = await self._in_turn(asked)
        call.live = True
        found, ref = await self._recorded(call, asked)
        if call.preview is not None:
            return call.preview
        return found if ref is None else Recorded(self._run, found, ref)

    async def _fetch(self, call: StepCall, asked: fetching.Asked) -> httpx2.Response:
        found, ref = await self._recorded(call, asked)
        if asked.stream:
            return fetching.response_unread(found, asked, self._body(found, ref))
        return fetching.response(found if ref is None else await self._loaded(found, ref), asked)

    def _body(self, found: FetchResponse, ref: str | None) -> httpx2.AsyncByteStream:
        from stepwell.sdk.streamed import AsyncBody, whole_body

        return whole_body(found.body) if ref is None else AsyncBody(lambda: self._run.parts(ref, found.stored or 0))

    async def _in_turn(self, asked: fetching.Sendable) -> StepCall:
        self._run.check()
        await self._run.turns.mine()
        return self._run.machine.make(asked.step_id, Opcode.GATEWAY, explicit=asked.explicit)

    async def _loaded(self, found: FetchResponse, ref: str) -> FetchResponse:
        return replace(found, body=await self._run.load(ref, found.stored or 0), stored=None)

    async def _recorded(self, call: StepCall, asked: fetching.Sendable) -> tuple[FetchResponse, str | None]:
        call.opts = fetching.render(await asked.body_async())
        memo = await self._run.memo(call)
        if call.preview is not None:
            return call.preview.head, None
        return fetching.read_memo(memo)
