"""Runs in memory: one actor each, that takes inputs in order and commits what follows from them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stepwell.core.inputs import Broken, CalledBack, Cancelled, Checkpointed, Env, Input, Ready
from stepwell.core.machine import step
from stepwell.core.model import Item, ItemRef, Run, RunView
from stepwell.core.outputs import Commit
from stepwell.server.changes import Changes
from stepwell.server.runtime.committer import Committer, Unstorable
from stepwell.server.runtime.warm import Warm
from stepwell.server.store.base import Outcome, Store, StoreError
from stepwell.server.telemetry.observers import Observer
from stepwell.wire.constants import DISCOVERY

logger = logging.getLogger("stepwell.engine")

_RETRY_S = 1.0
_BUSY_S = 0.01
_QUIET_TURNS, _TURNS = 3, 10
"""Turns of the loop without another input until a run is decided on, and turns at the most: what a wave of answers takes."""
_ASKED_FROM_OUTSIDE = CalledBack | Cancelled | Checkpointed


@dataclass(slots=True)
class Work:
    """An item in flight, and the task that works on it."""

    item: Item
    task: asyncio.Task[None] | None = None
    sent: int | None = None
    """How many entries of the stack a call carries."""


@dataclass(slots=True)
class Letter:
    """An input on its way, and who waits for it to be recorded."""

    given: Input
    recorded: asyncio.Future[bool] | None = None

    @property
    def claim(self) -> ItemRef | None:
        """The claim whose outcome it is."""
        item: Item | None = getattr(self.given, "item", None)
        return None if item is None else ItemRef(item.run_id, item.key, item.claim)

    def settle(self, taken: bool) -> None:
        """Tell who waits."""
        if self.recorded is not None and not self.recorded.done():
            self.recorded.set_result(taken)

    @property
    def forsaken(self) -> bool:
        """Whether who asked for it from outside has gone, and was told that it is not stored."""
        gone = self.recorded is not None and self.recorded.cancelled()
        return gone and isinstance(self.given, _ASKED_FROM_OUTSIDE)

    def hand_back(self, problem: StoreError) -> bool:
        """Whether somebody outside asked for it, who can ask again: they get the error, or have it, and it is dropped."""
        if self.recorded is None or not isinstance(self.given, _ASKED_FROM_OUTSIDE):
            return False
        if not self.recorded.done():
            self.recorded.set_exception(problem)
        return True


@dataclass(slots=True)
class Actor:
    """One run: its state as it is stored, what is in flight for it, and the inputs not yet decided on."""

    view: RunView
    inflight: dict[str, Work] = field(default_factory=dict[str, Work])
    inbox: list[Letter] = field(default_factory=list[Letter])
    waiters: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    busy: bool = False
    wanted: int = 0
    """How many are about to give it something, and wait for its state first."""
    stored: int = 0
    """The newest version that is known to be stored."""

    @property
    def current(self) -> bool:
        """Whether its state is as stored, as far as this process knows."""
        return self.view.run.version >= self.stored

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        return not (self.busy or self.wanted or self.inbox or self.inflight or self.waiters)

    def let_go(self, ref: ItemRef) -> None:
        """The claim is in flight no more."""
        work = self.inflight.get(ref.key)
        if work is not None and work.item.claim == ref.claim:
            del self.inflight[ref.key]


class Actors:
    """The runs in memory (``warm``), and what becomes of their inputs."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        env: Callable[[], Env],
        ended: Callable[[Run], None],
        consequences: Callable[[RunView, Commit, Env], Commit],
        warm: Warm | None = None,
        changes: Changes | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._changes = changes or Changes()
        self._store = store
        self._observer = Observer() if observer is None else observer
        self._committer = committer
        self._env = env
        self._ended = ended
        self._consequences = consequences
        self._warm = Warm() if warm is None else warm
        self.ending: Callable[[Actor], None] = lambda _: None
        """Told of each run that a commit of ours ends, while what is in flight for it is still known."""

    def __len__(self) -> int:
        return len(self._warm)

    def carried(self, view: RunView) -> int:
        """How many entries of the stack the run's call in flight names: all, where it looks for no steps.

        What the other calls of the run need is among them, since they ask for steps that such a call has found. Of calls that
        another process makes nothing is known here.
        """
        actor = self._warm.get(view.run.run_id)
        work = None if actor is None else actor.inflight.get(DISCOVERY)
        return len(view.stack) if work is None or work.sent is None else work.sent

    def peek(self, run_id: str) -> Actor | None:
        """The actor if it is in memory."""
        return self._warm.get(run_id)

    def adopt(self, view: RunView) -> Actor:
        """Keep a run that was just stored."""
        actor = self._warm.get(view.run.run_id)
        if actor is None:
            actor = Actor(view)
            self._warm.put(actor)
            if view.run.version <= 1:
                self._changes.note(view.run.run_id)
        return actor

    async def get(self, run_ids: Sequence[str]) -> dict[str, Actor]:
        """The actors of these runs, loading those that are not in memory; unknown runs are left out.

        None of them is forgotten meanwhile: whoever asks takes one that is left out for a run that is gone.
        """
        held = list(self._warm.these(run_ids).values())
        for actor in held:
            actor.wanted += 1
        try:
            missing = [run_id for run_id in run_ids if run_id not in self._warm]
            for view in await self._store.load_runs(missing) if missing else ():
                actor = self.adopt(view)
                actor.wanted += 1
                held.append(actor)
            await self._bring_up(run_ids)
            return self._warm.these(run_ids)
        finally:
            for actor in held:
                actor.wanted -= 1

    async def _bring_up(self, run_ids: Sequence[str]) -> None:
        """Read the state of those that another process has moved on, until it is the stored one."""
        while behind := [run_id for run_id in run_ids if self._behind(run_id)]:
            views = await self._store.load_runs(behind)
            for view in views:
                self._catch_up(view)
            for gone in set(behind) - {view.run.run_id for view in views}:
                self._warm.drop(gone)
            await asyncio.sleep(_BUSY_S)

    def seen(self, versions: dict[str, int]) -> None:
        """These versions are stored: another process may have moved runs on that are in memory here."""
        for run_id, version in versions.items():
            actor = self._warm.get(run_id)
            if actor is not None:
                actor.stored = max(actor.stored, version)

    def at_work(self) -> set[str]:
        """The runs that something is in flight for."""
        return {actor.view.run.run_id for actor in self._warm.all() if actor.inflight}

    async def end_ended(self, run_ids: Sequence[str]) -> None:
        """Give up what is in flight for those that another process has ended. Raises StoreError."""
        for view in await self._store.load_runs(run_ids):
            if view.run.status.ended:
                self._catch_up(view)

    def _behind(self, run_id: str) -> bool:
        actor = self._warm.get(run_id)
        return actor is not None and not actor.current

    def _catch_up(self, view: RunView) -> None:
        """Take over the stored state, unless a commit is under way: that is refused, and reads it."""
        actor = self._warm.get(view.run.run_id)
        if actor is None or actor.busy:
            return
        actor.view = view
        self._warm.measure(actor)
        if view.run.status.ended:
            self._ended_elsewhere(actor, [])

    def give(self, actor: Actor, given: Input, recorded: asyncio.Future[bool] | None = None) -> None:
        """An input for the run. ``recorded`` becomes True once it is stored, False if it came too late.

        Where more is in flight for the run, what comes in the next turns of the loop is decided on together.
        """
        if actor.view.run.status.ended:
            Letter(given, recorded).settle(False)
            return
        actor.inbox.append(Letter(given, recorded))
        if actor.busy:
            return
        if len(actor.inflight) <= 1:
            self._pump(actor)
        elif len(actor.inbox) == 1:
            asyncio.get_running_loop().call_soon(self._gather, actor, 1, _QUIET_TURNS, _TURNS)

    def decide(self) -> None:
        """Decide on all that was given, now: the loop may have no more turns."""
        for actor in self._warm.all():
            if actor.inbox and not actor.busy:
                self._pump(actor)

    def _gather(self, actor: Actor, known: int, quiet: int, turns: int) -> None:
        """Decide when nothing has come for some turns of the loop, and after so many of them whatever comes."""
        if actor.busy:
            return
        found = len(actor.inbox)
        quiet = _QUIET_TURNS if found > known else quiet - 1
        if quiet and turns:
            asyncio.get_running_loop().call_soon(self._gather, actor, found, quiet, turns - 1)
        else:
            self._pump(actor)

    def _pump(self, actor: Actor) -> None:
        letters, actor.inbox = [letter for letter in actor.inbox if not letter.forsaken], []
        self._warm.use(actor)
        if letters:
            self._decide(actor, letters)

    def _decide(self, actor: Actor, letters: list[Letter]) -> None:
        actor.busy = True
        try:
            commit = self._decision(actor, letters)
        except Exception as problem:
            logger.exception("could not decide on run %s", actor.view.run.run_id, extra=_named(actor))
            letters = [_broken(letter, problem) for letter in letters]
            commit = self._last_decision(actor, letters)

        def settled(result: list[Outcome] | StoreError) -> None:
            self._settled(actor, letters, commit, result)

        self._committer.submit((commit,), settled)

    def _last_decision(self, actor: Actor, letters: list[Letter]) -> Commit:
        """The run ends; where even what follows from that can not be made out, nothing follows."""
        try:
            return self._decision(actor, letters)
        except Exception:
            logger.exception("nothing follows from the end of run %s", actor.view.run.run_id)
            return step(actor.view, [letter.given for letter in letters], self._env())

    def _decision(self, actor: Actor, letters: list[Letter]) -> Commit:
        env = self._env()
        return self._consequences(actor.view, step(actor.view, [letter.given for letter in letters], env), env)

    def _settled(self, actor: Actor, letters: list[Letter], commit: Commit, result: list[Outcome] | StoreError) -> None:
        if isinstance(result, Unstorable) and not all(isinstance(letter.given, Broken) for letter in letters):
            self._decide(actor, [_broken(letter, result) for letter in letters])
            return
        if isinstance(result, StoreError):
            kept = [letter for letter in letters if not letter.hand_back(result)]
            actor.inbox = [letter for letter in actor.inbox if not letter.hand_back(result)]
            asyncio.get_running_loop().call_later(_RETRY_S, self._reload_soon, actor, kept)
            return
        if result[0] is not Outcome.APPLIED:
            self._reload_soon(actor, letters, refused=True)
            return
        self._applied(actor, letters, commit)

    def _applied(self, actor: Actor, letters: list[Letter], commit: Commit) -> None:
        self._observer.moved(actor.view, commit, [letter.given for letter in letters])
        if commit.run is not None:
            if commit.run.status.ended:
                self.ending(actor)
            actor.view.apply(commit.run, commit.steps)
            self._changes.note(commit.run.run_id)
        for letter in letters:
            if isinstance(letter.given, Ready):
                actor.view.events = list(letter.given.events)
        self._warm.measure(actor)
        for ref in commit.done:
            actor.let_go(ref)
        actor.busy = False
        for letter in letters:
            letter.settle(True)
        if actor.view.run.status.ended:
            self._over(actor)
            self._warm.drop(actor.view.run.run_id)
        elif actor.inbox:
            self._pump(actor)

    def _over(self, actor: Actor) -> None:
        """The run has ended: nothing that is still in flight for it matters."""
        self._ended(actor.view.run)
        for work in actor.inflight.values():
            if work.task is not None:
                work.task.cancel()
        actor.inflight.clear()
        for letter in actor.inbox:
            letter.settle(False)
        actor.inbox.clear()
        for waiter in actor.waiters:
            if not waiter.done():
                waiter.set_result(None)
        actor.waiters.clear()

    def _ended_elsewhere(self, actor: Actor, letters: list[Letter]) -> None:
        """Another commit has ended the run: one of another process, or what was written in place of its own.

        What was handed to the run since then is still claimed by us: it was put after the run had dropped its items.
        """
        actor.busy = False
        self._changes.note(actor.view.run.run_id)
        now = self._env().now
        for letter in (*letters, *actor.inbox):
            if letter.claim is not None:
                self._committer.submit_until_stored(Commit(now=now, done=(letter.claim,)))
        for letter in letters:
            letter.settle(False)
        self._over(actor)
        self._warm.drop(actor.view.run.run_id)

    def _reload_soon(self, actor: Actor, letters: list[Letter], refused: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(self._reload(actor, letters, refused))
        _background.add(task)
        task.add_done_callback(_background.discard)

    async def _reload(self, actor: Actor, letters: list[Letter], refused: bool) -> None:
        """Decide again, on the state as it is stored now.

        Who is refused alone, though nobody else has written, was too late: somebody else has the work.
        """
        try:
            views = await self._store.load_runs([actor.view.run.run_id])
        except Exception as problem:
            if isinstance(problem, StoreError):
                actor.inbox = [letter for letter in actor.inbox if not letter.hand_back(problem)]
            else:
                logger.exception("could not load run %s", actor.view.run.run_id, extra=_named(actor))
            asyncio.get_running_loop().call_later(_RETRY_S, self._reload_soon, actor, letters, refused)
            return
        known = actor.view.run.version
        if views:
            actor.view = views[0]
            self._warm.measure(actor)
        if actor.view.run.status.ended:
            self._ended_elsewhere(actor, letters)
            return
        fenced = refused and actor.view.run.version == known
        stale = [letter for letter in letters if fenced and len(letters) == 1] if views else letters
        for letter in stale:
            run_id = actor.view.run.run_id
            logger.warning("run %s: a late result was dropped: its lease had ended", run_id, extra=_named(actor))
            letter.settle(False)
            if letter.claim is not None:
                actor.let_go(letter.claim)
        rest = [letter for letter in letters if letter not in stale]
        if fenced and len(rest) > 1:
            actor.inbox = rest[1:] + actor.inbox
            rest = rest[:1]
        if rest:
            self._decide(actor, rest)
            return
        actor.busy = False
        if actor.inbox:
            self._pump(actor)


_background: set[asyncio.Task[None]] = set()


def _named(actor: Actor) -> dict[str, str]:
    """What a line of the log tells of it (``telemetry.logs``)."""
    return {"run_id": actor.view.run.run_id, "function": actor.view.run.function_id}


def _broken(letter: Letter, problem: Exception) -> Letter:
    return Letter(broken(getattr(letter.given, "item", None), problem), letter.recorded)


def broken(item: Item | None, problem: Exception) -> Broken:
    """The input that ends a run which the platform itself failed on: it must not hang."""
    message = (
        f"the platform failed on this run ({type(problem).__name__}: {problem}); this is a defect: please report it"
    )
    return Broken(item, message)
