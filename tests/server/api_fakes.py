"""An engine in memory behind the API's facade, and a client that talks to the API."""

from collections.abc import Callable, Sequence

import httpx2
import msgspec

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding, Waiter
from stepwell.core.model import Attempt, Cancellation, Item, Run, RunStatus, RunView, Step, StepStatus, StoredEvent
from stepwell.core.reruns import CannotRerun
from stepwell.core.unstarted import Unstarted, found
from stepwell.server.api.app import create_app
from stepwell.server.runtime.syncs import AppState
from stepwell.server.settings import Settings
from stepwell.server.store.base import (
    AppRecord,
    Counts,
    EventQuery,
    RunQuery,
    StoreError,
    WorkerRecord,
)
from stepwell.server.store.lists import list_events, list_runs
from stepwell.wire.events import IncomingEvent, finish
from stepwell.wire.functions import FunctionConfig, Registration
from stepwell.wire.ids import is_ulid, stable_uuid, ulid
from stepwell.wire.ops import Op

NOW = 1_795_000_000_000
SIGNING_KEY = "signkey-test-abc123def456"


def new_ulid(number: int, at: int = NOW) -> str:
    return ulid(at, number.to_bytes(10, "big"))


class FakeCancellations:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.found: list[Cancellation] = []

    async def add(self, cancellation: Cancellation) -> None:
        self.found.insert(0, cancellation)

    async def all(self) -> list[Cancellation]:
        return self.found

    async def drop(self, cancellation_id: str) -> bool:
        before = len(self.found)
        self.found = [one for one in self.found if one.cancellation_id != cancellation_id]
        return len(self.found) < before


class FakePauses:
    """Keeps what it is given; every function of ``known`` is there."""

    def __init__(self, known: Callable[[], list[str]]) -> None:
        self.since_when: dict[str, int] = {}
        self.cancelling = False
        self._known = known

    def since(self, function_id: str) -> int | None:
        return self.since_when.get(function_id)

    async def pause(self, function_id: str, *, cancel_running: bool = False) -> Cancellation | None:
        if function_id not in self._known():
            raise LookupError(function_id)
        self.since_when.setdefault(function_id, NOW)
        self.cancelling = cancel_running
        if not cancel_running:
            return None
        return Cancellation(
            cancellation_id=new_ulid(77), created_at=NOW, app_id="a", function_id=function_id, started_before=NOW
        )

    async def resume(self, function_id: str) -> bool:
        return self.since_when.pop(function_id, None) is not None


