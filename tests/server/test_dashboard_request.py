"""The panel of one request: every attempt, what was asked for and what was answered, large and encoded bodies among it."""

import gzip
import html
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from stepwell.core.requestcopies import copied
from stepwell.server.dashboard.bodies import MAX_SHOWN
from stepwell.wire.fetch import FetchRequest, FetchResponse, Hop
from stepwell.wire.memos import memo
from tests.server.api_fakes import attempt, finished_step
from tests.server.test_dashboard_pages import WatchedFake, add, client


@pytest.fixture
def engine() -> WatchedFake:
    return WatchedFake()


@pytest.fixture
async def web(engine: WatchedFake) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(engine) as made:
        yield made


async def test_the_panel_of_a_request_says_all_of_it(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run()
    request = FetchRequest(
        url="https://h.example/x?page=2", method="PATCH", headers=(("x-asked", "it was"),), body=b"asked for"
    )
    info, _ = copied(request, "")
    hops = (Hop(302, "https://h.example/x?page=2", ()),)
    answer = FetchResponse(
        status=404, url="https://h.example/y", headers=(("x-said", "it is"),), body=b"not there", history=hops
    )
    phases = {"dns": 3.0, "connect": 4.0, "tls": 5.0, "first_byte": 6.0, "transfer": 7.0}
    tries = (
        attempt(0, error="read: it broke off", delay_ms=100, reason="it broke off"),
        attempt(1, status=429, delay_ms=2_000, reason="status 429; the server asked for this delay", size=11),
        attempt(2, status=404, phases=phases, size=9),
    )
    made = memo(answer, rich=True)
    add(view, finished_step(view.run.run_id, 0, op="Gateway", memo=made, attempts=tries, info=info))
    page = (await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text
    form = page.partition("<h3>Run again from here</h3>")[2].partition("</form>")[0]
    assert f'name="step" value="{0:040x}"' in form
    assert f"/runs/{view.run.run_id}/rerun" in form
    words = seen(page.partition("<h3>Response</h3>")[2])
    response, _, rest = words.partition(" Attempts ")
    attempts, _, asked = rest.partition(" Request ")
    assert response.startswith("404 https://h.example/y redirected: 302 https://h.example/x?page=2 not there")
    assert "1 headers x-said it is" in response
    for said in (
        "read: it broke off then waited 100 ms: it broke off",
        "429 11 B then waited 2.0 s: status 429; the server asked for this delay",
        "404 9 B dns 3 ms connect 4 ms tls 5 ms first byte 6 ms transfer 7 ms",
    ):
        assert said in attempts, attempts
    assert asked.startswith("PATCH https://h.example/x?page=2 asked for")
    assert "1 headers x-asked it was" in asked
    assert "As curl" in asked
    assert "curl -X PATCH -L" in asked


def seen(text: str) -> str:
    """What a person reads of it."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text))).strip()


async def panel(engine: WatchedFake, web: httpx2.AsyncClient, answer: FetchResponse, ref: str | None = None) -> str:
    view = engine.add_run()
    add(view, finished_step(view.run.run_id, 0, op="Gateway", memo=memo(answer, rich=True, body_ref=ref)))
    return seen((await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text.partition("<h3>Response</h3>")[2])


async def test_an_encoded_body_is_read_and_a_long_one_is_cut(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    packed = FetchResponse(
        status=200, url="http://h/", headers=(("Content-Encoding", "gzip"),), body=gzip.compress(b"hi you")
    )
    assert "hi you" in await panel(engine, web, packed)
    long = FetchResponse(status=200, url="http://h/", body=b"z" * (MAX_SHOWN + 1))
    words = await panel(engine, web, long)
    assert "z" * MAX_SHOWN in words
    assert "z" * (MAX_SHOWN + 1) not in words


async def test_a_body_beside_the_state_is_shown(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    engine.bodies["the-ref"] = b"from beside"
    answer = FetchResponse(status=200, url="http://h/", stored=11)
    assert "from beside" in await panel(engine, web, answer, "the-ref")


async def test_a_request_s_body_beside_the_state_is_shown(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    request = FetchRequest(url="https://h.example/x", method="POST", body=b"from " + b"z" * 2_000)
    info, beside = copied(request, "the-ref")
    assert beside is not None
    engine.bodies["the-ref"] = beside
    view = engine.add_run()
    made = memo(FetchResponse(status=200, url="u"), rich=True)
    add(view, finished_step(view.run.run_id, 0, op="Gateway", memo=made, info=info))
    page = (await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text
    asked = page.partition("<h3>Request</h3>")[2].partition("<h3>As curl</h3>")[0]
    assert "from zzz" in seen(asked)
    assert "is not kept" not in page


async def test_credentials_in_the_urls_of_redirects_are_masked(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    headers = (("location", "https://h.example/y?token=hush"), ("set-cookie", "sid=hush"))
    hops = (Hop(302, "https://h.example/x?api_key=hush", headers),)
    words = await panel(engine, web, FetchResponse(status=200, url="https://h.example/y?token=hush", history=hops))
    assert "redirected: 302 https://h.example/x?api_key=***" in words
    assert "hush" not in words


async def test_a_body_that_is_not_kept_is_said_to_be_so(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    info, beside = copied(FetchRequest(url="https://h.example/x", method="POST", body=b"x" * 300_000), "")
    assert beside is None
    view = engine.add_run()
    add(
        view,
        finished_step(
            view.run.run_id, 0, op="Gateway", memo=memo(FetchResponse(status=200, url="u"), rich=True), info=info
        ),
    )
    words = seen((await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text)
    assert "Its body of 293.0 KiB is not kept: put it into the file BODY" in words
