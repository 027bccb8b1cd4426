"""Named places at which a process dies or stalls, exactly: between one thing and the next.

A process arms itself for one of them (``crash_arming.arm``). When it has passed the place often enough it says so in a file,
and sends itself a signal.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence

import msgspec

from stepwell.core.model import Item, Step, StepStatus, WorkKind
from stepwell.core.outputs import Commit
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.fetch import FetchRequest
from stepwell.wire.fetch_headers import find
from stepwell.wire.ops import Opcode

SERVER_POINTS = {
    "commit-open": "a transaction has made its changes, and is not committed",
    "event-unstored": "an event has come in, and nothing of it is stored",
    "event-stored": "an event is stored with its run, and its sender has not heard so",
    "call-unsent": "a run is claimed, and its function has not been called",
    "call-unrecorded": "the function has answered, and nothing follows from that yet",
    "answer-unstored": "what the function answered is about to be stored",
    "answer-stored": "what the function answered is stored, and the process does not know",
    "request-claimed": "a request is claimed, and nothing is done about it",
    "request-unsent": "a request is about to be sent",
    "response-unrecorded": "the response is here, and nothing of it is recorded",
    "result-unstored": "the result of a request is about to be stored",
    "result-stored": "the result of a request is stored, and the process does not know",
    "once-unsent": "a request with `at_most_once` is about to be sent",
    "once-unrecorded": "the response to a request with `at_most_once` is here, and nothing of it is recorded",
    "piece-unstored": "a piece of a large response is about to be stored",
    "piece-stored": "a piece of a large response is stored, and more will come",
    "chunk-read": "some of a response has been handed to those who read along",
    "sleep-stored": "a run sleeps",
    "wait-stored": "a run waits for an event, with a time-out",
    "retry-stored": "a request has failed, and waits for its next attempt",
    "timer-claimed": "a sleep is over, or a wait has timed out, and nothing of it is recorded",
    "timer-stored": "the end of a sleep or a wait is stored, and the process does not know",
    "retry-claimed": "the next attempt of a request is due, and nothing is done about it",
    "lease-extended": "a process that works has extended its lease, and is about to look for those that have ended",
    "end-unstored": "the end of a run is about to be stored",
    "end-stored": "the end of a run is stored, and the process does not know",
}
"""Where a platform that works can be: what is so by then."""

RECOVERY_POINTS = {
    "recovery-begun": "a starting process is about to take over what a dead one had claimed",
    "recovery-stored": "a starting process has taken that over, and has done nothing else",
}
MIGRATION_POINTS = {
    "migration-due": "a migration of the schema is due, and is not begun",
    "migration-begun": "a migration of the schema has made half of its changes",
    "migration-open": "a migration has made all of its changes, and is not committed",
    "migration-stored": "a migration is committed, and the next one is not begun",
}
"""While the schema is made or changed. PostgreSQL commits all migrations together: there none is ``stored`` alone."""
APP_POINTS = {
    "call-received": "the app has received a call, and has done nothing",
    "call-answered": "the app has done its step, and has sent nothing back",
    "call-half-answered": "half of the app's answer is on its way",
}
POINTS = SERVER_POINTS | RECOVERY_POINTS | MIGRATION_POINTS | APP_POINTS

STORED_KINDS = {Opcode.SLEEP: "sleep", Opcode.WAIT_FOR_EVENT: "wait"}


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """What a process shall do at the ``nth`` passing of ``point`` (none: nothing): write a line to the file ``told``, and send
    itself ``signal``. ``lease_ms``, ``beat_s``: of its claims, where they shall not be the usual ones; ``idle``, ``whole``:
    how long the database lets its transactions do nothing, and last."""

    point: str = ""
    nth: int = 1
    signal: int = signal.SIGKILL
    told: str = ""
    lease_ms: int | None = None
    beat_s: float | None = None
    idle: str | None = None
    whole: str | None = None


class Trap:
    """Counts the passings of the one point that ``crash`` names. Raises ValueError when there is no such point."""

    def __init__(self, crash: Crash) -> None:
        if crash.point and crash.point not in POINTS:
            raise ValueError(f"there is no crash point {crash.point!r}: choose one of {', '.join(POINTS)}")
        self._crash = crash
        self._left = crash.nth

    def passes(self, point: str, subject: str) -> None:
        """The process is there, about ``subject``: a run, a step as ``run id/name``, the key of a request, an event's id."""
        if not point or point != self._crash.point:
            return
        self._left -= 1
        if not self._left:
            tell(self._crash.told, subject)
            # To this very thread: the system may pick another one for the process, and this one would go on for a moment.
            signal.pthread_kill(threading.get_ident(), self._crash.signal)


def tell(path: str, line: str) -> None:
    """Append a line in one write, which outlives the process."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line.encode() + b"\n")
    finally:
        os.close(fd)


def stored_by(commits: Sequence[Commit]) -> Iterator[tuple[str, str]]:
    """What commits store: kind (the part of a point's name before ``-stored``) and subject."""
    for commit in commits:
        run = commit.run
        yield from (("event", event.event_id) for event in commit.events)
        if run is not None and run.status.ended:
            yield "end", run.run_id
        else:
            yield from (("answer", ref.run_id) for ref in commit.done if ref.key == DISCOVERY)
        yield from ((kind, f"{step.run_id}/{step.name}") for step in commit.steps if (kind := _kind_of(step)))


def _kind_of(step: Step) -> str | None:
    if step.ended:
        return "result" if step.op == Opcode.GATEWAY else "timer" if step.op in STORED_KINDS else None
    if step.status is StepStatus.RETRYING and step.op == Opcode.GATEWAY:
        return "retry"
    return STORED_KINDS.get(Opcode(step.op)) if step.op in STORED_KINDS else None


def claimed(item: Item) -> tuple[str, str]:
    """The point at which the item has been claimed, and its subject."""
    kind = "timer" if item.kind is WorkKind.TIMER else "retry" if item.attempt else "request"
    return (f"{kind}-claimed" if item.kind in (WorkKind.TIMER, WorkKind.FETCH) else ""), f"{item.run_id}/{item.key}"


def key_of(request: FetchRequest) -> str:
    """What an upstream knows the request by."""
    return find(request.headers, "idempotency-key") or request.url
