"""Group commit and claim: everything decided since the last transaction goes into the next one, and work comes back."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from stepwell.core.model import Item, ItemRef
from stepwell.core.outputs import Commit
from stepwell.server.clock import Clock
from stepwell.server.store.base import ClaimRequest, Outcome, Store, StoreError, Unsure
from stepwell.server.telemetry.observers import Observer

logger = logging.getLogger("stepwell.store")

_T = TypeVar("_T")

Settled = Callable[[list[Outcome] | StoreError], None]


def slow() -> Unsure:
    """The error of whoever has waited for the store for too long."""
    return Unsure(f"{_SLOW}: whether it was saved is not known, asking again with the same id is safe.")


class Unstorable(StoreError):
    """What was submitted can not be stored, ever: trying again is no use."""


_MAX_BATCH = 2_000
_MAX_CLAIM = 500
_RETRY_S = 1.0
ANSWER_S = 10.0
"""Who asked from outside has an answer within this time, whatever the store does."""
_SLOW = f"The store has not answered within {ANSWER_S:g} seconds"
_LOOK_S = 10.0
"""The clock is looked at this often while something is due later: it may be set, and stands still in a sleeping machine
for the timers of a loop."""


class Committer:
    """Feeds one store with transactions, one after the other, and hands claimed items to ``take``.

    ``room()`` says how many more items this process can work on now. ``submit`` never blocks; ``settled`` is called once
    with the outcomes, in order, or with the store's error, after which nothing of that submission is stored.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        owner: str,
        room: Callable[[], int],
        take: Callable[[list[Item]], None],
        observer: Observer | None = None,
    ) -> None:
        self._observer = Observer() if observer is None else observer
        self._store = store
        self._clock = clock
        self._owner = owner
        self._room = room
        self._take = take
        self._queue: list[tuple[Sequence[Commit], Settled]] = []
        self._alone: list[tuple[Sequence[Commit], Settled]] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: int | None = None
        self._failing = False
        self._doubtful: list[ItemRef] = []
        """Claims that may have been made, by transactions of which nobody knows how they ended."""
        self.claiming = True
        self.seen: Callable[[dict[str, int]], None] = lambda _: None
        """Told of the versions of runs (``Transacted.versions``) before their items are handed out."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-committer")
        self.wake()

    async def stop(self) -> None:
        """Write what was submitted, claim nothing more, and end."""
        self.claiming = False
        self._set_timer(None)
        if self._task is not None:
            task, self._task = self._task, None
            self.wake()
            await task

    def submit(self, commits: Sequence[Commit], settled: Settled) -> None:
        """Have the commits written, together, in the next transaction."""
        self._queue.append((commits, settled))
        self._wake.set()

    def submit_until_stored(self, commit: Commit) -> None:
        """Have it written, again and again while the store can not: nobody else remembers it."""

        def settled(result: list[Outcome] | StoreError) -> None:
            if isinstance(result, StoreError) and not isinstance(result, Unstorable):
                asyncio.get_running_loop().call_later(_RETRY_S, self.submit_until_stored, commit)

        self.submit((commit,), settled)

    async def write(
        self, commits: Sequence[Commit], applied: Callable[[list[Outcome]], None] | None = None
    ) -> list[Outcome]:
        """As ``submit``, and wait. ``applied`` sees the outcomes before any work is handed out.

        Raises StoreError, after ``ANSWER_S`` at the latest: Unsure when the store has it by then and does not answer.
        """
        done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

        def settled(result: list[Outcome] | StoreError) -> None:
            if applied is not None and not isinstance(result, StoreError):
                applied(result)
            if done.done():
                return
            if isinstance(result, StoreError):
                done.set_exception(result)
            else:
                done.set_result(result)

        self.submit(commits, settled)
        entry = self._queue[-1]
        try:
            async with asyncio.timeout(ANSWER_S):
                return await done
        except TimeoutError:
            kept = [each for each in self._queue if each is not entry]
            waiting, self._queue = len(kept) < len(self._queue), kept
            raise slow() if not waiting else StoreError(f"{_SLOW}, nothing was saved.") from None

    def wake(self) -> None:
        """There may be work to claim."""
        self._wake.set()

    async def _run(self) -> None:
        while self._task is not None or self._queue or self._alone:
            await self._wake.wait()
            self._wake.clear()
            await self._cycle()

    async def _cycle(self) -> None:
        alone = bool(self._alone)  # then nothing is claimed: a claim that fails must not be taken for the batch's fault
        batch = self._next_batch()
        now = self._clock.now()
        room = min(self._room(), _MAX_CLAIM) if self.claiming and not alone else 0
        claim = ClaimRequest(self._owner, room, now) if room > 0 else None
        commits = [commit for part, _ in batch for commit in part]
        if not commits and claim is None:
            return
        began = time.perf_counter()
        try:
            await self._settle_doubts()
            result = await self._store.transact(commits, claim)
        except StoreError as problem:
            self._failed(batch, problem)
            return
        except Exception as problem:
            logger.exception("the store could not take what was submitted")
            self._poisoned(batch, alone, problem)
            return
        self._observer.wrote(time.perf_counter() - began, len(commits))
        if self._failing and (commits or result.claimed):  # reading alone works on a full disk
            self._failing = False
            logger.warning("the store works again")
        at = 0
        for part, settled in batch:
            _call(settled, result.outcomes[at : at + len(part)])
            at += len(part)
        if result.versions:
            _call(self.seen, result.versions)
        if result.claimed:
            await self._hand_out(result.claimed)
        if alone or self._queue or (claim is not None and len(result.claimed) >= claim.limit):
            self._wake.set()
        if claim is not None:
            self._set_timer(result.next_due)

    async def _hand_out(self, items: list[Item]) -> None:
        """Work on what was claimed; give it back when the process has begun to stop meanwhile."""
        if self.claiming:
            _call(self._take, items)
            return
        try:
            await self._store.release([ItemRef(item.run_id, item.key, item.claim) for item in items])
        except StoreError as problem:
            logger.error("%s", problem)

    async def _settle_doubts(self) -> None:
        """Nobody works on what was claimed without an answer: give it back, or it stays ours for ever. Raises StoreError."""
        if self._doubtful:
            await self._store.release(self._doubtful)
            self._doubtful = []

    def _next_batch(self) -> list[tuple[Sequence[Commit], Settled]]:
        if self._alone:
            return [self._alone.pop(0)]
        batch, self._queue = self._queue[:_MAX_BATCH], self._queue[_MAX_BATCH:]
        return batch

    def _failed(self, batch: list[tuple[Sequence[Commit], Settled]], problem: StoreError) -> None:
        if not self._failing:
            logger.error("%s", problem)
        self._failing = True
        if isinstance(problem, Unsure):
            self._doubtful += problem.claims
        for _, settled in batch:
            _call(settled, problem)
        self._wake_later()

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(_RETRY_S, self._wake.set)

    def _poisoned(self, batch: list[tuple[Sequence[Commit], Settled]], alone: bool, problem: Exception) -> None:
        """Something in the batch can not be stored at all. Find it by submitting each part alone; only that one fails."""
        if not batch:
            self._wake_later()
            return
        if alone:
            _call(batch[0][1], Unstorable(f"can not be stored ({type(problem).__name__}: {problem})"))
        else:
            self._alone += batch
        self._wake.set()

    def _set_timer(self, due: int | None) -> None:
        if due == self._timer_due and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = due
        if due is not None:
            delay = max(0.0, (due - self._clock.now()) / 1000)
            self._timer = asyncio.get_running_loop().call_later(min(delay, _LOOK_S), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()


def _call(told: Callable[[_T], None], value: _T) -> None:
    """Whoever is told fails alone: the one task that writes must go on."""
    try:
        told(value)
    except Exception:
        logger.exception("the outcome of a transaction could not be taken up")