class FakeEngine:
    """Keeps what it is given; ``broken`` makes every verb fail as a store does."""

    def __init__(self) -> None:
        self.views: dict[str, RunView] = {}
        self.events: dict[str, StoredEvent] = {}
        self.bodies: dict[str, bytes] = {}
        self.registrations: dict[str, Registration] = {}
        self.checkpoints: list[tuple[str, list[Op], int]] = []
        self.checkpoint_answer = "ok"
        self.broken: str | None = None
        self.held_by_key: dict[str, Shut] = {}
        self.waited: list[float] = []
        self.reruns: list[tuple[str, str | None, Sequence[object] | None]] = []
        self.items: dict[str, list[Item]] = {}
        self.processes: list[WorkerRecord] = []
        self.unstarted_keys: list[str] = []
        self.cancelling = FakeCancellations()
        self.pausing = FakePauses(lambda: [function.id for function in self.functions()])
        self._made = 0

    def add_run(self, number: int = 1, status: RunStatus = RunStatus.RUNNING, **fields: object) -> RunView:
        event_id = new_ulid(number + 10_000)
        body = msgspec.json.encode({"id": event_id, "name": "a", "data": {"n": number}, "user": {}, "ts": NOW})
        event = StoredEvent(internal_id=event_id, event_id=event_id, name="a", received_at=NOW, body=body)
        self.events[event_id] = event
        values: dict[str, object] = {"queued_at": NOW, "event_ids": (event_id,), **fields}
        run = Run(run_id=new_ulid(number), function_id="app-fn", app_id="app", status=status, **values)
        view = self.views[run.run_id] = RunView(run=run, events=[event.body])
        return view

    def check(self) -> None:
        if self.broken:
            raise StoreError(self.broken)

    async def ingest(self, events: Sequence[IncomingEvent], ids: Sequence[str]) -> list[str]:
        self.check()
        for event, internal in zip(events, ids, strict=True):
            assert is_ulid(internal)
            self.events[internal] = StoredEvent(
                internal_id=internal,
                event_id=event.id or internal,
                name=event.name,
                received_at=NOW,
                body=finish(event, internal),
                ts=event.ts,
            )
        return list(ids)

    async def register(self, registration: Registration) -> tuple[bool, str]:
        self.check()
        old = self.registrations.get(registration.app_name)
        self.registrations[registration.app_name] = registration
        return old is None or old.checksum != registration.checksum, stable_uuid(registration.app_name)

    async def view(self, run_id: str) -> RunView | None:
        self.check()
        return self.views.get(run_id)

    async def called_with(self, run_id: str) -> tuple[RunView, int] | None:
        view = await self.view(run_id)
        return None if view is None else (view, len(view.stack))

    async def cancel(self, run_id: str) -> bool:
        view = await self.view(run_id)
        if view is None or view.run.status.ended:
            return False
        view.run = msgspec.structs.replace(view.run, status=RunStatus.CANCELLED)
        return True

    async def rerun(self, run_id: str, from_step: str | None, args: Sequence[object] | None) -> str | None:
        self.check()
        if run_id not in self.views:
            return None
        if from_step == "none":
            raise CannotRerun("The run has no step 'none'.")
        self.reruns.append((run_id, from_step, args))
        return new_ulid(999)

    async def jobs(self, run_id: str) -> list[Item]:
        self.check()
        return self.items.get(run_id, [])

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        self.check()
        return list_events(self.events.values(), query)

    async def signal(self, signal: str, data: bytes) -> str | None:
        self.check()
        waiting = [run_id for run_id in self.views if signal == f"signal {run_id}"]
        return waiting[0] if waiting else None

    async def checkpoint(self, run_id: str, ops: Sequence[Op], generation: int) -> str:
        self.check()
        self.checkpoints.append((run_id, list(ops), generation))
        return self.checkpoint_answer

    async def runs(self, query: RunQuery) -> list[Run]:
        self.check()
        runs = [view.run for view in self.views.values()]
        return list_runs([run for run in runs if query.event_id is None or query.event_id in run.event_ids], query)

    async def unstarted(self, event_id: str) -> list[Unstarted]:
        self.check()
        return found(self.unstarted_keys, [view.run for view in self.views.values() if event_id in view.run.event_ids])

    async def event(self, internal_id: str) -> StoredEvent | None:
        self.check()
        return self.events.get(internal_id)

    async def body(self, ref: str, start: int, end: int | None) -> bytes | None:
        data = self.bodies.get(ref)
        return None if data is None else data[start:end]

    def functions(self) -> list[FunctionConfig]:
        return [config for app in self.registrations.values() for config in app.functions]

    def apps(self) -> list[AppRecord]:
        return [
            AppRecord(
                app_id=app.app_name, url=app.url, sdk=app.sdk, checksum=app.checksum, functions=b"[]", synced_at=NOW
            )
            for app in self.registrations.values()
        ]

    def strangers(self) -> list[AppState]:
        return []

    async def waits(self, run_id: str) -> dict[str, Shut]:
        self.check()
        return self.held_by_key

    async def held(self, limit: int) -> list[Holding]:
        self.check()
        found: list[Holding] = []
        for view in self.views.values():
            run = view.run
            for key, shut in self.held_by_key.items():
                found.append(Holding(shut, 7, (Waiter(run.run_id, key, run.function_id, NOW - 1_000),)[:limit]))
        return found

    async def workers(self) -> list[WorkerRecord]:
        self.check()
        return self.processes

    async def counts(self) -> Counts:
        self.check()
        return Counts(runs={"running": len(self.views)}, queued=0, claimed=0)

    async def wait_run(self, run_id: str, timeout_s: float) -> RunView | None:
        self.waited.append(timeout_s)
        return await self.view(run_id)

    def new_ids(self, n: int) -> list[str]:
        self._made += n
        return [new_ulid(self._made - n + i, NOW + 1) for i in range(n)]


def finished_step(
    run_id: str, number: int, *, op: str = "StepRun", memo: bytes = b'{"data":1}', **fields: object
) -> Step:
    values: dict[str, object] = {
        "status": StepStatus.COMPLETED,
        "position": number,
        "created_at": NOW,
        "started_at": NOW + 5,
        "ended_at": NOW + 20,
        **fields,
    }
    return Step(
        run_id=run_id, step_id=f"{number:040x}", name=f"step {number}", op=op, number=number, memo=memo, **values
    )


def attempt(number: int, **fields: object) -> Attempt:
    return Attempt(number=number, started_at=NOW, ended_at=NOW + 12, **fields)


def api_client(engine: FakeEngine, settings: Settings | None = None, **headers: str) -> httpx2.AsyncClient:
    app = create_app(engine, settings or Settings(), lambda: NOW)
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(transport=transport, base_url="http://stepwell", headers=headers)
