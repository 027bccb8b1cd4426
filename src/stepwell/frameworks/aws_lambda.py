"""The app's endpoint as an AWS Lambda function: behind function URLs, and API Gateway's HTTP and REST APIs.

Payload format 2.0 (function URLs, HTTP APIs) has ``rawPath``; format 1.0 (REST APIs) has ``httpMethod``.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from stepwell.frameworks.common import TOO_LARGE
from stepwell.frameworks.loop_thread import BlockingHandler
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.headers import lower

Event = Mapping[str, Any]


def serve(
    client: Client,
    functions: Sequence[Function] | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> Callable[[Event, object], dict[str, Any]]:
    """The function that Lambda calls with ``(event, context)``; it serves at every path that is routed to it.

    Its event loop lives in a background thread from one invocation to the next, and rests while Lambda freezes the
    process. ``serve_origin``, ``serve_path``: where the platform reaches it, as in :class:`stepwell.sdk.serve.Handler`.
    """
    blocking = BlockingHandler(
        Handler(client, functions, "aws-lambda", serve_origin=serve_origin, serve_path=serve_path)
    )

    def handler(event: Event, context: object) -> dict[str, Any]:
        headers = lower(_members(event, "headers").items())
        body, reply = _body(event), TOO_LARGE
        if len(body) <= MAX_REQUEST_BYTES:
            method, path, query = _asked(event)
            reply = blocking.handle(method, _url(event, headers, path, query), headers, body, event)
        return {"statusCode": reply[0], "headers": reply[1], "body": reply[2].decode(), "isBase64Encoded": False}

    return handler


def _asked(event: Event) -> tuple[str, str, str]:
    """The method, the path as the client wrote it, and the query."""
    context = _members(event, "requestContext")
    if "rawPath" in event:
        return context["http"]["method"], event["rawPath"], event.get("rawQueryString") or ""
    if "httpMethod" not in event:
        raise ValueError(
            "the event is no HTTP request: invoke the function through a function URL or an API Gateway with proxy integration"
        )
    query = _members(event, "multiValueQueryStringParameters") or _members(event, "queryStringParameters")
    path = context.get("path") or event["path"]  # the former begins with the stage, as the client's URL does
    return event["httpMethod"], quote(path, safe="/%:@!$&'()*+,;=~"), urlencode(query, doseq=True)


def _url(event: Event, headers: Mapping[str, str], path: str, query: str) -> str:
    host = headers.get("host") or _members(event, "requestContext").get("domainName") or "localhost"
    return f"{headers.get('x-forwarded-proto', 'https')}://{host}{path}{'?' + query if query else ''}"


def _members(event: Event, name: str) -> Mapping[str, Any]:
    return event.get(name) or {}  # API Gateway sends null where there are none


def _body(event: Event) -> bytes:
    text: str = event.get("body") or ""
    return base64.b64decode(text) if event.get("isBase64Encoded") else text.encode()
