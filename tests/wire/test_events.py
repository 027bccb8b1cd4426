"""Events: normalisation, limits, forms, ids."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.constants import MAX_EVENT_BYTES, MAX_EVENTS
from stepwell.wire.events import BadEvents, event_ids, finish, parse_events
from stepwell.wire.ids import ulid

NOW = 1_700_000_000_000
ENTROPY = [bytes([n]) * 10 for n in range(9)]


def parsed(value: Any) -> list[dict[str, Any]]:
    return [json.loads(finish(event, "01INTERNAL")) for event in parse_events(json.dumps(value).encode(), None, NOW)]


def test_event_gets_what_it_lacks() -> None:
    wanted = {"id": "01INTERNAL", "name": "a", "data": {}, "user": {}, "ts": NOW}
    assert parsed({"name": "a"}) == [wanted]
    assert parsed([{"name": "a", "data": None, "user": None, "ts": None, "id": None, "v": None, "x": 1}]) == [wanted]
    assert parsed({"name": "a", "id": "", "ts": 0}) == [wanted]


def test_event_keeps_what_it_has() -> None:
    event = {"id": "7", "name": "shop/order", "data": {"a": [1]}, "user": {"u": 1}, "ts": NOW - 5, "v": "2"}
    assert parsed([event, {**event, "id": "8"}]) == [event, {**event, "id": "8"}]


def test_body_has_no_id_until_it_is_finished() -> None:
    (event,) = parse_events(b'{"name":"a"}', None, NOW)
    assert event.id is None
    assert "id" not in json.loads(event.body)
    assert (event.name, event.ts) == ("a", NOW)


def test_data_passes_untouched() -> None:
    (event,) = parse_events(b'{"name":"a","data":{"n":123456789012345678901234567890,"f":1.50}}', None, NOW)
    assert b'"data":{"n":123456789012345678901234567890,"f":1.50}' in event.body


@pytest.mark.parametrize("key", ["_inngest", "\\u005finngest", "_inng\\u0065st"])
def test_the_platforms_own_member_is_removed(key: str) -> None:
    (event,) = parse_events(b'{"name":"a","data":{"' + key.encode() + b'":{"fn_id":"x"},"b":1}}', None, NOW)
    assert json.loads(event.body)["data"] == {"b": 1}


def test_sessions_are_merged() -> None:
    meta = {"propagated_sessions": {"a": 1, "b": "x"}, "sessions": {"a": None, "c": 2.5}}
    assert parsed({"name": "a", "meta": meta})[0]["meta"] == {"sessions": {"b": "x", "c": 2.5}}
    assert "meta" not in parsed({"name": "a", "meta": {**meta, "sessions": None}})[0]


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]"])
def test_nothing_is_no_events(body: bytes) -> None:
    assert parse_events(body, "application/json", NOW) == []


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, "it has no name"),
        ({"name": ""}, "it has no name"),
        ({"name": 5}, "it has no name"),
        ({"name": "x" * 513}, "513 characters"),
        ({"name": "inngest/function.finished"}, "reserved"),
        ({"name": "INNgest/x"}, "reserved"),
        ({"name": "a", "data": [1]}, "data has to be a JSON object"),
        ({"name": "a", "data": "x"}, "data has to be a JSON object"),
        ({"name": "a", "user": 3}, "user has to be a JSON object"),
        ({"name": "a", "id": 3}, "id has to be a string"),
        ({"name": "a", "v": 3}, "v has to be a string"),
        ({"name": "a", "ts": "now"}, "ts has to be an integer"),
        ({"name": "a", "ts": True}, "ts has to be an integer"),
        ({"name": "a", "ts": 1.5}, "ts has to be an integer"),
        ({"name": "a", "ts": 1_700_000_000}, "in milliseconds since 1970"),
        ({"name": "a", "ts": 5 * 10**12}, "1980 to 2100"),
        ({"name": "a", "meta": 1}, "meta has to be"),
        ({"name": "a", "meta": {"sessions": 1}}, "sessions have to be"),
        ({"name": "a", "meta": {"sessions": {"a": [1]}}}, "strings or numbers"),
        ({"name": "a", "meta": {"sessions": dict.fromkeys("abcdef", 1)}}, "6 sessions"),
        ("text", "has to be a JSON object"),
    ],
)
def test_bad_event_is_named_with_its_place(event: Any, says: str) -> None:
    with pytest.raises(BadEvents, match=f"event 1: .*{says}") as caught:
        parsed([{"name": "ok"}, event])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[{}",
        b"hello",
        b'{"name":"a","data":{"x":"\xff"}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name":1e999}',
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadEvents):
        parse_events(body, "application/json", NOW)


def test_limits() -> None:
    many = b"[" + b",".join([b'{"name":"a"}'] * (MAX_EVENTS + 1)) + b"]"
    with pytest.raises(BadEvents, match="5001"):
        parse_events(many, None, NOW)
    large = b'[{"name":"a"},{"name":"b","data":{"x":"' + b"x" * MAX_EVENT_BYTES + b'"}}]'
    with pytest.raises(BadEvents, match=r"event 1: it has .* bytes") as caught:
        parse_events(large, None, NOW)
    assert caught.value.index == 1


def test_form_becomes_an_event() -> None:
    body = b"name=shop%2Forder&id=7&data=%7B%22q%22%3A1%7D&size=xl&size=m"
    (event,) = parse_events(body, "application/x-www-form-urlencoded; charset=utf-8", NOW)
    wanted = {"id": "7", "name": "shop/order", "data": {"size": ["xl", "m"], "q": 1}, "user": {}, "ts": NOW}
    assert json.loads(event.body) == wanted


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("multipart/form-data; boundary=x", b"--x", "multipart"),
        ("application/x-www-form-urlencoded", b"a=1", "no name"),
        ("application/x-www-form-urlencoded", b"name=a&data=[", "can not be read"),
        ("application/x-www-form-urlencoded", b"name=a&data=[1]", "JSON object"),
        ("application/x-www-form-urlencoded", b"name=\xff", "can not be read"),
    ],
)
def test_bad_forms(kind: str, body: bytes, says: str) -> None:
    with pytest.raises(BadEvents, match=says):
        parse_events(body, kind, NOW)


OBJECTS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=4), st.integers() | st.text(st.characters(codec="utf-8"))
)


@given(OBJECTS, OBJECTS, st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_normal_form_is_a_fixed_point(data: dict[str, Any], user: dict[str, Any], name: str) -> None:
    once = parse_events(json.dumps({"name": "n" + name, "data": data, "user": user}).encode(), None, NOW)
    body = finish(once[0], "01X")
    assert json.loads(body)["data"] == {key: value for key, value in data.items() if key != "_inngest"}
    again = parse_events(body, None, NOW + 1)
    assert finish(again[0], "01Y") == body


def test_seed_vector() -> None:
    wanted = ["01JQDAE4RQF8MBCR55T5AK4KXS", "01JQDAE4RQF8MBCR55T5AK4KXT"]
    assert event_ids("1743130137367,eii2YKXRVTJPuA==", 2, NOW, ENTROPY) == wanted
    assert event_ids("1743130137367,eii2YKXRVTJPuA==", 1, NOW, ENTROPY, first=2) == wanted[1:]


@pytest.mark.parametrize(
    "seed",
    [None, "", "x", "1743130137367", "1743130137367,abc", "-1,eii2YKXRVTJPuA==", "999999999999999,eii2YKXRVTJPuA=="],
)
def test_malformed_seed_is_ignored(seed: str | None) -> None:
    assert event_ids(seed, 2, NOW, ENTROPY) == [ulid(NOW, ENTROPY[0]), ulid(NOW, ENTROPY[1])]


def test_events_can_be_read_again_from_deeper_code_and_inside_of_others() -> None:
    """One that is as deep as can be read here could not be read where a run ends."""
    bodies = [
        b'{"name":"x","data":{"a":' + b"[" * depth + b"]" * depth + b"}}" for depth in (*range(300, 1_000, 10), 100_000)
    ]
    taken: list[bytes] = []
    with pytest.raises(BadEvents, match="nested too deeply"):
        taken.extend(parse_events(body, None, NOW)[0].body for body in bodies)
    assert taken
    for body in taken:
        json.loads(b"[" * 200 + body + b"]" * 200)


def test_the_depth_of_an_event_is_looked_at_where_it_could_matter_alone() -> None:
    many = b'{"name":"x","data":{"a":[' + b"[]," * 5_000 + b"[]]}}"
    assert len(parse_events(many, None, NOW)) == 1
