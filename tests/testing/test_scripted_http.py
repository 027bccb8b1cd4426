"""Scripted HTTP: what matches, what is answered, what its failures say."""

import re
from typing import Any

import httpx2
import pytest

import stepwell
from stepwell.testing import Failure, Reply, ScriptedHttp, SentRequest, UnexpectedRequest, run_function
from stepwell.testing.rules import KINDS, Rule, as_answer
from stepwell.transports.httpx2 import AsyncDurableTransport

URL = "https://api.example.com/x"


def fetching(*calls: tuple[Any, dict[str, Any]], **options: Any) -> stepwell.Function:
    """A function that makes these requests, one after the other, and returns what it got."""
    client = stepwell.Client(app_id="app", is_production=False)

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), **options)
    async def f(ctx: stepwell.Context) -> list[Any]:
        found: list[Any] = []
        for url, arguments in calls:
            try:
                response = await ctx.step.fetch(url, **arguments)
                found.append([response.status_code, response.text, *(hop.status_code for hop in response.history)])
            except stepwell.FetchError as error:
                found.append([error.kind, error.attempts])
        return found

    return f


def matches(rule: Rule, **members: Any) -> bool:
    return not rule.problems(SentRequest(**{"method": "GET", "url": URL, **members}))


def test_replies(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get(URL).respond(200, json={"a": 1}).respond(404, text="gone").respond(content=b"\xff")
    got = run_function(fetching(*[(URL, {})] * 4), http=stepwell_http).raise_for_error().output
    assert got == [[200, '{"a":1}'], [404, "gone"], [200, "\ufffd"], [200, "\ufffd"]]


def test_the_first_rule_that_matches_answers(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("/x", params={"n": "1"}).respond(text="one")
    stepwell_http.get("/x").respond(text="any")
    stepwell_http.get("/x").respond(text="never")
    got = run_function(fetching((f"{URL}?n=1", {}), (f"{URL}?n=2", {})), http=stepwell_http).raise_for_error().output
    assert got == [[200, "one"], [200, "any"]]


def test_what_a_reply_looks_like(stepwell_http: ScriptedHttp) -> None:
    client = stepwell.Client(app_id="app", is_production=False)

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def f(ctx: stepwell.Context) -> list[Any]:
        found = [await ctx.step.fetch(URL) for _ in range(4)]
        return [sorted(map(list, response.headers.multi_items())) for response in found]

    rule = stepwell_http.get(URL).respond(json=[1]).respond(text="hey")
    rule.respond(json={}, headers={"Content-Type": "application/problem+json", "Content-Length": "2"})
    rule.respond(204, headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert run_function(f, http=stepwell_http).raise_for_error().output == [
        [["content-length", "3"], ["content-type", "application/json"]],
        [["content-length", "3"], ["content-type", "text/plain; charset=utf-8"]],
        [["content-length", "2"], ["content-type", "application/problem+json"]],
        [["set-cookie", "a=1"], ["set-cookie", "b=2"]],
    ]


@pytest.mark.parametrize(("kind", "attempts"), [("dns", 3), ("connect", 3), ("read", 1), ("timeout", 1)])
def test_what_left_already_is_not_sent_again_where_that_is_forbidden(
    kind: str, attempts: int, stepwell_http: ScriptedHttp
) -> None:
    stepwell_http.post(URL).fail(kind)
    call = (URL, {"method": "POST", "retry": 3, "at_most_once": True})
    assert run_function(fetching(call), http=stepwell_http).raise_for_error().output == [[kind, attempts]]


def test_a_failure_says_what_the_test_wants_it_to(stepwell_http: ScriptedHttp) -> None:
    client = stepwell.Client(app_id="app", is_production=False)

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def f(ctx: stepwell.Context) -> None:
        await ctx.step.fetch(URL, retry=1)

    stepwell_http.get(URL).fail("tls", "its certificate is of yesterday")
    error = run_function(f, http=stepwell_http).error
    assert error is not None
    assert "its certificate is of yesterday" in error.message


def test_retries_are_the_platforms(stepwell_http: ScriptedHttp) -> None:
    rule = stepwell_http.get(URL).respond_with([503, "timeout", Reply(status=200, json=[1])])
    outcome = run_function(fetching((URL, {})), http=stepwell_http).raise_for_error()
    assert outcome.output == [[200, "[1]"]]
    assert outcome.steps[0].attempts == 3
    assert [call.attempt for call in rule.calls] == [0, 1, 2]
    assert len(outcome.requests) == 3


def test_retry_after_is_followed(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get(URL).respond(429, headers={"Retry-After": "3600"}).respond(200)
    outcome = run_function(fetching((URL, {})), http=stepwell_http).raise_for_error()
    assert outcome.elapsed.total_seconds() == 3600


def test_failures(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get(URL).fail("connect")
    outcome = run_function(fetching((URL, {"retry": 3})), http=stepwell_http)
    assert outcome.output == [["connect", 3]]
    with pytest.raises(ValueError, match="there is no failure 'conect'"):
        stepwell_http.get(URL).fail("conect")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_failure_arrives(kind: str, stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get(URL).fail(kind)
    outcome = run_function(fetching((URL, {"retry": 2})), http=stepwell_http)
    final = kind in {"guard", "too_large", "invalid", "redirect", "unknown"}
    assert outcome.output == [[kind, 1 if final else 2]]


def test_a_function_as_reply(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.post(URL).call(lambda request: Reply(json={"echo": request.json()})).call(lambda _: 201)
    calls = [(URL, {"method": "POST", "json": {"n": n}}) for n in range(2)]
    assert run_function(fetching(*calls), http=stepwell_http).output == [[200, '{"echo":{"n":0}}'], [201, ""]]


def test_a_broken_reply_is_the_tests_error(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get(URL).call(lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run_function(fetching((URL, {})), http=stepwell_http)
    no_reply = ScriptedHttp()
    no_reply.get(URL)
    with pytest.raises(AssertionError, match=r"GET https://api.example.com/x matches .* has no reply"):
        run_function(fetching((URL, {})), http=no_reply)
    with pytest.raises(TypeError, match="not list"):
        as_answer([200])
    assert as_answer("dns") == Failure("dns")


def test_redirects_are_followed_by_the_rules(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.post(URL).respond(303, headers={"location": "/y"})
    stepwell_http.get("https://api.example.com/y").respond(text="there")
    call = (URL, {"method": "POST", "json": {}, "headers": {"authorization": "secret"}})
    outcome = run_function(fetching(call), http=stepwell_http).raise_for_error()
    assert outcome.output == [[200, "there", 303]]
    assert [call.header("authorization") for call in stepwell_http.calls] == ["secret", "secret"]
    assert [(each.method, each.url) for each in stepwell_http.calls] == [
        ("POST", URL),
        ("GET", "https://api.example.com/y"),
    ]


@pytest.mark.parametrize(
    ("url", "fits", "fits_not"),
    [
        (URL, [URL, f"{URL}?a=1", f"{URL}#part"], [f"{URL}/", f"{URL}y", "http://api.example.com/x"]),
        (f"{URL}?b=2&a=1", [f"{URL}?a=1&b=2"], [URL, f"{URL}?a=1", f"{URL}?a=1&b=2&c=3"]),
        ("https://*.example.com/*/y", ["https://a.example.com/1/2/y"], ["https://example.com/1/y"]),
        ("/x", [URL, "http://other/x?q"], ["http://other/xx"]),
        ("https://host", ["https://host/", "https://host"], ["https://host/x"]),
        ("https://a.b/x.y", ["https://a.b/x.y"], ["https://a.b/xzy"]),
        (re.compile(r"/x\?a=\d+$"), [f"{URL}?a=12"], [URL, f"{URL}?a=b"]),
    ],
)
def test_urls(url: Any, fits: list[str], fits_not: list[str]) -> None:
    rule = ScriptedHttp().get(url)
    assert [each for each in fits if not matches(rule, url=each)] == []
    assert [each for each in fits_not if matches(rule, url=each)] == []


def test_the_rest_of_a_match() -> None:
    http = ScriptedHttp()
    assert matches(http.request(None, URL), method="PATCH")
    assert not matches(http.post(URL))
    assert matches(http.get(URL, params={"a": "1"}), url=f"{URL}?b=2&a=1")
    assert not matches(http.get(URL, params={"a": "1"}), url=f"{URL}?a=2")
    assert matches(http.get(URL, headers={"x-a": "1"}), headers=(("X-A", "1"),))
    assert not matches(http.get(URL, headers={"x-a": "1"}))
    assert matches(http.get(URL, json={"a": (1,)}), content=b'{ "a": [1] }')
    assert not matches(http.get(URL, json={"a": 1}), content=b"a=1")
    assert matches(http.get(URL, content="a=1"), content=b"a=1")
    assert not matches(http.get(URL, content=b"a=1"), content=b"a=2")
    assert not matches(http.get(URL, where=lambda request: request.header("x") == "1"))


def test_an_unexpected_request_names_the_nearest_rules(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("https://elsewhere.org/completely/different").respond(200)
    stepwell_http.post(URL, json={"a": 2}, headers={"Authorization": "key"}).respond(200)
    url = URL.replace("https://", "https://me:very-secret@")
    call = (
        f"{url}?token=very-secret",
        {"method": "POST", "json": {"a": 1}, "headers": {"Authorization": "very-secret"}},
    )
    with pytest.raises(UnexpectedRequest) as caught:
        run_function(fetching(call), http=stepwell_http)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"unexpected request: POST {URL}?token=*** with the body '{{\"a\":1}}'")
    assert lines[1] == f"  POST {URL} (headers, json): the header Authorization differs, the JSON is not {{'a': 2}}"
    assert "the method is POST, the URL differs" in lines[2]
    assert "very-secret" not in str(caught.value)


def render(**options: Any) -> Any:
    @stepwell.Client(app_id="app", is_production=False).create_function(
        fn_id="render", trigger=stepwell.TriggerEvent(event="go")
    )
    async def f(ctx: stepwell.Context) -> Any:
        body = {"webhook": stepwell.CALLBACK_URL}
        try:
            answer = await ctx.step.fetch(
                "https://r.example/renders", method="POST", json=body, callback=True, **options
            )
        except stepwell.FetchError as error:
            return error.kind
        return [answer.status_code, answer.json(), answer.headers["x-job"], answer.headers["stepwell-method"]]

    return f


def test_call_backs(stepwell_http: ScriptedHttp) -> None:
    rule = stepwell_http.post("/renders").respond(202).call_back(json={"film": 7}, headers={"x-job": "1"})
    outcome = run_function(render(), http=stepwell_http)
    assert outcome.output == [200, {"film": 7}, "1", "POST"]
    assert outcome.elapsed.total_seconds() < 60
    assert rule.calls[0].json()["webhook"].startswith("https://stepwell.test/v1/callbacks/")


def test_who_never_calls_back_lets_the_deadline_pass(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.post("/renders").respond(202)
    outcome = run_function(render(deadline="6h"), http=stepwell_http)
    assert (outcome.output, outcome.elapsed.total_seconds()) == ("timeout", 6 * 3600)


def test_a_call_back_comes_after_a_retry_and_not_after_an_error(stepwell_http: ScriptedHttp) -> None:
    rule = stepwell_http.post("/renders").respond_with([503, 202]).call_back(json=1, headers={"x-job": "1"})
    assert run_function(render(), http=stepwell_http).output == [200, 1, "1", "POST"]
    assert len(rule.calls) == 2


def test_a_call_back_of_a_request_without_one_is_the_tests_error(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("https://api.example.com/x").respond(200).call_back(json=1)
    with pytest.raises(AssertionError, match="has no call-back URL"):
        run_function(fetching((URL, {})), http=stepwell_http)


def test_a_body_over_the_limit_is_too_large(stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("https://api.example.com/x").respond(content=b"x" * 100)
    outcome = run_function(fetching((URL, {"max_body": 99}), (URL, {"max_body": 100})), http=stepwell_http)
    assert outcome.output == [["too_large", 1], [200, "x" * 100]]


def test_what_was_called(stepwell_http: ScriptedHttp) -> None:
    used = stepwell_http.get(URL).respond(200)
    unused = stepwell_http.delete("/never").respond(200)
    run_function(fetching((f"{URL}?n=1", {}), (f"{URL}?n=2", {})), http=stepwell_http).raise_for_error()
    assert used.used
    assert stepwell_http.unused == [unused]
    with pytest.raises(AssertionError, match="no request has matched DELETE /never"):
        stepwell_http.assert_all_used()
    stepwell_http.assert_called("GET", URL)
    stepwell_http.assert_called("GET", URL, params={"n": "1"}, times=1)
    stepwell_http.assert_called("POST", URL, times=0)
    with pytest.raises(AssertionError, match=r"expected 3 times and was made 2 times; (?s:.*)\?n=1"):
        stepwell_http.assert_called("GET", URL, times=3)
    with pytest.raises(AssertionError, match="at least once"):
        stepwell_http.assert_called("PUT", URL)


def test_clients_on_a_durable_transport(stepwell_http: ScriptedHttp) -> None:
    client = stepwell.Client(app_id="app", is_production=False)
    http = httpx2.AsyncClient(transport=AsyncDurableTransport())

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def f(ctx: stepwell.Context) -> Any:
        return (await http.post(URL, json={"q": 1})).json()

    stepwell_http.post(URL, json={"q": 1}).respond_with(["read", 500]).respond(json={"answer": 42})
    outcome = run_function(f, http=stepwell_http).raise_for_error()
    assert outcome.output == {"answer": 42}
    keys = {call.header("idempotency-key") for call in stepwell_http.calls}
    assert len(keys) == 1
    assert None not in keys
