"""What the dashboard asks of an engine: what the API does, and to be told of changes."""

from typing import Protocol

from stepwell.server.api.facade import EngineFacade
from stepwell.server.changes import Changes


class WatchedEngine(EngineFacade, Protocol):
    """The engine, as the dashboard sees it."""

    @property
    def changes(self) -> Changes:
        """Which runs changed."""
        ...
