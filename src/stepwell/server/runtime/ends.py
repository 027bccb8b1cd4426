"""Runs that end in one process while another one works for them: that one is told, and gives up its calls and requests.

By then their slots are free, so it is told at once. A message that is lost costs only time: its results are refused.
"""

import asyncio

import msgspec

from stepwell.server.post import Post
from stepwell.server.runtime.actors import Actor, Actors
from stepwell.server.runtime.loops import end, survived
from stepwell.server.store.base import StoreError
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.ops import Opcode

_KEY = "ends"
_AGAIN_S = 10.0
_AT_ONCE = 100
"""So many runs are read together."""
_WORKED_ON = frozenset({Opcode.GATEWAY, Opcode.AI_GATEWAY, Opcode.STEP_RUN})
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[str]).decode


class Ends:
    """Both ends. All methods belong to the engine's loop."""

    def __init__(self, post: Post, actors: Actors) -> None:
        self._post = post
        self._actors = actors
        self._untold: list[str] = []
        self._told: set[str] = set()
        self._listening: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        post.takers[_KEY] = self._came
        actors.ending = self.note

    def start(self) -> None:
        """Begin to hear of them."""
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name="stepwell-ends")

    async def stop(self) -> None:
        """End."""
        await end([task for task in (self._listening, self._looking) if task is not None])

    async def _listen(self) -> None:
        while True:
            try:
                await self._post.listen([_KEY])
            except StoreError:  # whoever listens has said so
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    def note(self, actor: Actor) -> None:
        """The run ends here. Those of one transaction are told together."""
        if not self._post.wanted(_KEY) or not _works_elsewhere(actor):
            return
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell)
        self._untold.append(actor.view.run.run_id)

    def _tell(self) -> None:
        run_ids, self._untold = self._untold, []
        self._post.send(_KEY, _pack(run_ids))

    def _came(self, _key: str, data: bytes | None) -> None:
        at_work = self._actors.at_work()
        self._told |= at_work if data is None else at_work.intersection(_unpack(data))
        if self._told and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="stepwell-ended")

    async def _look(self) -> None:
        while self._told:
            run_ids = sorted(self._told)[:_AT_ONCE]
            self._told.difference_update(run_ids)
            with survived("runs that have ended in another process could not be read"):
                await self._actors.end_ended(run_ids)


def _works_elsewhere(actor: Actor) -> bool:
    """Whether another process may have something in flight for the run."""
    run, here = actor.view.run, actor.inflight
    if run.discovering and DISCOVERY not in here:
        return True
    if not run.pending:
        return False
    steps = actor.view.steps.values()
    return any(
        step.own_item and not step.ended and step.op in _WORKED_ON and step.step_id not in here for step in steps
    )
