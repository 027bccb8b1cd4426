"""Bodies that arrive: what the database knows of their files, which become a body or are deleted when their claim ends.

Older databases have bodies in pieces, as rows. Deleting those goes on bit by bit, so that a large one holds nobody up.
"""

import sqlite3
from collections.abc import Iterable

from stepwell.core.model import ItemRef
from stepwell.server.store.ledger import Draft
from stepwell.server.store.sqlite.bodyfiles import BodyFiles
from stepwell.server.store.sqlite.queries import SQL

SWEEP = 32
"""Pieces deleted in one transaction."""


def begin(conn: sqlite3.Connection, draft: Draft, claim: ItemRef) -> None:
    """The holder of ``claim`` is about to store a body."""
    conn.execute(SQL.put_arriving, (claim.body, claim.run_id, claim.key, claim.claim))
    draft.begun.add(claim)


def settle(conn: sqlite3.Connection, draft: Draft, files: BodyFiles) -> None:
    """Keep or give up the bodies whose claims have ended."""
    for claim in draft.closed:
        size = files.size(claim.body)
        if claim in draft.kept and size is not None:
            conn.execute(SQL.keep_body, (claim.body, claim.run_id, size))
            conn.execute(SQL.drop_arriving, (claim.body,))
        else:
            conn.execute(SQL.end_arriving, (claim.body,))
            draft.stale.add(claim.body)


def sweep(conn: sqlite3.Connection, draft: Draft, files: BodyFiles, refs: Iterable[str], limit: int = SWEEP) -> None:
    """Forget bodies that were given up and are deleted; delete pieces of them, at most ``limit``."""
    for ref in refs:
        if limit <= 0:
            return
        dropped = conn.execute(SQL.drop_pieces, (ref, limit)).rowcount
        if dropped < limit and files.gone(ref):
            conn.execute(SQL.drop_arriving, (ref,))
            draft.swept.add(ref)
        limit -= max(1, dropped)
