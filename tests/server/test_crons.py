"""The loop that starts crons, on clocks that the test sets, with restarts and with more than one process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from stepwell.core.outputs import Commit
from stepwell.server.runtime import crons, election
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.base import ClaimRequest, RunQuery, Store, StoreError, Transacted
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.functions import BadRegistration, parse_registration
from tests.server.test_engine import ScriptedCaller, ScriptedFetcher

TIMER = "inngest/scheduled.timer"


def at(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


class SetClock:
    """Stands still until it is set, forwards or backwards."""

    def __init__(self, now: int) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


async def returns(_: CallRequest) -> Answer:
    return Answer(kind=AnswerKind.RETURNED, data=b"1")


def app(*triggers: dict[str, str], name: str = "a") -> bytes:
    step = {"id": "step", "name": "step", "runtime": {"type": "http", "url": "http://app/api?fnId=a-f&stepId=step"}}
    function = {"id": f"{name}-f", "name": "f", "triggers": list(triggers), "steps": {"step": step}}
    return msgspec.json.encode({"url": "http://app/api", "appName": name, "sdk": "js:v1", "functions": [function]})


class Rig:
    def __init__(self, store: Store, clock: SetClock) -> None:
        self.clock = clock
        self.caller = ScriptedCaller(returns)
        self.engine = Engine(store, ScriptedFetcher(), self.caller, clock=clock)

    async def sync(self, *triggers: dict[str, str]) -> None:
        await self.engine.register(parse_registration(app(*triggers)))

    async def set(self, now: int) -> None:
        """Set the clock, and wait until the loop has seen to it."""
        self.clock.time = now
        self.engine.crons.refresh()
        await until(lambda: set(self.engine.crons._agenda._seen.values()) == {now})

    async def fired(self) -> list[dict[str, str]]:
        """The data of the events that have started runs, oldest first."""
        found: list[dict[str, str]] = []
        for run in reversed(await self.engine.runs(RunQuery(limit=1_000))):
            event = await self.engine.event(run.event_ids[0])
            assert event is not None
            assert event.name == run.trigger == TIMER
            body = msgspec.json.decode(event.body)
            assert (event.event_id, body["id"]) == (body["data"]["scheduledAt"],) * 2
            found.append(body["data"])
        return found

    async def times(self) -> list[str]:
        return [data["scheduledAt"] for data in await self.fired()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(store: Store, clock: SetClock) -> AsyncIterator[Rig]:
    rig = Rig(store, clock)
    await rig.engine.open()
    await rig.engine.start()
    yield rig
    await rig.engine.drain(1)
    await rig.engine.close()


@pytest.mark.parametrize(
    ("zone", "days"),
    [("Europe/Berlin", ("2026-03-28", "2026-10-24")), ("America/New_York", ("2026-03-07", "2026-10-31"))],
)
async def test_over_changes_of_the_clocks_every_day_has_its_run(zone: str, days: tuple[str, str]) -> None:
    for day in days:
        clock = SetClock(at(f"{day} 00:00", zone))
        async with running(MemoryStore(), clock) as rig:
            await rig.sync({"cron": f"TZ={zone} 30 2 * * *"}, {"cron": f"TZ={zone} 0 12 * * *"})
            begin = clock.time
            for minutes in range(10, 72 * 60 + 1, 10):
                await rig.set(begin + minutes * 60_000 + 5)
            fired = await rig.fired()
            assert len(fired) == 6
            noons = [data["scheduledAt"] for data in fired if data["cron"].endswith("0 12 * * *")]
            hours = [datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).hour for text in noons]
            assert hours == [12, 12, 12]


async def test_the_event_says_what_came_and_the_function_is_called_with_it() -> None:
    async with running(MemoryStore(), SetClock(at("2026-01-01 08:59:30"))) as rig:
        await rig.sync({"cron": "0 9 * * *", "jitter": "30s"})
        await rig.set(at("2026-01-01 09:00:00"))
        assert await rig.fired() == [], "the jitter puts it off"
        await rig.set(at("2026-01-01 09:00:30"))
        (data,) = await rig.fired()
        assert (data["cron"], data["scheduledAt"]) == ("0 9 * * *", "2026-01-01T09:00:00Z")
        assert "2026-01-01T09:00:01" <= data["fireAt"] < "2026-01-01T09:00:30Z"
        await until(lambda: len(rig.caller.calls) == 1)
        assert msgspec.json.decode(rig.caller.calls[0].events[0])["data"] == data


async def test_the_loop_wakes_by_itself() -> None:
    """On a clock that runs: the tick is a moment away."""
    clock = SetClock(at("2026-01-01 08:59:59") + 950)
    async with running(MemoryStore(), clock) as rig:
        await rig.sync({"cron": "0 9 * * *"})
        await until(lambda: bool(rig.engine.crons._agenda._seen))
        clock.time += 50
        await until(lambda: bool(rig.caller.calls))
        assert await rig.times() == ["2026-01-01T09:00:00Z"]


async def test_the_clock_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crons, "_LOOK_S", 0.01)
    clock = SetClock(at("2026-01-01 08:59:59"))
    async with running(MemoryStore(), clock) as rig:
        await rig.sync({"cron": "* * * * *"})
        await rig.set(at("2026-01-01 09:00:00"))
        clock.time = at("2026-01-01 15:00:07")  # nobody says so: it is looked at
        await until(lambda: len(rig.caller.calls) == 2)
        clock.time = at("2026-01-01 08:59:59")
        await until(lambda: set(rig.engine.crons._agenda._seen.values()) == {clock.time})
        await rig.set(at("2026-01-01 09:00:01"))
        await rig.set(at("2026-01-01 09:01:01"))
        await until(lambda: len(rig.caller.calls) == 3)
        assert await rig.times() == ["2026-01-01T09:00:00Z", "2026-01-01T15:00:00Z", "2026-01-01T09:01:00Z"]


async def test_an_app_may_change_while_it_runs() -> None:
    async with running(MemoryStore(), SetClock(at("2026-01-01 08:59:30"))) as rig:
        await rig.sync({"cron": "0 10 * * *"})
        await rig.set(at("2026-01-01 08:59:40"))
        await rig.sync({"cron": "0 9 * * *"})
        await rig.set(at("2026-01-01 09:00:00"))
        await rig.sync({"cron": "0 9 * * *"})
        await rig.set(at("2026-01-01 09:00:10"))
        await rig.sync({"cron": "0 9 * * *"}, {"cron": "0 8-9 * * *"})
        await rig.set(at("2026-01-01 09:00:20"))
        await rig.sync({"event": "x"})
        rig.clock.time = at("2026-01-02 09:00:00")
        rig.engine.crons.refresh()
        await until(lambda: not rig.engine.crons._agenda._seen)
        assert await rig.times() == ["2026-01-01T09:00:00Z"]


async def test_a_schedule_that_can_not_be_read_is_refused() -> None:
    async with running(MemoryStore(), SetClock(0)) as rig:
        with pytest.raises(BadRegistration, match="there is no time zone 'Nowhere'"):
            await rig.sync({"cron": "TZ=Nowhere 0 9 * * *"})
        with pytest.raises(BadRegistration, match="bad minute"):
            await rig.sync({"cron": "99 9 * * *"})


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_restart_neither_loses_a_tick_nor_doubles_it(kind: str, tmp_path: Path) -> None:
    stores: dict[str, Callable[[], Store]] = {"memory": MemoryStore, "sqlite": lambda: SQLiteStore(tmp_path / "s.db")}
    store, clock = stores[kind](), SetClock(at("2026-01-01 08:30"))
    async with running(store, clock) as rig:
        await rig.sync({"cron": "0 9,10,11 * * *"})
        await rig.set(at("2026-01-01 09:00:00"))
    clock.time = at("2026-01-01 09:00:20")
    async with running(store, clock) as rig:
        await rig.set(clock.time)
        assert await rig.times() == ["2026-01-01T09:00:00Z"], "it has had its run"
    clock.time = at("2026-01-01 10:00:30")
    async with running(store, clock) as rig:
        await rig.sync({"cron": "0 9,10,11 * * *"})
        await rig.set(clock.time)
        assert (await rig.times())[1:] == ["2026-01-01T10:00:00Z"], "it came a moment ago, while nobody was there"
    clock.time = at("2026-01-01 12:00")
    async with running(store, clock) as rig:
        await rig.set(clock.time)
        assert len(await rig.times()) == 2, "what was missed is not made up for"


class Shared(MemoryStore):
    """As if several processes could have it."""

    exclusive = False

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def dies(rig: Rig) -> None:
    """It says nothing any more, as after ``kill -9``."""
    for task in (rig.engine.election._task, rig.engine.crons._task):
        assert task is not None
        task.cancel()


async def test_one_of_several_processes_fires_and_another_one_goes_on_when_it_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each tick once: also that of the time when nobody led, and those that the dead one had come to."""
    monkeypatch.setattr(election, "BEAT_S", 0.01)
    store, clock = Shared(), SetClock(at("2026-01-01 08:59"))
    async with running(store, clock) as one, running(store, clock) as two:
        for rig in (one, two):
            await rig.sync({"cron": "* * * * *"})
        await one.set(at("2026-01-01 09:00:00"))
        await until(lambda: len(one.caller.calls) + len(two.caller.calls) == 1)
        assert (one.engine.election.leads, two.engine.election.leads) == (True, False)
        assert two.engine.crons._agenda._seen != one.engine.crons._agenda._seen, "it has seen to nothing"
        dies(one)
        clock.time = at("2026-01-01 09:00:59") + 999
        assert not one.engine.election.leads
        await until(lambda: two.engine.election.leads)
        for minute in range(1, 4):
            await two.set(at(f"2026-01-01 09:0{minute}:00"))
        await until(lambda: len(one.caller.calls) + len(two.caller.calls) == 4)
        assert await two.times() == [f"2026-01-01T09:0{minute}:00Z" for minute in range(4)]


