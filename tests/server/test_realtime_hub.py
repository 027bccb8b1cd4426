"""Subscribers and tokens of realtime, without a network."""

import asyncio

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.server.realtime.hub import MAX_PENDING, MAX_PENDING_BYTES, SLOW, STOPPING, Frame, Hub, Subscription
from stepwell.server.realtime.tokens import BadToken, Grant, Tokens
from stepwell.wire.realtime import Topic, as_json, message

NOW = 1_795_000_000_000
A = Topic("c", "a")


def data(topic: str = "a", value: bytes = b"1", channel: str = "c") -> object:
    return message("data", channel, topic, msgspec.Raw(value), NOW)


async def drained(reader: Subscription) -> list[bytes]:
    found: list[bytes] = []
    while (frame := await reader.next(0)) is not None:
        found.append(frame.body)
    return found


async def test_a_message_goes_to_those_who_read_its_topic_now() -> None:
    hub = Hub()
    hub.publish(data(value=b'"before"'))
    first, both, other = hub.subscribe([A]), hub.subscribe([A, Topic("c", "b")]), hub.subscribe([Topic("d", "a")])
    hub.publish(data())
    hub.publish(data("b", b"2"))
    hub.leave(first)
    hub.publish(data(value=b"3"))
    values = [[msgspec.json.decode(body)["data"] for body in await drained(each)] for each in (first, both, other)]
    assert values == [[1], [1, 2, 3], []]
    assert hub.watched("c")
    hub.leave(both)
    assert not hub.watched("c")


async def test_bytes_go_to_everybody_on_the_channel_once() -> None:
    hub = Hub()
    both, other = hub.subscribe([A, Topic("c", "b")]), hub.subscribe([Topic("d", "a")])
    await hub.tee("c", b"\xff")
    assert await both.next(0) == Frame(b"\xff", raw=True)
    assert await both.next(0) is None
    assert await other.next(0) is None


@pytest.mark.parametrize(("size", "fit"), [(1, MAX_PENDING), (1 << 20, MAX_PENDING_BYTES >> 20)])
async def test_a_reader_that_is_too_slow_is_sent_away_and_nobody_else(size: int, fit: int) -> None:
    hub = Hub()
    slow, quick = hub.subscribe([A]), hub.subscribe([A])
    for _ in range(fit + 1):
        await hub.tee("c", bytes(size))
        assert await quick.next(0) is not None
    assert (slow.closed, quick.closed) == (SLOW, None)
    assert len(await drained(slow)) == fit
    await hub.tee("c", b"more")
    assert await drained(slow) == []
    assert await drained(quick) == [b"more"]


async def test_a_reader_waits_for_the_next_one_and_is_woken_by_the_end() -> None:
    hub = Hub()
    reader = hub.subscribe([A])
    waiting = asyncio.create_task(reader.next(10))
    await asyncio.sleep(0)
    await hub.tee("c", b"1")
    assert await waiting == Frame(b"1", raw=True)
    waiting = asyncio.create_task(reader.next(10))
    await asyncio.sleep(0)
    hub.close()
    assert (await waiting, reader.closed, hub.subscribe([A]).closed) == (None, STOPPING, STOPPING)


def test_a_token_is_for_a_minute_and_for_those_who_know_the_key() -> None:
    clock = [NOW]
    tokens = Tokens(["signkey-test-1234"], lambda: clock[0])
    token = tokens.make([A])
    assert tokens.read(token) == Grant((A,))
    assert Tokens(["signkey-test-5678", "signkey-test-1234"], lambda: clock[0]).read(token) == Grant((A,))
    with pytest.raises(BadToken, match="not one of this platform"):
        Tokens(["signkey-test-5678"], lambda: clock[0]).read(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert claims["iss"] == "rt.inngest.com"
    assert {"sub", "env", "jti"} <= claims.keys()
    clock[0] += 60_000
    with pytest.raises(BadToken, match="expired"):
        tokens.read(token)


@pytest.mark.parametrize("forged", ["", "x", "a.b.c"])
def test_a_forged_token_is_refused(forged: str) -> None:
    tokens = Tokens([], lambda: NOW)
    unsigned = jwt.encode({"iss": "rt.inngest.com", "exp": NOW, "topics": []}, None, "none")
    for token in (forged, unsigned):
        with pytest.raises(BadToken):
            tokens.read(token)


@given(st.binary())
def test_whatever_is_published_is_json_or_its_text(body: bytes) -> None:
    try:
        found = as_json(body)
    except UnicodeDecodeError:
        return
    value = msgspec.json.decode(found)
    assert value == body.decode() or msgspec.json.decode(body) == value
