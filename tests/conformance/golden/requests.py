"""The requests of the golden files: what the platform may ask of an app."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.wire.signing import canonical, sign
from tests.conformance.golden.functions import VALUES
from tests.conformance.golden.libs import PATH, body, call_url, hashed

KEY = "signkey-test-abc123def456"
FALLBACK = "signkey-test-00112233aabb"
CLOUD: dict[str, Any] = {"is_production": True, "signing_key": KEY, "event_key": "k"}


@dataclass(frozen=True)
class Ask:
    """One request. ``key``: what it is signed with; ``late``: how many seconds ago; ``settings``: the client's."""

    method: str
    url: str
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    late: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    def sent_headers(self) -> dict[str, str]:
        """With the signature."""
        if self.key is None:
            return self.headers
        return {**self.headers, "x-inngest-signature": sign(self.content, self.key, int(time.time()) - self.late)}


def asks() -> dict[str, Ask]:
    """Every request, by name."""
    return dict(
        [*_values(), *_steps(), *_waits(), *_errors(), *_odd(), *_large(), *_introspection(), *_cloud(), *_syncs()]
    )


def _call(function: str, steps: Any = None, step: str = "step", **members: Any) -> Ask:
    return Ask("POST", call_url(function, step), canonical(body(steps, **members)))


def _values() -> Iterator[tuple[str, Ask]]:
    for name, value in VALUES.items():
        dashed = name.replace(" ", "-")
        yield f"returns {name}", _call(f"returns-{dashed}")
        yield f"a step returns {name}", _call(f"step-{dashed}")
        yield f"a step has returned {name}", _call(f"step-{dashed}", {"one": {"data": value}})
    event = {"id": "e2", "name": "other", "data": {"x": [1]}, "user": {"u": 1}, "ts": 1700000000001, "v": "2"}
    yield "an event", _call("returns-event", event=event, events=[event, event], attempt=2)
    yield "unserializable", _call("unserializable")


def _steps() -> Iterator[tuple[str, Ask]]:
    one, two, again = {"one": {"data": 1}}, {"two": {"data": 2}}, {"one:1": {"data": 3}, "one:2": {"data": 4}}
    yield "the first step", _call("sequence")
    yield "the second step", _call("sequence", one)
    yield "a step id repeats", _call("sequence", one | two)
    yield "a step id repeats again", _call("sequence", one | two | {"one:1": {"data": 3}})
    yield "after all steps", _call("sequence", one | two | again)
    yield "a step without immediate execution", _call("sequence", disable_immediate_execution=True)
    yield "a step that is asked for", _call("sequence", step="one")
    yield "a repeat that is asked for", _call("sequence", one | two, step="one:1", disable_immediate_execution=True)
    yield "a step with arguments", _call("with-arguments")
    yield "a second attempt", _call("sequence", attempt=1)
    yield "a known request version", _call("sequence", version=2)
    abc = {name: {"data": name} for name in ("a", "b", "c")}
    yield "a parallel group", _call("parallel")
    yield "a member of a group", _call("parallel", step="b", disable_immediate_execution=True)
    yield "a group in part", _call("parallel", {"b": {"data": 1}}, disable_immediate_execution=True)
    yield "after a group", _call("parallel", abc)
    yield "after a group and a step", _call("parallel", {**abc, "after": {"data": 0}})
    yield "a mixed group", _call("parallel-mixed")
    yield "the first step of a sync function", _call("sync")
    yield "the group of a sync function", _call("sync", one)
    yield "a member of a sync function's group", _call("sync", one, step="b", disable_immediate_execution=True)
    yield "the end of a sync function", _call("sync", one | {"a": {"data": 2}, "b": {"data": 3}})


def _waits() -> Iterator[tuple[str, Ask]]:
    other = {"id": "e3", "name": "other", "data": {"n": 1}, "user": {}, "ts": 1700000000002}
    yield "a sleep", _call("sleeps")
    yield "after a sleep", _call("sleeps", {"nap": None})
    yield "a sleep until", _call("sleeps-until")
    yield "a wait", _call("waits")
    yield "a wait that has its event", _call("waits", {"wait": other})
    yield "a wait that has ended", _call("waits", {"wait": None})
    yield "a wait without expression", _call("waits-plainly")
    yield "an invocation", _call("invokes")
    yield "an invocation that returned", _call("invokes", {"call": {"data": [1]}})
    yield (
        "an invocation that failed",
        _call("invokes", {"call": {"error": {"name": "E", "message": "m", "stack": "s"}}}),
    )
    yield "an invocation without data", _call("invokes-plainly")
    yield "an invocation by id", _call("invokes-by-id")
    yield "a model that is asked", _call("infers")
    yield "a model that has answered", _call("infers", {"ask": {"data": {"choices": [1]}}})
    yield "events sent", _call("sends")
    branch = {"is_production": False, "env": "branch"}
    yield "events sent to an environment", replace(_call("sends"), settings=branch)
    yield "events that were sent", _call("sends", {"send": {"data": ["1", "2"]}})


def _errors() -> Iterator[tuple[str, Ask]]:
    failed = {"bad": {"error": {"name": "ValueError", "message": "no", "stack": "s"}}}
    for kind in ("plain", "own", "final", "later", "empty"):
        yield f"an error: {kind}", _call(f"fails-{kind}")
        yield f"a step's error: {kind}", _call(f"step-fails-{kind}")
        yield f"a step's last error: {kind}", _call(f"step-fails-{kind}", attempt=4)
    yield "an only attempt's error", _call("step-fails-plain", max_attempts=1)
    yield "an error with a cause", _call("fails-caused")
    yield "an error of a sync function", _call("sync-fails")
    yield "a failed step", _call("step-fails-plain", failed)
    yield "a failed step that is caught", _call("catches", failed)
    yield "a parallel step's error", _call("parallel-fails", step="a", disable_immediate_execution=True)


