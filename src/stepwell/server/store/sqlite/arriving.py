"""Bodies that arrive: their pieces are stored one by one, and become a body or are deleted when their claim ends.

Deleting goes on bit by bit, so that a large one holds nobody up.
"""

import sqlite3
from collections.abc import Iterable

from stepwell.core.model import ItemRef
from stepwell.server.store.ledger import Draft
from stepwell.server.store.sqlite.queries import SQL

SWEEP = 32
"""Pieces deleted in one transaction."""
_WITH_A_PIECE = 2


def append(conn: sqlite3.Connection, draft: Draft, claim: ItemRef, start: int, data: bytes) -> None:
    """Store a piece of the body that the holder of ``claim`` receives."""
    ref = claim.body
    if start == 0:
        if claim in draft.ledger.arriving:
            conn.execute(SQL.drop_pieces, (ref, -1))
        conn.execute(SQL.put_arriving, (ref, claim.run_id, claim.key, claim.claim))
        draft.begun.add(claim)
    conn.execute(SQL.put_piece, (ref, start, data))
    sweep(conn, draft, draft.ledger.stale, _WITH_A_PIECE)


def settle(conn: sqlite3.Connection, draft: Draft) -> None:
    """Keep or give up the bodies whose claims have ended."""
    kept = [claim for claim in draft.closed if claim in draft.kept]
    lost = [claim.body for claim in draft.closed if claim not in draft.kept]
    for claim in kept:
        conn.execute(SQL.keep_body, (claim.body, claim.run_id))
        conn.execute(SQL.drop_arriving, (claim.body,))
    for ref in lost:
        conn.execute(SQL.end_arriving, (ref,))
    draft.stale.update(lost)
    sweep(conn, draft, lost, SWEEP)


def sweep(conn: sqlite3.Connection, draft: Draft, refs: Iterable[str], limit: int) -> None:
    """Delete pieces of bodies that were given up, at most ``limit``."""
    for ref in refs:
        if limit <= 0:
            return
        gone = conn.execute(SQL.drop_pieces, (ref, limit)).rowcount
        if gone < limit:
            conn.execute(SQL.drop_arriving, (ref,))
            draft.swept.add(ref)
        limit -= gone
