"""The processes of the platform, and which of them leads, as the memory store knows them."""

from stepwell.server.store.base import WorkerRecord


class WorkerTable:
    """Records by id; the part of the memory store that belongs to no run."""

    def __init__(self) -> None:
        self._workers: dict[str, WorkerRecord] = {}
        self._leader: tuple[str, int] | None = None
        """Who leads, until when."""

    async def beat(self, worker: WorkerRecord, forget: int) -> None:
        """See :meth:`Store.beat`."""
        self._workers[worker.worker_id] = worker
        for record in list(self._workers.values()):
            if record.beat_at < forget and record.worker_id != worker.worker_id:
                del self._workers[record.worker_id]

    async def workers(self) -> list[WorkerRecord]:
        """See :meth:`Store.workers`."""
        return [self._workers[worker_id] for worker_id in sorted(self._workers)]

    async def drop_worker(self, worker_id: str) -> None:
        """See :meth:`Store.drop_worker`."""
        self._workers.pop(worker_id, None)

    async def lead(self, owner: str, now: int, expires_at: int) -> bool:
        """See :meth:`Store.lead`."""
        if self._leader is not None and self._leader[0] != owner and self._leader[1] > now:
            return False
        self._leader = (owner, expires_at)
        return True

    async def resign(self, owner: str) -> None:
        """See :meth:`Store.resign`."""
        if self._leader is not None and self._leader[0] == owner:
            self._leader = None
