"""Running one function in a test: no server, no network, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.sdk import values
from stepwell.sdk.drivers.aio import Executor
from stepwell.sdk.events import Event
from stepwell.sdk.functions import Function
from stepwell.sdk.triggers import TriggerCron, TriggerEvent
from stepwell.testing.clock import FakeClock
from stepwell.testing.extras import platform_for
from stepwell.testing.http import ScriptedHttp
from stepwell.testing.outcome import RunOutcome, run_outcome
from stepwell.testing.overrides import Overriding
from stepwell.testing.rules import PUBLIC_URL
from stepwell.testing.sent import caught

if TYPE_CHECKING:
    from stepwell.server.caller.base import Caller
    from stepwell.server.fetcher.base import Fetcher
    from stepwell.testing.engine import Tap, TestEngine

_INVOKED = "inngest/function.invoked"
_TIMER = "inngest/scheduled.timer"
EventLike = Event[Any] | Mapping[str, Any]


def run_function(
    function: Function,
    *,
    event: EventLike | None = None,
    data: Mapping[str, Any] | None = None,
    events: Sequence[EventLike] | None = None,
    http: Fetcher | None = None,
    steps: Mapping[str, Any] | None = None,
    start: datetime | None = None,
    always_replay: bool = False,
    timeout: float = 30.0,
) -> RunOutcome:
    """Run a function to its end on an engine in memory, and tell how it ended. Sleeps and retries take no time.

    Args:
        function: what ``@client.create_function`` returned.
        event: the event that starts it; its ``name`` may be left out. Default: one of the function's first trigger; for a
            cron, the event of a tick that comes at the beginning of the run.
        data: the event's data, where nothing else of the event matters.
        events: those of a batch, for a function with ``batch_events``; all have to go into one run.
        http: what answers durable requests: a ``ScriptedHttp`` or a ``Cassette``. Default: every request is unexpected.
        steps: stand-ins for step.run, step.invoke, step.wait_for_event (an ``Event``) and step.wait_for_signal (its data),
            by step id: a value (None: the time-out), an exception to raise, a callable without arguments, or ``each(...)``.
        start: where the virtual clock begins; default: now.
        always_replay: keep no suspended function, run it from its beginning each time: finds what is not deterministic.
        timeout: seconds of real time that the run may take.

    Raises ``UnexpectedRequest``; ``UnknownStep`` for a stand-in that was not used; ``ValueError`` for an event that does not
    start the function; ``TimeoutError``; ``RuntimeError`` where a loop runs already. An error of the function is no
    exception here: see ``RunOutcome.error``.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("run_function() was called where an event loop runs: write `await arun_function(...)`")
    return asyncio.run(
        arun_function(
            function, event=event, data=data, events=events, http=http, steps=steps, start=start, always_replay=always_replay,
            timeout=timeout,
        )
    )  # fmt: skip


async def arun_function(
    function: Function,
    *,
    event: EventLike | None = None,
    data: Mapping[str, Any] | None = None,
    events: Sequence[EventLike] | None = None,
    http: Fetcher | None = None,
    steps: Mapping[str, Any] | None = None,
    start: datetime | None = None,
    always_replay: bool = False,
    timeout: float = 30.0,
) -> RunOutcome:
    """As :func:`run_function`, on the loop that runs."""
    if not isinstance(function, Function):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise TypeError(f"run_function() takes what @client.create_function returned, not {type(function).__name__}")
    run = _Run(function, http or ScriptedHttp(), steps or {}, FakeClock(start))
    with caught(function.client) as sent:
        try:
            view = await run.play(_events(function, event, data, events, run.clock), always_replay, timeout)
        finally:
            await run.close()
    found = run_outcome(view, run.tap.requests, sent, run.clock.elapsed)
    if found.completed and run.overriding is not None:
        run.overriding.check()
    return found


