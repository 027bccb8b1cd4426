"""Where our answers may differ from the official SDK's, each with its reason. All else is compared exactly."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stepwell.wire.functions import parse_registration
from stepwell.wire.jsons import as_object

Answer = dict[str, Any]


def comparable(answer: Answer, names: Mapping[str, str]) -> Answer:
    """The answer without what may differ. ``names``: the reasons why members of this one may."""
    answer = copy.deepcopy(answer)
    for rule in RULES:
        rule(answer)
    for member in names:
        answer.pop(member, None)
    return _without_null(answer)


def _ops(answer: Answer) -> list[dict[str, Any]]:
    body = answer.get("body")
    return [op for op in body if isinstance(op, dict)] if answer.get("status") == 206 and isinstance(body, list) else []


def display_name(answer: Answer) -> None:
    """``name`` says something in Sleep and WaitForEvent only (protocol 3.3); ``displayName`` is what people see."""
    for op in _ops(answer):
        if op.get("op") not in {"Sleep", "WaitForEvent"}:
            op.pop("name", None)


def timing(answer: Answer) -> None:
    """How long a step took, which JavaScript tells, and so do we."""
    for op in _ops(answer):
        op.pop("timing", None)


def racing(answer: Answer) -> None:
    """Our groups race: each result goes on at once, as tasks do, so that a slow branch holds up no other."""
    for op in _ops(answer):
        (op.get("opts") or {}).pop("parallelMode", None)
        op["opts"] = op.get("opts") or None


def relative_sleep(answer: Answer) -> None:
    """A sleep is a duration, as JavaScript sends it: the platform's clock is the one that counts."""
    for op in _ops(answer):
        if op.get("op") == "Sleep" and op["name"] in {"90s", "<now + 90 s>"}:
            op["name"] = "in 90 s"


def empty_payload(answer: Answer) -> None:
    """An event's data is an object: no data is an empty one."""
    for op in _ops(answer):
        payload = (op.get("opts") or {}).get("payload")
        if payload is not None:
            payload["data"] = payload.get("data") or {}


def error_members(answer: Answer) -> None:
    """``code`` is a word of the official SDK's own; ``cause`` is what JavaScript sends of a chain, and so do we."""
    for error in (answer.get("body"), *(op.get("error") for op in _ops(answer))):
        if isinstance(error, dict) and "message" in error:
            error.pop("code", None)
            error.pop("cause", None)


def retriable(answer: Answer) -> None:
    """An answer that may be tried again says so, as JavaScript's do; without the header it means the same."""
    if answer.get("headers", {}).get("x-inngest-no-retry") == "false":
        del answer["headers"]["x-inngest-no-retry"]


def final_status(answer: Answer) -> None:
    """What shall not be tried again is a 400, as in JavaScript; the header, which both have, is what counts."""
    if answer.get("headers", {}).get("x-inngest-no-retry") == "true" and answer.get("status") == 500:
        answer["status"] = 400


def event_defaults(answer: Answer) -> None:
    """The platform gives events their time and their empty data."""
    for sent in answer.get("sent", []):
        for event in sent["body"] if isinstance(sent["body"], list) else []:
            event.pop("ts", None)
            event["data"] = event.get("data") or {}


def registration(answer: Answer) -> None:
    """Names, versions and defaults of an SDK: what counts is the functions that the platform reads."""
    for sent in answer.get("sent", []):
        if sent["path"].startswith("/fn/register"):
            sent["body"] = _registered(sent["body"])
            sent["headers"] = {
                name: value.rpartition("-")[2].removeprefix("Bearer ")
                for name, value in sent["headers"].items()
                if name != "x-inngest-sync-kind"  # JavaScript sends it, and so do we
            }
    body = as_object(answer.get("body"))
    if body is not None and answer["headers"].get("x-inngest-sync-kind") == "out_of_band":
        answer["body"] = {"modified": body.get("modified")}  # the rest is words
    if body is not None and "functions" in body and "url" in body:
        members = {name: body.get(name) for name in ("app_id", "appVersion", "env", "url")}
        answer["body"] = members | {
            "registered": _registered({**body, "appName": body["app_id"], "sdk": ""})["functions"]
        }


def failure_retries(answer: Answer) -> None:
    """What runs when a run has failed is tried again as any function is; the official SDK gives it one attempt."""
    sent = [each["body"]["functions"] for each in answer.get("sent", []) if each["path"].startswith("/fn/register")]
    for listed in (*sent, (as_object(answer.get("body")) or {}).get("registered") or ()):
        for function in listed:
            if function["id"].endswith("-failure"):
                function.pop("retries")


def shown(answer: Answer) -> None:
    """GET: an SDK's own names; ours shows the app's functions and, in dev mode, its name as well."""
    body = as_object(answer.get("body"))
    if body is not None and "schema_version" in body:
        for name in ("extra", "functions", "sdk_version", "framework", "capabilities", "serve_origin"):
            body.pop(name, None)
        if body["mode"] == "dev":
            body.pop("app_id", None)
            body.pop("sdk_language", None)


RULES: list[Callable[[Answer], None]] = [
    display_name,
    timing,
    racing,
    relative_sleep,
    empty_payload,
    error_members,
    retriable,
    final_status,
    event_defaults,
    registration,
    failure_retries,
    shown,
]

_WORDS = "an error of the SDK itself has its own name and words"
_STEP = "an error is the step's, whatever its kind, as in JavaScript: the function's code can catch it"
MEMBERS: dict[str, dict[str, str]] = {
    "unserializable": {"body": _WORDS, "status": "trying again can not help", "headers": "trying again can not help"},
    "an unknown function": {"body": _WORDS},
    "an unknown step": {"body": _WORDS},
    "no function": {"body": _WORDS},
    "no JSON": {"body": _WORDS},
    "no context": {"body": _WORDS},
    **{
        f"a step's {last}error: {kind}": {"body": _STEP, "status": _STEP}
        for last in ("", "last ")
        for kind in ("final", "later")
    },
    "a call that is too late": dict.fromkeys(
        ("body", "headers", "status", "signed with"), "a signature is good for five minutes (protocol 0.1)"
    ),
    "an in-band sync of a dev server in dev mode": dict.fromkeys(
        ("body", "headers", "sent"), "in dev mode nobody signs, and in-band works all the same, as in JavaScript"
    ),
    "an in-band sync that is not allowed": dict.fromkeys(
        ("body", "headers", "sent"), "the variable is JavaScript's: the app registers itself then"
    ),
    "an in-band sync of a dev server in the other mode": dict.fromkeys(
        ("body", "headers", "status"), "kinds that do not fit are refused for both ways to sync"
    ),
    **{
        f"{kind} of a {server} server in the other mode": {"body": _WORDS}
        for kind, server in (("a sync", "cloud"), ("a sync", "dev"), ("an in-band sync", "cloud"))
    },
}
"""Members of single answers that may differ, and why."""


def _registered(body: dict[str, Any]) -> dict[str, Any]:
    found = parse_registration(msgspec.json.encode(body))
    functions = msgspec.to_builtins(found.functions, enc_hook=str)
    return {"app": found.app_name, "url": found.url, "functions": functions}


def _without_null(value: Any) -> Any:
    """A member that is null says no more than one that is absent, but in data."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
