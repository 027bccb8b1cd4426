"""The caller's seam: hand one call request to an app, bring its answer back. In wire terms, so that either side may move."""

from typing import Protocol

from stepwell.wire.calls import Answer, CallRequest


class Caller(Protocol):
    """Calls apps; a failure on the way is an ERROR answer with ``transport`` set, never an exception."""

    async def call(self, request: CallRequest) -> Answer:
        """One call. Cancelling the task abandons it."""
        ...

    def ended(self, run_id: str) -> None:
        """The run has ended: whatever the app's side keeps for it can go."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
