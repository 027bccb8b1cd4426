"""Hands events to what waits for them: work items, so that none is lost, whoever stored it. And signals, at once."""

import asyncio
import logging
from dataclasses import dataclass, field
from dataclasses import replace as replace_left
from typing import Any

from msgspec.structs import replace

from stepwell.core.cel.keys import event_keys
from stepwell.core.model import Item, ItemRef, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.core.signals import sent
from stepwell.core.waits import delivered, meets, woken
from stepwell.server.clock import Clock
from stepwell.server.runtime.committer import Committer
from stepwell.server.store.base import Outcome, Store, StoreError, WaitQuery
from stepwell.wire.jsons import decode

logger = logging.getLogger("stepwell.engine")

_PAGE = 500
"""Waits that are looked at for one event in one transaction."""
_ROUND = 50
_RETRY_S = 1.0


@dataclass(slots=True)
class _Delivery:
    """An event on its way, and where to look on."""

    item: Item
    event: StoredEvent
    query: WaitQuery
    body: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class _Page:
    """What to write for one delivery, and what is left of it then."""

    commits: list[Commit]
    left: Item | _Delivery | None = None


class Deliveries:
    """In rounds: a page of waits for each event, oldest event first, all in one transaction.

    Each wait is taken by a commit of its own, so that of two events that meet it one has it, and the other may have the
    next.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: list[Item | _Delivery] = []
        self._running = False
        self.committer: Committer

    def __len__(self) -> int:
        return len(self._pending)

    def take(self, item: Item) -> bool:
        """An event to hand out; whether the caller has to start ``run``."""
        self._pending.append(item)
        started, self._running = self._running, True
        return not started

    async def run(self) -> None:
        """Go on until every event has been handed out."""
        try:
            while self._pending:
                await self._round()
        finally:
            self._running = False
            self.committer.wake()

    async def signal(self, signal: str, data: bytes) -> str | None:
        """Wake the step that waits for the signal, with JSON data; its run. None where none waits. Raises StoreError."""
        while (wait := await self._store.find_signal(signal)) is not None:
            outcomes = await self.committer.write([sent(wait, data, self._clock.now())])
            if outcomes == [Outcome.APPLIED]:
                return wait.run_id
        return None

    async def _round(self) -> None:
        batch = self._pending[:_ROUND]
        pages = await self._pages(batch)
        commits = [commit for page in pages for commit in page.commits]
        try:
            await self.committer.write(commits)
        except StoreError as problem:
            logger.error("%s", problem)
            await asyncio.sleep(_RETRY_S)
            return
        left = [page.left for page in pages if page.left is not None]
        self._pending = left + self._pending[len(batch) :]
        if not commits:
            await asyncio.sleep(_RETRY_S)

    async def _pages(self, batch: list[Item | _Delivery]) -> list[_Page]:
        """One for each. While one has more to look at, those of the same name that come after it must not overtake it."""
        pages: list[_Page] = []
        busy: set[str] = set()
        for pending in batch:
            try:
                delivery = pending if isinstance(pending, _Delivery) else await self._begun(pending)
                page = await self._page(delivery, busy)
            except StoreError as problem:
                logger.error("%s", problem)
                page = _Page([], pending)
            except Exception:  # it must not hold up the others
                item = pending if isinstance(pending, Item) else pending.item
                logger.exception("%s could not be handed out", item.run_id)
                page = _Page([_done(item)])
            pages.append(page)
            if isinstance(page.left, _Delivery):
                busy.add(page.left.event.name)
        return pages

    async def _begun(self, item: Item) -> "_Delivery | Item":
        """The item itself where there is nothing to hand out."""
        event = await self._store.get_event(delivered(item))
        if event is None:
            return item
        paths = [wait.path for wait in await self._store.waited_places(event.name) if wait.path is not None]
        query = WaitQuery(name=event.name, before=(item.run_id, item.key), limit=_PAGE)
        body: dict[str, Any] = decode(event.body)
        return _Delivery(item, event, replace(query, at=tuple(event_keys(dict.fromkeys(paths), body))), body)

    async def _page(self, delivery: "_Delivery | Item", busy: set[str]) -> _Page:
        if isinstance(delivery, Item):
            return _Page([_done(delivery)])
        event, query, now = delivery.event, delivery.query, self._clock.now()
        if event.name in busy:
            return _Page([], delivery)
        found = await self._store.find_waits(query)
        commits = [_woken(wait, event, now) for wait in found if _meets(wait, delivery)]
        if len(found) < query.limit:
            return _Page([*commits, _done(delivery.item)])
        return _Page(commits, replace_left(delivery, query=replace(query, after=found[-1].seq)))


def _meets(wait: Wait, delivery: _Delivery) -> bool:
    """A wait whose expression can not be read any more, a defect, is met by nothing: it has its time-out."""
    try:
        return meets(wait, delivery.body, delivery.event.received_at)
    except Exception:
        logger.exception("the wait of step %s of run %s is not understood", wait.step_id, wait.run_id)
        return False


def _woken(wait: Wait, event: StoredEvent, now: int) -> Commit:
    return Commit(now=now, take=((wait.run_id, wait.step_id),), put=(woken(wait, event.body, now),))


def _done(item: Item) -> Commit:
    return Commit(now=item.due_at, done=(ItemRef(item.run_id, item.key, item.claim),))
