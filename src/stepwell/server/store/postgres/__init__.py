"""State in PostgreSQL, for any number of processes."""

from stepwell.server.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
