"""Reads what a transaction's commits are checked against, once for all of them."""

import json
import sqlite3
from collections.abc import Sequence

from stepwell.core.model import RunKey
from stepwell.core.outputs import Commit
from stepwell.server.store.codec import decode_admission, decode_run
from stepwell.server.store.plan import Known, everything
from stepwell.server.store.sqlite.queries import SQL, chunked
from stepwell.server.store.sqlite.waits import look_up_waits


def look_up(conn: sqlite3.Connection, commits: Sequence[Commit]) -> Known:
    """Read what the commits have to be checked against."""
    commits = [one for commit in commits for one in everything(commit)]
    known = Known(look_up_waits(conn, commits))
    needed = {commit.needs for commit in commits if commit.needs is not None}
    run_ids = list(needed.union(commit.run.run_id for commit in commits if commit.run is not None))
    if run_ids:
        (found,) = conn.execute(SQL.versions, (json.dumps(run_ids),)).fetchone()
        known.versions.update(json.loads(found))
    keys = list({(commit.key.function_id, commit.key.key) for commit in commits if commit.key is not None})
    for statement, values in chunked(SQL.keys, keys):
        for found in conn.execute(statement, values).fetchall():
            key = RunKey(*found)
            known.keys[key.function_id, key.key] = key
    held = list({key.run_id for key in known.keys.values() if key.run_id is not None})
    if held:
        rows = conn.execute(SQL.headers, (json.dumps(held),))
        known.holders.update((run_id, decode_run(data)) for run_id, data in rows)
    buckets = list({admission.bucket for commit in commits for admission in commit.admit})
    if buckets:
        rows = conn.execute(SQL.admissions, (json.dumps(buckets),))
        known.admissions.update((bucket, decode_admission(state)) for bucket, state in rows)
    return known