class _Run:
    """The engine, the executor and what is between them."""

    def __init__(self, function: Function, http: Fetcher, steps: Mapping[str, Any], clock: FakeClock) -> None:
        with platform_for("a run in a test"):
            from stepwell.testing.engine import NoCaller, SkippingStore, Tap, TestEngine

        self.function = function
        self.clock = clock
        self.tap: Tap = Tap(http)
        self.engine: TestEngine = TestEngine(
            SkippingStore(clock), self.tap, NoCaller(), clock=clock, crons=False, public_url=PUBLIC_URL
        )
        self.tap.on_call_back = self.engine.call_back
        self.executor: Executor | None = None
        self.overriding: Overriding | None = None
        self._steps = steps
        self._pokes: set[asyncio.Future[bool]] = set()
        self._over = False

    async def play(self, events: list[dict[str, Any]], always_replay: bool, timeout: float) -> Any:
        """The run's view once it has ended."""
        from stepwell.testing.engine import incoming, registration

        await self.engine.open()
        await self.engine.register(registration(self.function, events[0]["name"]), self._caller(always_replay))
        await self.engine.start()
        taken = [incoming(event, self.function.id, self.clock.now()) for event in events]
        ids = await self.engine.ingest(taken, self.engine.new_ids(len(taken)))
        runs = [await self.engine.runs_of(event_id) for event_id in ids]
        for event, found in zip(events, runs, strict=True):
            if not found:
                raise ValueError(self._not_started(event["name"]))
            if found[0] != runs[0][0]:
                raise ValueError(
                    f"the events do not go into one run of {self.function.id}: a batch has as many as batch_events says, "
                    "of one key"
                )
        return await self._ended(runs[0][0], timeout)

    async def close(self) -> None:
        """Let go of everything."""
        self._over = True
        if self.executor is not None:
            await self.executor.close()
        for poke in self._pokes:
            poke.cancel()
        await asyncio.gather(*self._pokes, return_exceptions=True)
        await self.engine.close()
        if self.overriding is not None:
            await self.overriding.close()
        if self.tap.trouble.done():
            self.tap.trouble.exception()

    def _caller(self, always_replay: bool) -> Caller:
        from stepwell.server.caller.inprocess import InProcessCaller

        self.executor = Executor(
            {self.function.id: self.function},
            always_replay=always_replay,
            on_late=self._poke,
            load_body=self._body,
        )
        caller = InProcessCaller(self.executor.execute, asyncio.get_running_loop(), self.executor.forget)
        if not self._steps:
            return caller
        self.overriding = Overriding(caller, self._steps)
        return self.overriding

    async def _ended(self, run_id: str, timeout: float) -> Any:
        waiting = asyncio.ensure_future(self.engine.wait_run(run_id, timeout))
        await asyncio.wait([waiting, self.tap.trouble], return_when=asyncio.FIRST_COMPLETED)
        if self.tap.trouble.done():
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            self.tap.trouble.result()
        view = await waiting
        if view is None or not view.run.status.ended:
            pending = [step.name for step in view.steps.values() if not step.ended] if view is not None else []
            where = f"it waits for {', '.join(pending)}" if pending else "its own code is running"
            raise TimeoutError(f"{self.function.id} has not ended within {timeout:g} s of real time: {where}")
        return view

    def _poke(self, run_id: str) -> None:
        if self._over:  # of an execution that is being given up: nobody would answer
            return
        poke = asyncio.ensure_future(self.engine.poke(run_id))
        self._pokes.add(poke)
        poke.add_done_callback(self._pokes.discard)

    async def _body(self, ref: str, start: int, end: int) -> bytes:
        data = await self.engine.body(ref, start, end)
        if data is None:
            raise LookupError(f"the recorded body {ref} is gone")
        return data

    def _not_started(self, name: str) -> str:
        triggers = ", ".join(map(_words, self.function.triggers))
        return f"the event {name!r} does not start {self.function.id}: it is started by {triggers}"


def _words(trigger: TriggerEvent[Any] | TriggerCron) -> str:
    if isinstance(trigger, TriggerCron):
        return f"cron {trigger.cron!r}"
    return f"{trigger.event!r}" + (f" if {trigger.expression}" if trigger.expression else "")


def _events(
    function: Function,
    event: EventLike | None,
    data: Mapping[str, Any] | None,
    events: Sequence[EventLike] | None,
    clock: FakeClock,
) -> list[dict[str, Any]]:
    if events is None:
        return [_event(function, event, data, clock)]
    if event is not None or data is not None:
        raise TypeError("give events= alone: event= and data= are for one event")
    if not events:
        raise ValueError("events= is empty: a run has at least one event")
    if len(events) > 1 and function.admissions.batch is None:
        raise ValueError(
            f"{function.id} has no batch_events: each event starts a run of its own, so give one with event="
        )
    return [_event(function, each, None, clock) for each in events]


def _event(
    function: Function, event: EventLike | None, data: Mapping[str, Any] | None, clock: FakeClock
) -> dict[str, Any]:
    if event is not None and data is not None:
        raise TypeError("give event= or data=, not both")
    given: Any = {"data": {} if data is None else data} if event is None else event
    members: dict[str, Any] = msgspec.json.decode(values.encode(given, "the event has"))
    unknown = members.keys() - set(Event.__struct_fields__)
    if unknown:
        raise TypeError(f"an event has no member {', '.join(sorted(map(repr, unknown)))}: is it the data, for data= ?")
    if not members.get("name"):
        first = function.triggers[0] if function.triggers else None
        if isinstance(first, TriggerCron):
            members |= {"name": _TIMER, "data": _tick(first, clock) | (members.get("data") or {})}
        else:
            members["name"] = first.event.replace("*", "test") if first is not None else _INVOKED
    return members


def _tick(trigger: TriggerCron, clock: FakeClock) -> dict[str, str]:
    """What the platform says of a tick that comes now."""
    now = datetime.fromtimestamp(clock.now() // 1000, UTC).isoformat().replace("+00:00", "Z")
    return {"cron": trigger.cron, "scheduledAt": now, "fireAt": now}
