"""``POST /v1/signals``: wakes the step that waits for a signal (protocol 1.5)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import parse, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, wrapped
from stepwell.server.settings import Settings
from stepwell.wire.constants import MAX_REQUEST_BYTES, MAX_STEP_OUTPUT


class _Wire(msgspec.Struct):
    """The request's body; unknown keys are ignored."""

    signal: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class Signals:
    """Hands signals over."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def route(self) -> Route:
        """Where it is mounted."""
        return Route("/v1/signals", self.send, methods=["POST"])

    async def send(self, request: Request) -> Response:
        """The run that was waiting; 404 where none was."""
        require_bearer(self._settings, request.scope)
        asked = _read(await read_body(request.scope, request.receive, MAX_REQUEST_BYTES))
        run_id = await self._engine.signal(asked.signal, bytes(asked.data))
        if run_id is None:
            raise Problem(404, f"No run waits for the signal {asked.signal[:200]!r}.", code="signal_unknown")
        return wrapped({"run_id": run_id})


def _read(body: bytes) -> _Wire:
    asked = parse(body, _Wire, "The signal is")
    parse(bytes(asked.data), object, "The signal is")
    if not asked.signal:
        raise Problem(400, "The signal has no name: give it as `signal`.")
    if len(bytes(asked.data)) > MAX_STEP_OUTPUT:
        raise Problem(413, f"The data of a signal may have {MAX_STEP_OUTPUT >> 20} MiB at most.")
    return asked
