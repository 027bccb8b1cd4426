"""``POST /v1/callbacks/{token}``: the request of an upstream that a function waits for. The token is the credential."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.callbacks import PATH, owner, parse_token
from stepwell.core.model import RunView, Step, StepStatus
from stepwell.server.api.body import read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.encodings import DecodesToMore
from stepwell.wire.fetch import FetchResponse

_METHODS = ("POST", "PUT", "PATCH")
_TAKEN = Response(b'{"status":"received"}', 200, media_type="application/json")


class Callbacks:
    """Takes call-backs. Who was answered once is answered alike when it calls again; the first request counts."""

    def __init__(self, engine: EngineFacade) -> None:
        self._engine = engine

    def route(self) -> Route:
        """Where it is mounted."""
        return Route(PATH + "{token:str}", self.take, methods=list(_METHODS))

    async def take(self, request: Request) -> Response:
        """One call-back. 404 for a token that was never given out, 410 once its step has ended without it."""
        run_id, step = await self._waiting(str(request.path_params["token"]))
        if not step.ended:
            body = await read_body(request.scope, request.receive, MAX_REQUEST_BYTES)
            try:
                await self._engine.called_back(run_id, step.step_id, _response(request, body))
            except DecodesToMore as problem:
                raise Problem(413, f"The body can not be taken: {problem}.", code="callback_too_large") from None
            _, step = await self._waiting(str(request.path_params["token"]))
        if step.status is StepStatus.COMPLETED and step.callback is not None and not step.callback.void:
            return _TAKEN
        raise Problem(410, "The run does not wait for this call-back any longer.", code="callback_late")

    async def _waiting(self, token: str) -> tuple[str, Step]:
        parsed = parse_token(token)
        view: RunView | None = None if parsed is None else await self._engine.view(parsed[0])
        step = None if view is None or parsed is None else owner(view.steps.values(), parsed[1])
        if view is None or step is None:
            raise Problem(404, "There is no such call-back URL.", code="callback_unknown")
        if view.run.status.ended and not step.ended:
            raise Problem(410, "The run has ended.", code="callback_late")
        return view.run.run_id, step


def _response(request: Request, body: bytes) -> FetchResponse:
    """The call-back as the response that the function gets: its headers and body, its method in a header of ours."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
    query = f"?{request.url.query}" if request.url.query else ""
    return FetchResponse(
        status=200,
        url=f"{request.url.scheme}://{request.url.netloc}{PATH.rstrip('/')}{query}",
        headers=(*headers, ("stepwell-method", request.method)),
        body=body,
    )
