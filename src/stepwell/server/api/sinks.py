"""What SDKs send and nothing is done with yet: spans of the user's code, telemetry of a user interface (protocol 1.1)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import read_body
from stepwell.server.api.problems import bare
from stepwell.server.settings import Settings
from stepwell.wire.constants import MAX_REQUEST_BYTES


class Sinks:
    """Takes it, so that no SDK has to report an error, and drops it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        return [
            Route("/v1/traces/userland", self.traces, methods=["POST"]),
            Route("/v0/telemetry", self.telemetry, methods=["POST"]),
        ]

    async def traces(self, request: Request) -> Response:
        """OTLP of who has the signing key."""
        require_bearer(self._settings, request.scope)
        return await self.telemetry(request)

    async def telemetry(self, request: Request) -> Response:
        """Anything."""
        await read_body(request.scope, request.receive, MAX_REQUEST_BYTES)
        return bare({})
