"""Why a task does not run: the question that decides whether a run is suspended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from stepwell.sdk.drivers import introspect
from stepwell.sdk.drivers.introspect import AnyFuture, AnyTask, Frames
from stepwell.sdk.drivers.places import Place, place

if TYPE_CHECKING:
    from stepwell.sdk.drivers.timers import Timers


class Wait(IntEnum):
    """In the order of strength: a run is as awake as the most awake of its tasks."""

    EXPLAINED = 0
    """Waits for a step, for tasks of the run, or for a lock: suspended."""
    UNKNOWN = 1
    """A queue, an event, a plain future, a heartbeat: who will end it can not be seen."""
    INSIDE = 2
    """An installed package waits for what tasks do: for a queue, or an event or stream of anyio."""
    LIBRARY = 3
    """An installed package is at work."""
    REAL = 4
    """A socket, a thread, a short sleep."""
    RUNNING = 5
    """Will go on by itself."""


class Steady(NamedTuple):
    """What a look at a task has found: it stays where it is until ``future`` is done, or all of ``crowd`` have ended."""

    future: AnyFuture
    found: Wait
    crowd: _Crowd | None


class Owned:
    """The tasks of one execution. ``parked``: awaiting a step; ``active``: the others (some may have ended)."""

    __slots__ = ("_beats", "_crowds", "active", "loading", "parked", "timers")

    def __init__(self, timers: Timers) -> None:
        self.active: dict[AnyTask, Steady | None] = {}
        """With what a look at the task has found: of thousands that wait for a semaphore, few change between two looks."""
        self.parked: dict[AnyTask, None] = {}
        self.loading: set[AnyFuture] = set()
        """The SDK's own loading of bodies: real input and output."""
        self.timers = timers
        self._crowds: dict[AnyFuture, _Crowd] = {}
        self._beats: dict[AnyTask, tuple[object, AnyFuture, bool]] = {}

    def look(self) -> Wait:
        """The state of the run. Ended tasks are forgotten; one that has just ended counts as running once."""
        strongest = Wait.EXPLAINED
        for task, steady in list(self.active.items()):
            if steady is not None and not steady[0].done() and ((crowd := steady[2]) is None or not crowd.over()):
                strongest = max(strongest, steady[1])
            elif task.done():
                del self.active[task]
                self._beats.pop(task, None)
                strongest = Wait.RUNNING
            elif strongest < Wait.RUNNING:
                strongest = max(strongest, self._task(task))
        return strongest

    def waiters(self) -> list[AnyFuture]:
        """What the tasks that are not parked wait for."""
        found = (introspect.waiter(task) for task in self.active)
        return [future for future in found if future is not None and not future.done()]

    def only_gathers(self, task: AnyTask) -> bool:
        """Whether the end of a parked task is noticed by a gather alone, and all that is awake waits for that gather."""
        if len(self.active) != 1:
            return False
        (waiting,) = self.active
        future = introspect.waiter(waiting)
        return future in self._crowds and introspect.gatherer(task) is future

    def passed(self, tasks: list[AnyTask]) -> bool:
        """Such tasks were resumed: whether they have returned at once, with the gather going on. Then nothing else goes on."""
        if len(self.active) != 1 + len(tasks) or not all(map(introspect.returned, tasks)):
            return False
        for task in tasks:
            del self.active[task]
            self._beats.pop(task, None)
        return self.gathering()

    def gathering(self) -> bool:
        """Whether all that is awake is a task that waits for a gather which goes on."""
        if len(self.active) != 1:
            return False
        (waiting,) = self.active
        future = introspect.waiter(waiting)
        return future in self._crowds and not self._crowds[future].over()

    def forget(self) -> None:
        """The execution is over: hold none of its tasks any longer."""
        for held in (self.active, self.parked, self._crowds, self._beats):
            held.clear()

    def _task(self, task: AnyTask) -> Wait:
        self.active[task] = None
        future = introspect.waiter(task)
        if future is None or future.done():
            return Wait.RUNNING
        found = self._future(future)
        if found is Wait.REAL and future in self.timers.sleeps:
            return self._heartbeat(task, future)
        if found is None:
            frames = introspect.frames(task)
            if frames and place(frames[-1][0]) is Place.THREAD:
                return self._thread(Wait.LIBRARY)
            found = self._frames(frames, future)
        if found < Wait.LIBRARY and self._is_steady(future):
            self.active[task] = Steady(future, found, self._crowds.get(future))
        return found

    def _is_steady(self, future: AnyFuture) -> bool:
        """Whether nothing but its end can change what it means to wait for it. Tasks of the run speak for themselves."""
        crowd = self._crowds.get(future)
        if crowd is not None:
            return not crowd.mixed
        return introspect.shielded(future) is None and not introspect.from_thread(future)

    def bridged(self) -> bool:
        """Whether a thread may itself be waiting for a step: for a task of the run that it has begun."""
        return any(introspect.for_thread(task) for task in (*self.active, *self.parked))

    def _thread(self, working: Wait) -> Wait:
        """A thread is at work, or waits as the run does."""
        return Wait.UNKNOWN if self.bridged() else working

    def _future(self, future: AnyFuture) -> Wait | None:
        """What the future itself says; None when it says nothing."""
        if future in self.parked or future in self.active:
            return Wait.EXPLAINED
        if isinstance(future, asyncio.Task):
            return Wait.REAL if future in self.loading else Wait.LIBRARY
        timer = self.timers.sleeps.get(future)
        if timer is not None:
            return Wait.EXPLAINED if timer.durable else Wait.REAL
        gathered = introspect.children(future)
        if gathered is not None:
            return self._members(future, gathered)
        inner = introspect.shielded(future)
        if inner is not None:
            owned = inner in self.parked or inner in self.active
            return self._members(future, (inner,)) if owned or inner.done() else self._future(inner)
        return self._thread(Wait.REAL) if introspect.from_thread(future) else None

    def _members(self, waiting: AnyFuture, members: Iterable[AnyFuture]) -> Wait:
        """Waiting for several: as awake as the most awake one; none left means that the waiting is about to end."""
        crowd = self._crowds.get(waiting)
        if crowd is None:
            for ended in [future for future in self._crowds if future.done()]:
                del self._crowds[ended]
            listed = list(members)
            strange = [one for one in listed if one not in self.parked and one not in self.active]
            crowd = self._crowds[waiting] = _Crowd(listed, strange)
        if crowd.over():
            del self._crowds[waiting]
            return Wait.RUNNING
        strongest = Wait.EXPLAINED
        for stranger in crowd.strangers():
            found = self._future(stranger)
            strongest = max(strongest, Wait.UNKNOWN if found is None else found)
        return strongest

    def _frames(self, frames: Frames, future: AnyFuture) -> Wait:
        if not frames:
            return Wait.LIBRARY
        code, frame = frames[-1]
        where = place(code)
        if where is Place.JOIN:
            return self._join(code.co_name, frame, future)
        return self._primitive(frames) if where in {Place.SYNC, Place.QUEUE} else _MEANING[where]

    def _join(self, name: str, frame: object, waiting: AnyFuture) -> Wait:
        if name == "_wait":
            return self._members(waiting, introspect.local(frame, "fs") or ())  # type: ignore[arg-type]
        if name in {"wait_for", "_cancel_and_wait"}:
            future: AnyFuture | None = introspect.local(frame, "fut")  # type: ignore[arg-type]
            return Wait.RUNNING if future is None else self._members(waiting, (future,))
        return Wait.EXPLAINED

    def _primitive(self, frames: Frames) -> Wait:
        outer = [place(code) for code, _ in frames[:-1]]
        if outer and outer[-1] is Place.JOIN:  # as_completed waits in a queue of its own
            return Wait.EXPLAINED
        if Place.LIBRARY not in outer:
            return Wait.UNKNOWN
        # Connections set events of asyncio's, and neither queues nor what stands on an event.
        by_tasks = place(frames[-1][0]) is Place.QUEUE or outer[-1] in {Place.SYNC, Place.QUEUE}
        return Wait.INSIDE if by_tasks else Wait.LIBRARY

    def _heartbeat(self, task: AnyTask, future: AnyFuture) -> Wait:
        """A short sleep is real; sleeping again and again at the same place is a heartbeat, which never ends by itself."""
        spot = tuple((id(code), frame.f_lasti if frame else 0) for code, frame in introspect.frames(task))
        last = self._beats.get(task)
        beating = last is not None and last[0] == spot and (last[2] or last[1] is not future)
        self._beats[task] = (spot, future, beating)
        return Wait.UNKNOWN if beating else Wait.REAL


class _Crowd:
    """What a gather or a wait waits for, looked at again and again: tasks of the run speak for themselves, once is enough."""

    __slots__ = ("_ended", "_members", "_strangers", "mixed")

    def __init__(self, members: list[AnyFuture], strangers: list[AnyFuture]) -> None:
        self._members = members
        self._strangers = strangers
        self.mixed = bool(strangers)
        """Whether some were not tasks of the run."""
        self._ended = 0

    def over(self) -> bool:
        """Whether every member has ended. What has ended stays so: each member is passed by once."""
        members = self._members
        while self._ended < len(members) and members[self._ended].done():
            self._ended += 1
        return self._ended == len(members)

    def strangers(self) -> list[AnyFuture]:
        """The unfinished members that are not tasks of the run."""
        self._strangers = [one for one in self._strangers if not one.done()]
        return self._strangers


_MEANING = {
    Place.USER: Wait.UNKNOWN,
    Place.LOCK: Wait.EXPLAINED,
    Place.SLEEP: Wait.REAL,
    Place.IO: Wait.REAL,
    Place.LIBRARY: Wait.LIBRARY,
    Place.ANYIO: Wait.LIBRARY,
}
