"""What PostgreSQL's errors mean to the person who has to do something about them."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from asyncpg import exceptions as errors  # pyright: ignore[reportMissingTypeStubs]

from stepwell.server.store.base import StoreError

TRY_AGAIN = (errors.DeadlockDetectedError, errors.SerializationError, errors.InvalidCachedStatementError)
"""Nothing is wrong: the transaction has to be made once more."""

_MEANING: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (errors.DiskFullError, "the disk of the database is full, nothing was saved: free some space."),
    (errors.TooManyConnectionsError, "it has no connection left: raise max_connections, or use a pooling proxy."),
    (errors.InvalidAuthorizationSpecificationError, "it refuses the user or the password: check --db."),
    (errors.InvalidCatalogNameError, "there is no database of this name: make it with createdb, or check --db."),
    (errors.InsufficientPrivilegeError, "the user may not do this: give it the rights of the schema's owner."),
    (errors.ReadOnlySQLTransactionError, "it can only be read: it is a standby, and the primary is elsewhere."),
    (errors.OutOfMemoryError, "it is out of shared memory: raise max_locks_per_transaction."),
    (errors.UndefinedTableError, "its schema is not Stepwell's: run `stepwell migrate`."),
    (errors.QueryCanceledError, "it took too long and was stopped, nothing was saved."),
    (errors.InternalServerError, "it has failed, nothing was saved: its own log says why."),
    (TRY_AGAIN, "others were in the way again and again, nothing was saved: trying later helps."),
    (
        (
            errors.PostgresConnectionError,
            errors.IdleInTransactionSessionTimeoutError,
            errors.OperatorInterventionError,
            errors.InterfaceError,
            errors.InternalClientError,
            errors.InsufficientResourcesError,
            errors.PostgresSystemError,
            OSError,
        ),
        "it can not be reached, or has broken off: check that it runs, and --db; a platform goes on trying.",
    ),
)


@contextmanager
def explained() -> Generator[None]:
    """Turn an error of PostgreSQL, or of the way to it, into a StoreError of one sentence."""
    try:
        yield
    except asyncpg.DataError:
        raise  # a value that can not be stored, ever
    except (asyncpg.PostgresError, asyncpg.InterfaceError, errors.InternalClientError, OSError) as error:
        for kind, meaning in _MEANING:
            if isinstance(error, kind):
                raise StoreError(f"The PostgreSQL database: {meaning} ({_said(error)})") from error
        raise


def _said(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
