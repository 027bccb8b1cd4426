"""``ctx.step`` of a ``def`` function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack, overload

from msgspec.structs import replace

from stepwell.sdk import fetching
from stepwell.sdk.ai import AISync
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
    from stepwell.sdk.drivers.threads import SyncRun
    from stepwell.sdk.events import Event, EventType
    from stepwell.sdk.functions import Function
    from stepwell.sdk.texts import TextSource

T = TypeVar("T")
Out = TypeVar("Out")
Args = TypeVarTuple("Args")


class StepSync:
    """The steps of a ``def`` function: the same calls, which return their results."""

    def __init__(self, run: SyncRun, function: Function[Any]) -> None:
        self._run = run
        self._function = function
        self.ai = AISync(run)

    @overload
    def run(
        self, step_id: str, handler: Callable[[*Args], object], *handler_args: *Args, output_type: type[Out]
    ) -> Out: ...
    @overload
    def run(self, step_id: str, handler: Callable[[*Args], T], *handler_args: *Args, output_type: Any = None) -> T: ...
    def run(
        self,
        step_id: str,
        handler: Callable[[*Args], Any],
        *handler_args: *Args,
        output_type: Any = None,
    ) -> Any:
        """As :meth:`Step.run`."""
        self._run.check()
        return self._run.wait(run_call(self._run.machine, step_id, handler, handler_args, output_type))

    def sleep(self, step_id: str, duration: int | timedelta | str) -> None:
        """As :meth:`Step.sleep`."""
        self._run.check()
        self._run.wait(sleep_call(self._run.machine, step_id, duration))

    def sleep_until(self, step_id: str, until: datetime) -> None:
        """As :meth:`Step.sleep_until`."""
        self._run.check()
        self._run.wait(sleep_until_call(self._run.machine, step_id, until))

    def fetch(self, url: fetching.UrlOrRequest, **options: Unpack[fetching.FetchOptions]) -> httpx2.Response:
        """As :meth:`Step.fetch`."""
        self._run.check()
        asked = fetching.prepare(url, options)
        if not asked.stream:
            return fetching.response(self.exchange(asked), asked)
        found, ref = self._recorded(asked)
        return fetching.response_unread(found, asked, self._body(found, ref))

    def _body(self, found: FetchResponse, ref: str | None) -> httpx2.SyncByteStream:
        from stepwell.sdk.streamed import SyncBody, whole_body

        return whole_body(found.body) if ref is None else SyncBody(lambda: self._run.parts(ref, found.stored or 0))

    def invoke(
        self, step_id: str, *, function: Function[T], data: Data | None = None, timeout: Timeout | None = None
    ) -> T:
        """As :meth:`Step.invoke`."""
        self._run.check()
        return self._run.wait(
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
    ) -> Any:
        """As :meth:`Step.invoke_by_id`."""
        self._run.check()
        called = full_id(step_id, self._function.client.app_id, app_id, function_id)
        return self._run.wait(invoke_call(self._run.machine, step_id, called, data, timeout))

    def wait_for_event(
        self, step_id: str, *, event: str | EventType[D], timeout: Timeout, if_exp: str | None = None
    ) -> Event[D] | None:
        """As :meth:`Step.wait_for_event`."""
        self._run.check()
        call = wait_call(self._run.machine, step_id, event, timeout, if_exp)
        return met(self._run.memo(call), call.kind)

    def wait_for_signal(
        self, step_id: str, *, signal: str, timeout: Timeout, on_conflict: OnConflict = "fail"
    ) -> Signal | None:
        """As :meth:`Step.wait_for_signal`."""
        self._run.check()
        return came(self._run.memo(signal_call(self._run.machine, step_id, signal, timeout, on_conflict)))

    def send_signal(self, step_id: str, *, signal: str, data: Any = None) -> str | None:
        """As :meth:`Step.send_signal`."""
        return self.run(step_id, self._function.client.send_signal_sync, signal, data)

    @overload
    def publish(self, step_id: str | None = None, *, channel: str, topic: str, stream: TextSource) -> str: ...

    @overload
    def publish(self, step_id: str | None = None, *, channel: str, topic: str, data: Any) -> None: ...

    def publish(
        self,
        step_id: str | None = None,
        *,
        channel: str,
        topic: str,
        data: Any = NOTHING,
        stream: TextSource | None = None,
    ) -> str | None:
        """As :meth:`Step.publish`."""
        name, client = step_id or f"publish: {topic}", self._function.client
        one_of(data, stream)
        if stream is not None:
            return self.run(name, client.publish_stream_sync, channel, topic, stream, self._run.run_id)
        return self.run(name, client.publish_sync, channel, topic, data, self._run.run_id)

    def exchange(self, asked: fetching.Sendable) -> FetchResponse:
        """As :meth:`Step.exchange`."""
        found, ref = self._recorded(asked)
        return found if ref is None else replace(found, body=self._run.load(ref, found.stored or 0), stored=None)

    def exchange_parts(self, asked: fetching.Sendable) -> tuple[FetchResponse, Callable[[], Iterator[bytes]] | None]:
        """The same; the body of a large one is left in the platform's care, and there is what reads it part by part."""
        found, ref = self._recorded(asked)
        return found, None if ref is None else lambda: self._run.parts(ref, found.stored or 0)

    def _recorded(self, asked: fetching.Sendable) -> tuple[FetchResponse, str | None]:
        self._run.check()
        call = self._run.machine.make(asked.step_id, Opcode.GATEWAY, explicit=asked.explicit)
        call.opts = fetching.render(asked.body())
        return fetching.read_memo(self._run.memo(call))

    def send_event(self, step_id: str, events: EventLike | Sequence[EventLike]) -> list[str]:
        """As :meth:`Step.send_event`."""
        send: Any = self._function.client.send_in_step  # its coroutine runs on the loop, and the step has its result
        return self.run(step_id, send, events)