async def test_two_that_both_believe_that_they_lead_start_a_tick_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = Shared(), SetClock(at("2026-01-01 08:59"))
    async with running(store, clock) as one, running(store, clock) as two:
        for rig in (one, two):
            monkeypatch.setattr(rig.engine.election, "_until", 2**62)
            await rig.sync({"cron": "* * * * *"})
        for second in range(5):
            await asyncio.gather(*(rig.set(at(f"2026-01-01 09:00:0{second}")) for rig in (one, two)))
        await until(lambda: len(one.caller.calls) + len(two.caller.calls) == 1)
        assert await one.times() == ["2026-01-01T09:00:00Z"]


class Full(MemoryStore):
    """A disk that is full for a while."""

    full = False

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        if self.full and commits:
            raise StoreError("The disk is full.")
        return await super().transact(commits, claim)


async def test_what_could_not_be_stored_is_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crons, "_RETRY_S", 0.01)
    store, clock = Full(), SetClock(at("2026-01-01 08:59:50"))
    async with running(store, clock) as rig:
        await rig.sync({"cron": "0 9 * * *"})
        await rig.set(clock.time)
        store.full = True
        clock.time = at("2026-01-01 09:00:00")
        rig.engine.crons.refresh()
        await until(lambda: "disk is full" in caplog.text)
        store.full = False
        await until(lambda: len(rig.caller.calls) == 1)
        assert await rig.times() == ["2026-01-01T09:00:00Z"]


async def test_a_paused_function_is_not_started_and_what_it_missed_is_not_made_up_for() -> None:
    async with running(MemoryStore(), SetClock(at("2026-01-01 08:30"))) as rig:
        await rig.sync({"cron": "0 * * * *"})
        await rig.set(at("2026-01-01 09:00"))
        await rig.engine.pausing.pause("a-f")
        await rig.set(at("2026-01-01 10:00"))
        await rig.set(at("2026-01-01 11:00"))
        await rig.engine.pausing.resume("a-f")
        await rig.set(at("2026-01-01 11:30"))
        await rig.set(at("2026-01-01 12:00"))
        assert await rig.times() == ["2026-01-01T09:00:00Z", "2026-01-01T12:00:00Z"]
        assert len(await rig.engine.runs(RunQuery())) == 2
