"""What ``stepwell doctor`` looks at last: everything that is stored, while a platform works on it or while none does."""

import asyncio
import os

from stepwell.cli.checks import Check, Verdict
from stepwell.cli.progress import Count
from stepwell.server.build import open_audit
from stepwell.server.clock import SystemClock
from stepwell.server.settings import Settings
from stepwell.server.store.auditing import audit
from stepwell.server.store.base import StoreError


async def examine_runs(settings: Settings) -> list[Check]:
    """One check when all is well or nothing is there; one for each thing that is wrong."""
    path = settings.db_path
    if not settings.postgres and (path is None or not await asyncio.to_thread(os.path.exists, path)):
        return []
    count = Count("Looked at {:,} runs")
    try:
        source, keys = await open_audit(settings.db, settings.encryption_keys)
        try:
            told = await audit(source, keys, SystemClock().now(), count.at)
        finally:
            count.done()
            await source.close()
    except StoreError as problem:
        return [Check("runs", Verdict.FAILED, str(problem))]
    if not told.problems:
        return [Check("runs", Verdict.OK, f"{told.runs:,} looked at: what is stored of them is as it must be.")]
    found = [Check("runs", Verdict.FAILED, f"{sentence[:1].upper()}{sentence[1:]}.") for sentence in told.problems]
    return [*found, Check("runs", Verdict.FAILED, f"{told.more} more of the kind.")] if told.more else found
