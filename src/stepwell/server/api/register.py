"""``POST /fn/register``: an app tells its functions (protocol 1.3)."""

from starlette.requests import Request
from starlette.responses import Response

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import header, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, bare
from stepwell.server.settings import Settings
from stepwell.wire.constants import H_EXPECTED_KIND, MAX_ANSWER_BYTES
from stepwell.wire.functions import BadRegistration, parse_registration
from stepwell.wire.ids import stable_uuid


class Register:
    """Takes registrations; a bad function refuses the whole of it."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def post(self, request: Request) -> Response:
        """Answer one registration."""
        require_bearer(self._settings, request.scope)
        expected = header(request.scope, H_EXPECTED_KIND)
        if expected and expected.lower() != self._settings.kind:
            raise Problem(400, self._other_kind(expected), code="server_kind_mismatch")
        body = await read_body(request.scope, request.receive, MAX_ANSWER_BYTES)
        try:
            registration = parse_registration(body)
            modified, app_id = await self._engine.register(registration)
        except BadRegistration as error:
            raise Problem(400, str(error), code="bad_registration") from None
        sync_id = stable_uuid("sync", app_id, registration.checksum)
        return bare({"ok": True, "modified": modified, "app_id": app_id, "sync_id": sync_id})

    def _other_kind(self, expected: str) -> str:
        kind = self._settings.kind
        return (
            f"The app expects a platform of kind {expected!r}, this one is {kind!r}; "
            "set STEPWELL_DEV=1 in the app for development, and unset it for production."
        )
