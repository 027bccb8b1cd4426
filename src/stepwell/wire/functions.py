"""Registrations: what apps send, read into checked structs, and written again (protocol 1.3)."""

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from stepwell.wire.app_urls import normalise_url, with_query
from stepwell.wire.constants import DEFAULT_RETRIES, DISCOVERY, MAX_RETRIES
from stepwell.wire.durations import parse_duration_or_date
from stepwell.wire.flow_config import (
    parse_batch,
    parse_concurrency,
    parse_debounce,
    parse_rate_limit,
    parse_run_concurrency,
    parse_singleton,
    parse_throttle,
    parse_timeouts,
)
from stepwell.wire.function_config import (
    Batch,
    Cancel,
    Concurrency,
    Debounce,
    FunctionConfig,
    RateLimit,
    Registration,
    RunTimeouts,
    Scope,
    Singleton,
    SingletonMode,
    Throttle,
    Trigger,
)
from stepwell.wire.function_fields import BadRegistration, Fields
from stepwell.wire.function_render import render_function
from stepwell.wire.jsons import as_object, decode
from stepwell.wire.signing import canonical

__all__ = [
    "BadRegistration",
    "Batch",
    "Cancel",
    "Concurrency",
    "Debounce",
    "FunctionConfig",
    "RateLimit",
    "Registration",
    "RunTimeouts",
    "Scope",
    "Singleton",
    "SingletonMode",
    "Throttle",
    "Trigger",
    "normalise_url",
    "parse_function",
    "parse_registration",
    "render_function",
]

MAX_TRIGGERS: Final = 10
MAX_CANCELS: Final = 5
MAX_SLUG: Final = 255
MAX_TRIGGER_NAME: Final = 255
MAX_FUNCTIONS: Final = 2_000

S = TypeVar("S")


def parse_registration(body: bytes) -> Registration:
    """A sync's body, sent by the app or answered in band. Raises BadRegistration.

    Keys count in any case, unknown ones are ignored. One bad function makes the whole registration bad, so that an app
    never runs half.
    """
    try:
        value = decode(body)
    except ValueError as problem:
        raise BadRegistration(f"the registration can not be read: {problem}") from None
    fields = Fields(value, "registration")
    app = fields.text("appName") or fields.text("app_id") or fields.need_text("appName")
    url = _url(fields, fields.need_text("url"))
    functions = tuple(parse_function(item, url) for item in fields.array("functions", MAX_FUNCTIONS))
    _no_twins(functions)
    return Registration(
        app_name=app,
        url=url,
        sdk=fields.text("sdk") or "",
        framework=fields.text("framework") or "",
        platform=fields.text("platform") or "",
        app_version=fields.text("appVersion") or "",
        deploy_id=fields.text("deployId") or "",
        functions=functions,
        checksum=_checksum(value),
    )


def parse_function(obj: object, app_url: str = "") -> FunctionConfig:
    """One function of a registration. ``app_url`` serves where it names no URL of its own. Raises BadRegistration."""
    plain = Fields(obj, "function")
    slug = plain.need_text("id")
    if len(slug) > MAX_SLUG:
        raise plain.bad(f"its id has {len(slug)} characters, more than {MAX_SLUG}")
    fields = Fields(obj, f"function {slug!r}")
    url, runtime, retries = _step(fields, slug, app_url)
    config = FunctionConfig(
        id=slug,
        name=fields.text("name") or slug,
        url=url,
        runtime=runtime,
        retries=retries,
        triggers=_triggers(fields),
        concurrency=parse_concurrency(fields),
        run_concurrency=parse_run_concurrency(fields),
        throttle=_optional(fields, "throttle", parse_throttle),
        fetch_throttle=_optional(fields, "fetch_throttle", parse_throttle),
        rate_limit=_optional(fields, "rateLimit", parse_rate_limit),
        debounce=_optional(fields, "debounce", parse_debounce),
        batch=_optional(fields, "batchEvents", parse_batch),
        priority=_optional(fields, "priority", lambda found: found.expression("run")),
        cancel=tuple(_cancel(fields, item) for item in fields.array("cancel", MAX_CANCELS)),
        timeouts=_optional(fields, "timeouts", parse_timeouts),
        singleton=_optional(fields, "singleton", parse_singleton),
        idempotency=fields.expression("idempotency"),
    )
    _check_batch(fields, config)
    return config


