"""Where the state of a cell is, and what of it can be read past the platform."""

import sqlite3
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from stepwell.core.invariants import Stored
from stepwell.core.model import Item, RunView
from stepwell.server.build import open_store
from stepwell.server.store.base import RunQuery
from stepwell.server.store.postgres.connect import connect

SEAL = "11" * 32
Claim = tuple[str, str, int]
"""Run, item key, number."""


class Place(Protocol):
    """A database. ``rows`` has ``{s}`` in the place of the schema; ``env``: what processes are told of it."""

    url: str
    shared: bool

    @property
    def env(self) -> dict[str, str]: ...

    async def rows(self, sql: str) -> list[Any]: ...


class Postgres(NamedTuple):
    """``proxy``: the URL of one through which processes go."""

    url: str
    shared: bool = True
    proxy: str = ""

    @property
    def env(self) -> dict[str, str]:
        return {"STEPWELL_DB": self.proxy, "STEPWELL_DB_LISTEN": self.url} if self.proxy else {"STEPWELL_DB": self.url}

    async def rows(self, sql: str) -> list[Any]:
        conn = await connect(self.url)
        try:
            return [tuple(row) for row in await conn.fetch(sql.format(s="stepwell."))]
        finally:
            await conn.close()


class SQLite(NamedTuple):
    path: Path
    shared: bool = False

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def env(self) -> dict[str, str]:
        return {"STEPWELL_DB": self.url}

    async def rows(self, sql: str) -> list[Any]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(sql.format(s="")).fetchall()
        finally:
            connection.close()


async def claims(place: Place) -> set[Claim]:
    """What is claimed right now."""
    return set(await place.rows("SELECT run_id, key, claim FROM {s}items WHERE owner IS NOT NULL"))


class State(msgspec.Struct, frozen=True):
    """All that is stored. ``events``: ids that senders gave, by internal id."""

    views: list[RunView]
    items: dict[str, list[Item]]
    events: dict[str, str]
    waiting: set[str]

    def stored(self) -> list[Stored]:
        """Runs as the invariants look at them."""
        return [
            Stored(run=view.run, steps=list(view.steps.values()), items=self.items[view.run.run_id])
            for view in self.views
        ]


async def read(place: Place) -> State:
    """Through the store; of a SQLite file, while no process has it."""
    store = open_store(place.url, keys=[SEAL])
    await store.open()
    try:
        ids = [run.run_id for run in await store.list_runs(RunQuery(limit=100))]
        views = await store.load_runs(ids)
        items = {run_id: await store.list_items(run_id) for run_id in ids}
        internal = {event for view in views for event in view.run.event_ids}
        found = [await store.get_event(event) for event in internal]
        events = {event.internal_id: event.event_id for event in found if event is not None}
        return State(views, items, events, await store.waiting_names())
    finally:
        await store.close()
