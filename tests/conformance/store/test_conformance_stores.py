"""The suite for all stores, on each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stepwell.server.store.base import Store
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.postgres import clean_database
from stepwell.testing.platform.store_conformance import StoreConformance


class TestMemoryStore(StoreConformance):
    """The store that defines the meaning."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()


class TestSQLiteStore(StoreConformance):
    """On disk."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = SQLiteStore(tmp_path / "folder" / "stepwell.db")
        await store.open()
        yield store
        await store.close()


class TestPostgresStore(StoreConformance):
    """In a database."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = PostgresStore(await clean_database())
        await store.open()
        yield store
        await store.close()
