"""Lambda's events as API Gateway writes them, and bodies that are too large for the plain adapters."""

import base64
import io
import json
from typing import Any

import pytest

from stepwell.frameworks import aws_lambda, wsgi
from stepwell.wire.constants import MAX_REQUEST_BYTES
from tests.frameworks.servers import PATH
from tests.frameworks.test_frameworks import IN_BAND, call, shop

QUERY = {"fnId": "shop-order", "stepId": "step"}


@pytest.fixture
def handler() -> Any:
    return aws_lambda.serve(shop(is_production=False))


def rest(method: str, **fields: Any) -> dict[str, Any]:
    context = {"stage": "prod", "path": f"/prod{PATH}", "domainName": "abc.execute-api.eu-west-1.amazonaws.com"}
    event = {"resource": "/{proxy+}", "httpMethod": method, "path": PATH, "headers": None, "body": None}
    event |= {"queryStringParameters": None, "multiValueQueryStringParameters": None, "isBase64Encoded": False}
    return event | {"requestContext": context} | fields


def url(method: str, **fields: Any) -> dict[str, Any]:
    context = {"http": {"method": method, "path": PATH, "protocol": "HTTP/1.1"}, "domainName": "x.lambda-url.aws"}
    event = {"version": "2.0", "routeKey": "$default", "rawPath": PATH, "rawQueryString": "", "headers": {}}
    return event | {"requestContext": context, "isBase64Encoded": False} | fields


def test_calls_in_both_shapes() -> None:
    body, query = call(), "fnId=shop-order&stepId=step"
    encoded = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    for event in (
        rest("POST", queryStringParameters=QUERY, body=body.decode()),
        rest("POST", multiValueQueryStringParameters={key: [value] for key, value in QUERY.items()}, **encoded),
        url("POST", rawQueryString=query, body=body.decode()),
        url("POST", rawQueryString=query, **encoded),
    ):
        answer = aws_lambda.serve(shop(is_production=False))(event, None)
        assert (answer["statusCode"], answer["isBase64Encoded"]) == (206, False)
        assert answer["headers"]["x-inngest-framework"] == "aws-lambda"
        assert json.loads(answer["body"])[0]["data"] == 8


def test_the_address_has_the_stage_and_the_domain(handler: Any) -> None:
    def address(event: dict[str, Any]) -> str:
        return json.loads(handler(event, None)["body"])["url"]

    sync = {"X-Inngest-Sync-Kind": "in_band"}
    assert address(rest("PUT", headers=sync)) == f"https://abc.execute-api.eu-west-1.amazonaws.com/prod{PATH}"
    assert address(rest("PUT", headers=sync | {"Host": "api.shop.test"})) == f"https://api.shop.test/prod{PATH}"
    assert address(url("PUT", headers=IN_BAND)) == f"https://x.lambda-url.aws{PATH}"


def test_an_event_that_is_no_request(handler: Any) -> None:
    with pytest.raises(ValueError, match="no HTTP request"):
        handler({"Records": []}, None)


def test_bodies_that_are_too_large(handler: Any) -> None:
    assert handler(url("POST", body="x" * (MAX_REQUEST_BYTES + 1)), None)["statusCode"] == 413
    said: list[str] = []
    environ = {"PATH_INFO": PATH, "REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(bytes(MAX_REQUEST_BYTES + 9))}
    environ |= {"wsgi.url_scheme": "http", "HTTP_HOST": "h", "wsgi.input_terminated": True}
    served = wsgi.serve(None, shop(is_production=False))
    assert b"too large" in b"".join(served(environ, lambda status, _: said.append(status)))
    environ |= {"CONTENT_LENGTH": str(MAX_REQUEST_BYTES + 9), "wsgi.input": io.BytesIO(bytes(MAX_REQUEST_BYTES + 9))}
    served(environ, lambda status, _: said.append(status))
    assert [status[:3] for status in said] == ["413", "413"]


def test_a_chunked_body_behind_wsgi() -> None:
    said: list[str] = []
    environ = {"PATH_INFO": PATH, "REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(call())}
    environ |= {"wsgi.url_scheme": "http", "HTTP_HOST": "h", "wsgi.input_terminated": True}
    environ |= {"QUERY_STRING": "fnId=shop-order&stepId=step"}
    app = wsgi.StepwellApp(shop(is_production=False))
    (body,) = app(environ, lambda status, _: said.append(status))
    assert (said, json.loads(body)[0]["data"]) == (["206 Partial Content"], 8)
    app.close()
