"""``/v1/cancellations``: many runs of a function ended at once (protocol 1.7)."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.cel import ExpressionError
from stepwell.core.cel import compile as compile_expression
from stepwell.core.model import Cancellation
from stepwell.core.triggers import EVENT_ONLY
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import parse, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, wrapped
from stepwell.server.api.queries import ulid_param
from stepwell.server.api.render import Json, instant
from stepwell.server.settings import Settings
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.dates import rfc3339_ms
from stepwell.wire.ids import ZERO_UUID, stable_uuid

_AHEAD_MS = 5_000
"""How far ahead ``started_before`` may lie."""
_Moment = str | int | None


class _Wire(msgspec.Struct, rename={"condition": "if"}):
    """The request's body; unknown keys are ignored. Moments are RFC 3339, or milliseconds."""

    app_id: str
    function_id: str
    started_before: _Moment = None
    started_after: _Moment = None
    condition: str | None = None


class Cancellations:
    """Takes them, lists them, forgets them."""

    def __init__(self, engine: EngineFacade, settings: Settings, now: Callable[[], int]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        return [
            Route("/v1/cancellations", self.list, methods=["GET"]),
            Route("/v1/cancellations", self.add, methods=["POST"]),
            Route("/v1/cancellations/{cancellation_id:str}", self.drop, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """Every one, the newest first."""
        require_bearer(self._settings, request.scope)
        return wrapped([_render(one) for one in await self._engine.cancelling.all()])

    async def add(self, request: Request) -> Response:
        """Stored when this answers; the runs end one after the other. 404 for a function that is not known."""
        require_bearer(self._settings, request.scope)
        asked = _read(await read_body(request.scope, request.receive, MAX_REQUEST_BYTES))
        now = self._now()
        made = Cancellation(
            cancellation_id=self._engine.new_ids(1)[0],
            created_at=now,
            app_id=asked.app_id,
            function_id=self._function(asked),
            started_after=_moment("started_after", asked.started_after),
            started_before=_before(asked.started_before, now),
            condition=_condition(asked.condition),
        )
        if made.started_after is not None and made.started_after >= made.started_before:
            raise Problem(400, "started_after has to be earlier than started_before.")
        await self._engine.cancelling.add(made)
        return wrapped(_render(made))

    async def drop(self, request: Request) -> Response:
        """Forget one: runs that have not ended yet go on."""
        require_bearer(self._settings, request.scope)
        cancellation_id = ulid_param(request, "cancellation_id")
        if not await self._engine.cancelling.drop(cancellation_id):
            raise Problem(404, f"There is no cancellation {cancellation_id}.", code="cancellation_unknown")
        return wrapped({"ok": True})

    def _function(self, asked: _Wire) -> str:
        """Its slug; the request has its id without the app's, or the slug."""
        names = {f"{asked.app_id}-{asked.function_id}"}
        if asked.function_id.startswith(f"{asked.app_id}-"):
            names.add(asked.function_id)
        for config in self._engine.functions():
            if config.id in names:
                return config.id
        message = f"The app {asked.app_id[:200]!r} has no function {asked.function_id[:200]!r}."
        raise Problem(404, message, code="function_unknown")


def _read(body: bytes) -> _Wire:
    asked = parse(body, _Wire, "The cancellation is")
    if not asked.app_id or not asked.function_id:
        raise Problem(400, "A cancellation needs app_id and function_id.")
    return asked


def _before(value: _Moment, now: int) -> int:
    moment = _moment("started_before", value)
    if moment is None:
        raise Problem(400, "A cancellation needs started_before: runs that began later go on.")
    if moment > now + _AHEAD_MS:
        raise Problem(400, f"started_before may lie at most {_AHEAD_MS // 1000} seconds ahead.")
    return moment


def _moment(name: str, value: _Moment) -> int | None:
    found = rfc3339_ms(value) if isinstance(value, str) else value
    if value is not None and (found is None or not 0 <= found < 2**47):
        raise Problem(400, f"{name} is no moment such as 2026-01-31T12:00:00Z.")
    return found


def _condition(text: str | None) -> str | None:
    try:
        return compile_expression(text, EVENT_ONLY).text if text else None
    except ExpressionError as problem:
        raise Problem(400, f"The expression can not be read: {problem}.") from None


def _render(one: Cancellation) -> Json:
    shape: Json = {
        "id": one.cancellation_id,
        "created_at": instant(one.created_at),
        "environment_id": ZERO_UUID,
        "function_id": one.function_id.removeprefix(f"{one.app_id}-"),
        "function_internal_id": stable_uuid(one.app_id, one.function_id),
        "started_after": instant(one.started_after),
        "started_before": instant(one.started_before),
        "kind": "bulk",
        "cause": None,
    }
    return shape if one.condition is None else shape | {"if": one.condition}
