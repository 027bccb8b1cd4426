"""The document itself, put together from the operations and the shapes. Pure, but for the route that serves it."""

from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.openapi.operations import JSON, OPERATIONS, Operation, parameters
from stepwell.server.api.openapi.schemas import SCHEMAS, ref
from stepwell.server.api.problems import JSON as MEDIA
from stepwell.wire.constants import VERSION

_WORDS = {
    200: "Well",
    201: "Made",
    204: "Well, and nothing to say",
    206: "The range that was asked for",
    400: "Not understood",
    401: "No key, or a wrong one",
    404: "There is no such thing",
    408: "The body took too long",
    409: "Not in this state",
    410: "Gone",
    413: "Too large",
    416: "Behind the end",
    500: "A defect of the platform",
    503: "The store can not work now; come again as Retry-After says",
}
_ALWAYS = (500, 503)


@cache
def document() -> dict[str, Any]:
    """The API as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    info = {"title": "Stepwell", "version": VERSION, "description": "Runs, events and apps of a Stepwell platform."}
    bearer = {
        "type": "http",
        "scheme": "bearer",
        "description": "The signing key, hashed or raw; a dev platform asks for none.",
    }
    components = {"schemas": SCHEMAS, "securitySchemes": {"signingKey": bearer}}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def route() -> Route:
    """``GET /v1/openapi.json``; anybody may read it."""
    body = msgspec.json.encode(document())

    async def openapi(_request: Request) -> Response:
        return Response(body, media_type=MEDIA)

    return Route("/v1/openapi.json", openapi)


def _operation(operation: Operation) -> dict[str, Any]:
    answers = {str(status): _answer(operation, status) for status in operation.ok}
    for status in (*operation.problems, *_ALWAYS):
        problem = {"description": _WORDS[status], "content": {JSON: {"schema": ref("Problem")}}}
        answers.setdefault(str(status), problem)
    shape: dict[str, Any] = {
        "operationId": operation.name,
        "summary": f"{operation.summary}.",
        "responses": answers,
        "security": [] if operation.open else [{"signingKey": []}, {}],
    }
    if given := parameters(operation):
        shape["parameters"] = given
    if operation.body is not None:
        shape["requestBody"] = {"required": operation.needs_body, "content": {JSON: {"schema": operation.body}}}
    return shape


def _answer(operation: Operation, status: int) -> dict[str, Any]:
    schema = operation.ok[status]
    answer: dict[str, Any] = {"description": _WORDS[status]}
    if schema is not None:
        answer["content"] = {JSON: {"schema": schema}}
    elif operation.media != JSON and status != 204:
        answer["content"] = {operation.media: {}}
    return answer