def _odd() -> Iterator[tuple[str, Ask]]:
    good = body()
    yield "an unknown function", _call("nowhere")
    yield "an unknown step", _call("sequence", step="nowhere")
    yield "no function", Ask("POST", PATH, canonical(good))
    yield "no step", Ask("POST", f"{PATH}?fnId=app-sequence", canonical(good))
    yield "no JSON", Ask("POST", call_url("sequence"), b"{")
    yield "no context", Ask("POST", call_url("sequence"), b"{}")
    yield "more members than known", Ask("POST", call_url("sequence"), canonical({**good, "more": {"x": 1}}))
    yield "a trust probe", Ask("POST", f"{PATH}?probe=trust", b"", key=KEY, settings=CLOUD)
    yield "a trust probe without signature", Ask("POST", f"{PATH}?probe=trust", b"", settings=CLOUD)


def _large() -> Iterator[tuple[str, Ask]]:
    stack = {"stack": [hashed("one")], "current": 1}
    yield "state that is asked for", _call("sequence", use_api=True, stack=stack)
    yield "events that are asked for", _call("returns-event", use_api=True)


def _introspection() -> Iterator[tuple[str, Ask]]:
    yield "GET in dev mode", Ask("GET", PATH)
    yield "GET without signature", Ask("GET", PATH, settings=CLOUD)
    yield "GET with a bad signature", Ask("GET", PATH, key=FALLBACK, settings=CLOUD)
    yield "GET with a signature", Ask("GET", PATH, key=KEY, settings=CLOUD)
    for kind in ("dev", "cloud"):
        headers = {"x-inngest-server-kind": kind}
        yield f"GET of a {kind} server in dev mode", Ask("GET", PATH, headers=headers)
        yield f"GET of a {kind} server in cloud mode", Ask("GET", PATH, headers=headers, key=KEY, settings=CLOUD)


def _cloud() -> Iterator[tuple[str, Ask]]:
    call = _call("sequence")
    fallback = {"INNGEST_SIGNING_KEY_FALLBACK": FALLBACK}

    def cloud(**options: Any) -> Ask:
        return Ask("POST", call.url, call.content, settings=options.pop("settings", CLOUD), **options)

    yield "a signed call", cloud(key=KEY)
    yield "an unsigned call", cloud()
    yield "a call with another key", cloud(key=FALLBACK)
    yield "a call with the fallback key", cloud(key=FALLBACK, environ=fallback)
    yield "a call with the first key beside a fallback", cloud(key=KEY, environ=fallback)
    yield "a call that is late", cloud(key=KEY, late=290)
    yield "a call that is too late", cloud(key=KEY, late=400)
    yield "a call with a broken signature", cloud(headers={"x-inngest-signature": "nonsense"})
    yield "an unsigned call in dev mode with a key", cloud(settings={"is_production": False, "signing_key": KEY})
    yield "a signed call in dev mode with a key", cloud(key=KEY, settings={"is_production": False, "signing_key": KEY})
    yield "a signed error", Ask("POST", call_url("fails-plain"), call.content, key=KEY, settings=CLOUD)
    yield "an environment", cloud(key=KEY, settings={**CLOUD, "env": "branch"})
    for kind in ("dev", "cloud"):
        headers = {"x-inngest-server-kind": kind}
        yield f"a call of a {kind} server in dev mode", Ask("POST", call.url, call.content, headers=headers)
        yield f"a call of a {kind} server in cloud mode", cloud(headers=headers, key=KEY)


def _syncs() -> Iterator[tuple[str, Ask]]:
    content = canonical({"url": "https://public.test/api/x"})
    in_band = {"x-inngest-sync-kind": "in_band"}
    refused = {"INNGEST_ALLOW_IN_BAND_SYNC": "0"}

    def put(**options: Any) -> Ask:
        return Ask("PUT", PATH, content, **{"settings": CLOUD, "headers": in_band} | options)

    yield "an in-band sync", put(key=KEY)
    yield "an in-band sync without signature", put()
    yield "an in-band sync with another key", put(key=FALLBACK)
    yield "an in-band sync with an environment", put(key=KEY, settings={**CLOUD, "env": "branch", "app_version": "1.2"})
    yield (
        "an in-band sync of a dev server in dev mode",
        put(headers={**in_band, "x-inngest-server-kind": "dev"}, settings={}),
    )
    yield "an in-band sync that is not allowed", put(key=KEY, environ=refused)
    yield "a sync", put(headers={})
    yield "a sync in dev mode", put(headers={}, settings={})
    kind = {"x-inngest-server-kind": "cloud"}
    yield "a sync with an environment", put(headers=kind, key=KEY, settings={**CLOUD, "env": "branch"})
    yield "a sync with a deploy id", Ask("PUT", f"{PATH}?deployId=d1", settings={})
    for kind, mode in (("cloud", {}), ("dev", CLOUD)):
        headers = {"x-inngest-server-kind": kind}
        yield f"a sync of a {kind} server in the other mode", put(headers=headers, settings=mode)
        yield (
            f"an in-band sync of a {kind} server in the other mode",
            put(headers={**in_band, **headers}, settings=mode, key=KEY),
        )
