"""Commits as a store keeps them that may not read them: each record sealed, large bodies in a thread."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from stepwell.core.model import Body
from stepwell.core.outputs import Admission, Commit, RateLimited, Single
from stepwell.server.crypto import pieces
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.sealed_records import IN_A_THREAD, seal_event, seal_item, seal_run, seal_step
from stepwell.server.store.sealed_waits import seal_cancellation, seal_wait


async def seal_commits(keys: Sealer, commits: Sequence[Commit]) -> list[Commit]:
    """The commits, all that belongs to users sealed."""
    sealed = [_seal_commit(keys, commit) for commit in commits]
    if any(map(_has_bodies, commits)):
        sealed = [await _seal_bodies(keys, commit) for commit in sealed]
    return sealed


def _seal_commit(keys: Sealer, commit: Commit) -> Commit:
    changes: dict[str, object] = {}
    if commit.run is not None and (commit.run.output is not None or commit.run.error is not None):
        changes["run"] = seal_run(keys, commit.run)
    if commit.events:
        changes["events"] = tuple(seal_event(keys, event) for event in commit.events)
    if commit.steps:
        changes["steps"] = tuple(seal_step(keys, step) for step in commit.steps)
    if any(item.payload is not None for item in commit.put):
        changes["put"] = tuple(seal_item(keys, item) for item in commit.put)
    if commit.waits:
        changes["waits"] = tuple(seal_wait(keys, wait) for wait in commit.waits)
    if commit.admit:
        changes["admit"] = tuple(_seal_admission(keys, admission) for admission in commit.admit)
    if commit.cancellations:
        changes["cancellations"] = tuple(seal_cancellation(keys, one) for one in commit.cancellations)
    if commit.more:
        changes["more"] = tuple(_seal_commit(keys, following) for following in commit.more)
    if commit.otherwise is not None:
        changes["otherwise"] = _seal_commit(keys, commit.otherwise)
    return replace(commit, **changes) if changes else commit


def _seal_admission(keys: Sealer, admission: Admission) -> Admission:
    if isinstance(admission, RateLimited | Single):
        return replace(admission, instead=admission.instead and _seal_commit(keys, admission.instead))
    return admission  # ids and times


async def _seal_bodies(keys: Sealer, commit: Commit) -> Commit:
    if not _has_bodies(commit):
        return commit
    bodies = [await _seal_body(keys, body) for body in commit.bodies]
    more = [await _seal_bodies(keys, following) for following in commit.more]
    return replace(commit, bodies=tuple(bodies), more=tuple(more))


def _has_bodies(commit: Commit) -> bool:
    return bool(commit.bodies) or any(map(_has_bodies, commit.more))


async def _seal_body(keys: Sealer, body: Body) -> Body:
    place = body.ref.encode()
    if len(body.data) < IN_A_THREAD:
        return replace(body, data=pieces.seal(keys, body.data, place))
    return replace(body, data=await asyncio.to_thread(pieces.seal, keys, body.data, place))