def _optional(fields: Fields, key: str, parse: Callable[[Fields], S]) -> S | None:
    found = fields.fields(key)
    return None if found is None else parse(found)


def _step(fields: Fields, slug: str, app_url: str) -> tuple[str, str, int]:
    """URL, runtime and retries of the function's one step."""
    steps = fields.fields("steps")
    step = steps.fields(DISCOVERY) if steps else None
    runtime = step.fields("runtime") if step else None
    retries = step.fields("retries") if step else None
    url = runtime.text("url") if runtime else None
    if url is None and app_url:
        url = with_query(app_url, fnId=slug, stepId=DISCOVERY)
    kind = (runtime.text("type") if runtime else None) or "http"
    if kind not in ("http", "ws"):
        raise fields.bad(f"steps: step: runtime: type is {kind!r}, and has to be 'http' or 'ws'")
    attempts = retries.integer("attempts", 0, MAX_RETRIES, DEFAULT_RETRIES) if retries else DEFAULT_RETRIES
    return (_url(fields, url) if url else "", kind, attempts)


def _url(fields: Fields, url: str) -> str:
    try:
        return normalise_url(url)
    except ValueError as problem:
        raise fields.bad(f"url: {problem}") from None


def _triggers(fields: Fields) -> tuple[Trigger, ...]:
    items = fields.array("triggers", MAX_TRIGGERS)
    triggers = tuple(_trigger(Fields(item, f"{fields.where}: trigger {n}")) for n, item in enumerate(items))
    if len(set(triggers)) != len(triggers):
        raise fields.bad("two of its triggers are the same: remove one")
    return triggers


def _trigger(fields: Fields) -> Trigger:
    event, cron = fields.text("event"), fields.text("cron")
    if (event is None) == (cron is None):
        raise fields.bad("it needs either an event or a cron")
    if cron is not None:
        _check_cron(fields, cron)
        return Trigger(cron=cron, jitter_ms=fields.duration("jitter", 1_000, 300_000) or 0)
    name = event or ""
    if len(name) > MAX_TRIGGER_NAME:
        raise fields.bad(f"its event has {len(name)} characters, more than {MAX_TRIGGER_NAME}")
    if "*" in name and ("*" in name[:-1] or not name.endswith(("/*", ".*")) or len(name) == 2):
        raise fields.bad(f"event {name!r}: a pattern ends in '/*' or '.*' after a name, and has no other '*'")
    return Trigger(event=name, expression=fields.expression("expression"))


def _check_cron(fields: Fields, cron: str) -> None:
    words = cron.split()
    if words and words[0].startswith(("TZ=", "CRON_TZ=")):
        words = words[1:]
    if len(words) != 5 and not (len(words) == 1 and words[0].startswith("@")):
        raise fields.bad(f"cron {cron!r} has to have five fields: minute, hour, day, month, weekday")


def _cancel(fields: Fields, item: object) -> Cancel:
    entry = Fields(item, f"{fields.where}: cancel")
    timeout = entry.text("timeout")
    try:
        parse_duration_or_date(timeout or "", 0)
    except ValueError as problem:
        raise entry.bad(f"timeout: {problem}") from None
    return Cancel(event=entry.need_text("event"), condition=entry.expression("if"), timeout=timeout)


def _check_batch(fields: Fields, config: FunctionConfig) -> None:
    if config.batch is None:
        return
    others = {
        "cancel": config.cancel,
        "debounce": config.debounce,
        "singleton": config.singleton,
        "priority": config.priority,
    }
    for name, value in others.items():
        if value:
            raise fields.bad(f"batchEvents and {name} do not go together: remove one of them")


def _no_twins(functions: tuple[FunctionConfig, ...]) -> None:
    seen: set[str] = set()
    for function in functions:
        if function.id in seen:
            raise BadRegistration(f"two functions have the id {function.id!r}: give each an id of its own")
        seen.add(function.id)


def _checksum(value: Any) -> str:
    """Of everything but the observations, which change without the app having changed."""
    members = {key: item for key, item in (as_object(value) or {}).items() if key.lower() != "featureobservations"}
    try:
        text = canonical(members)
    except ValueError as problem:
        raise BadRegistration(f"the registration can not be read: {problem}") from None
    return hashlib.sha256(text).hexdigest()
