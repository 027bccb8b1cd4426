"""What the API can be asked. Each is one method of one path; a test compares them with the routes that there are."""

from typing import Any, Final

import msgspec

from stepwell.server.api.events import MAX_EVENTS
from stepwell.server.api.openapi.schemas import (
    ANY,
    FLAG,
    MAYBE_TIME,
    MAYBE_ULID,
    TEXT,
    ULID,
    WHOLE,
    Schema,
    array,
    envelope,
    obj,
    ref,
)
from stepwell.server.api.runs import MAX_WAIT_S

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
_NAME: Final[Schema] = {**TEXT, "minLength": 1}
_TIME: Final[Schema] = {"type": "string", "description": "RFC 3339, or milliseconds since the epoch."}


class Operation(msgspec.Struct, frozen=True):
    """``ok``: schema by status of what is well, None for no JSON. ``problems``: statuses with the body of an error.

    ``query``: schema by name. ``body``: what is sent. ``open``: nobody asks for a key.
    """

    method: str
    path: str
    name: str
    summary: str
    ok: dict[int, Schema | None]
    problems: tuple[int, ...] = (400, 401)
    query: dict[str, Schema] = {}
    body: Schema | None = None
    needs_body: bool = True
    open: bool = False
    media: str = JSON


def _limit(most: int, default: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


_WAIT: Final[Schema] = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0}
_CURSOR: Final[Schema] = {**ULID, "description": "`metadata.cursor` of the page before."}
_RUN: Final = (400, 401, 404)
_SENT: Final = obj("ids status", ids=array(ULID), status=WHOLE)
_REFUSED: Final = obj("status error", ids=array(TEXT), status=WHOLE, error=TEXT, message=TEXT)
_REPORT: Final = obj("steps", steps=array(ref("Op")), run_id=TEXT, fn_id=TEXT, qi_id=TEXT, generation_id=WHOLE)
_ONE_RUN: Final = envelope(ref("Run"))
_RUNS: Final = envelope(array(ref("Run")), cursor=MAYBE_ULID)
_FOUND: Final = envelope(array(ref("Run")), cursor=MAYBE_ULID, looked_at=WHOLE)
_MADE: Final = envelope(obj("run_id original_run_id", run_id=ULID, original_run_id=ULID))
_UNSTARTED: Final = obj("function reason message run_id", function=TEXT, reason=TEXT, message=TEXT, run_id=MAYBE_ULID)
_PAUSED: Final[dict[str, Schema]] = {"id": TEXT, "paused": FLAG, "paused_at": MAYBE_TIME}

OPERATIONS: Final = (
    Operation(
        "post",
        "/e/{key}",
        "sendEvents",
        "Send events; all are taken, or none",
        {200: _SENT, 400: _REFUSED, 401: _REFUSED, 413: _REFUSED, 503: _REFUSED},
        (408,),
        body=ref("NewEvents"),
        needs_body=False,
        open=True,
    ),
    Operation(
        "post",
        "/invoke/{slug}",
        "invokeFunction",
        "Start a run of one function",
        {200: obj("id status", id=ULID, status=WHOLE)},
        (400, 401, 404, 408, 409, 413),
        body=obj("", data={"type": ["object", "null"]}),
        needs_body=False,
    ),
    Operation(
        "get",
        "/v1/events",
        "listEvents",
        "Events, the last received first",
        {200: envelope(array(ref("Event")), cursor=MAYBE_ULID)},
        query={
            "name": TEXT,
            "limit": _limit(MAX_EVENTS, 20),
            "cursor": _CURSOR,
            "received_after": _TIME,
            "received_before": _TIME,
        },
    ),
    Operation("get", "/v1/events/{event_id}", "getEvent", "One event", {200: envelope(ref("Event"))}, _RUN),
    Operation(
        "get",
        "/v1/events/{event_id}/runs",
        "listRunsOfEvent",
        "The runs that an event started, and what it did not start and why",
        {200: envelope(array(ref("Run")), not_started=array(_UNSTARTED))},
        _RUN,
    ),
    Operation(
        "get",
        "/v1/runs",
        "listRuns",
        "Runs, newest first",
        {200: _FOUND},
        query={
            "limit": _limit(1000, 50),
            "cursor": _CURSOR,
            "status": {"enum": ["queued", "scheduled", "running", "completed", "failed", "cancelled", "skipped"]},
            "app": TEXT,
            "function": TEXT,
            "text": TEXT,
            "where": {**TEXT, "description": "An expression over `run` and `event`: event.data.id == 7."},
            "event_id": ULID,
            "queued_after": _TIME,
            "queued_before": _TIME,
        },
    ),
    Operation("get", "/v1/runs/{run_id}", "getRun", "One run", {200: _ONE_RUN}, _RUN, query={"wait": _WAIT}),
    Operation("delete", "/v1/runs/{run_id}", "cancelRun", "End a run", {200: None}, (400, 401, 404, 409)),
    Operation("delete", "/v0/runs/{run_id}", "cancelRunV0", "End a run", {204: None}, (400, 401, 404, 409)),
    Operation(
        "get",
        "/v1/runs/{run_id}/steps",
        "listSteps",
        "The steps of a run",
        {200: envelope(array(ref("Step")), run=ref("Run"))},
        _RUN,
        query={"wait": _WAIT, "outputs": {**FLAG, "default": True}},
    ),
    Operation(
        "get", "/v1/runs/{run_id}/jobs", "listJobs", "The work items of a run", {200: envelope(array(ref("Job")))}, _RUN
    ),
    Operation(
        "post",
        "/v1/runs/{run_id}/rerun",
        "rerun",
        "Begin a run anew",
        {201: _MADE},
        (400, 401, 404, 408, 409, 413),
        body=ref("Rerun"),
        needs_body=False,
    ),
    Operation(
        "get",
        "/v1/runs/{run_id}/steps/{step}/stream",
        "streamStep",
        "The body of a request while it arrives, as server-sent events",
        {200: None, 204: None},
        _RUN,
        query={"offset": {"type": "integer", "minimum": 0}},
        media="text/event-stream",
    ),
    Operation("get", "/v1/apps", "listApps", "Every app", {200: envelope(array(ref("App")))}, (401,)),
    Operation(
        "get",
        "/v1/apps/{app}/functions",
        "listFunctions",
        "The functions of an app",
        {200: array(ref("Function"))},
        (401, 404),
    ),
    Operation(
        "get",
        "/v1/workers",
        "listWorkers",
        "The processes of the platform, and since when each has been there",
        {200: envelope(array(ref("Worker")))},
        (401,),
    ),
    Operation(
        "get",
        "/v1/functions",
        "listAllFunctions",
        "The functions of all apps, and whether they start runs",
        {200: envelope(array(obj("id app name paused paused_at", app=TEXT, name=TEXT, **_PAUSED)))},
        (401,),
    ),
    Operation(
        "post",
        "/v1/functions/{function_id}/pause",
        "pauseFunction",
        "Let a function start no runs until it is resumed",
        {200: envelope(obj("id paused paused_at message", message=TEXT, cancellation_id=ULID, **_PAUSED))},
        (400, 401, 404, 408, 413),
        body=obj("", cancel_running=FLAG),
        needs_body=False,
    ),
    Operation(
        "post",
        "/v1/functions/{function_id}/resume",
        "resumeFunction",
        "Let a function start runs again",
        {200: envelope(obj("id paused paused_at message", message=TEXT, **_PAUSED))},
        (401, 404),
    ),
    Operation(
        "post",
        "/v1/signals",
        "sendSignal",
        "Wake the step that waits for a signal",
        {200: envelope(obj("run_id", run_id=ULID))},
        (400, 401, 404, 408, 413),
        body=obj("signal", signal={"type": "string", "minLength": 1}, data=ANY),
    ),
    Operation(
        "get",
        "/v1/cancellations",
        "listCancellations",
        "Every cancellation of many runs, the newest first",
        {200: envelope(array(ref("Cancellation")))},
        (401,),
    ),
    Operation(
        "post",
        "/v1/cancellations",
        "cancelRuns",
        "End the runs of a function that began in a time and whose event meets an expression",
        {200: envelope(ref("Cancellation"))},
        (400, 401, 404, 408, 413),
        body=ref("NewCancellation"),
    ),
    Operation(
        "delete",
        "/v1/cancellations/{cancellation_id}",
        "dropCancellation",
        "Forget a cancellation: runs that it has not ended go on",
        {200: envelope(obj("ok", ok=FLAG))},
        (400, 401, 404),
    ),
    Operation(
        "get",
        "/v0/runs/{run_id}/actions",
        "getState",
        "The results that a call left out",
        {200: obj()},
        (400, 401, 410),
    ),
    Operation(
        "get",
        "/v0/runs/{run_id}/batch",
        "getBatch",
        "The events that a call left out",
        {200: array(obj())},
        (400, 401, 410),
    ),
    *(
        Operation(
            "post",
            f"{prefix}/{{run_id}}/async",
            name,
            "Record steps while their call is in flight",
            {200: obj()},
            (400, 401, 404, 408, 409, 413),
            body=_REPORT,
        )
        for prefix, name in (("/v1/checkpoint", "checkpoint"), ("/v1/http/runs", "checkpointAlias"))
    ),
    *(
        Operation(
            method,
            "/fn/register",
            name,
            "Register an app's functions",
            {200: obj("ok modified app_id sync_id", ok=FLAG, modified=FLAG, app_id=TEXT, sync_id=TEXT)},
            (400, 401, 408, 413),
            body=ref("Registration"),
        )
        for method, name in (("post", "register"), ("put", "registerByPut"))
    ),
    Operation(
        "get",
        "/v1/bodies/{ref}",
        "getBody",
        "A large fetched body",
        {200: None, 206: None},
        (401, 404, 416),
        media=OCTETS,
    ),
    *(
        Operation(
            method,
            "/v1/callbacks/{token}",
            f"callBack{method.capitalize()}",
            "The request of an upstream that a step waits for; the token is the credential",
            {200: obj("status", status=TEXT)},
            (404, 408, 410, 413),
            body=ANY,
            needs_body=False,
            open=True,
        )
        for method in ("post", "put", "patch")
    ),
    Operation(
        "post",
        "/v1/realtime/token",
        "realtimeToken",
        "A token to read topics in a browser, for a minute",
        {201: obj("jwt", jwt=TEXT)},
        (400, 401, 408, 413),
        query={"publish": {**FLAG, "description": "A token to write to the topics instead."}},
        body=array(obj("channel name", channel=_NAME, name=_NAME, kind=TEXT), minItems=1),
    ),
    Operation(
        "post",
        "/v1/realtime/publish",
        "publish",
        "Send a message to who reads a topic now; as text/stream, a text piece by piece",
        {200: obj("ok", ok=FLAG)},
        (400, 401, 408, 413),
        query={"channel": _NAME, "topic": _NAME, "run_id": TEXT, "metadata": TEXT},
        body=ANY,
    ),
    Operation(
        "post",
        "/v1/realtime/publish/tee",
        "publishTee",
        "Pass bytes on to who reads a channel now",
        {200: obj("ok", ok=FLAG)},
        (400, 401, 408, 413),
        query={"channel": _NAME},
        body=ANY,
    ),
    Operation(
        "get",
        "/v1/realtime/sse",
        "realtimeEvents",
        "Messages as server-sent events; the token is the credential",
        {200: None},
        (401,),
        query={"token": TEXT},
        media="text/event-stream",
        open=True,
    ),
    Operation(
        "post",
        "/v1/traces/userland",
        "sendTraces",
        "Taken and dropped",
        {200: obj()},
        (401, 408, 413),
        body=ANY,
        needs_body=False,
    ),
    Operation(
        "post",
        "/v0/telemetry",
        "sendTelemetry",
        "Taken and dropped",
        {200: obj()},
        (408, 413),
        body=ANY,
        needs_body=False,
        open=True,
    ),
    Operation(
        "get",
        "/health",
        "health",
        "Whether the store answers",
        {200: obj("status kind", status=WHOLE, kind=TEXT)},
        (),
        open=True,
    ),
    Operation("get", "/metrics", "metrics", "Figures for Prometheus", {200: None}, (401, 503), media="text/plain"),
    Operation("get", "/dev", "dev", "What is registered", {200: obj("functions handlers")}, (404,), open=True),
    Operation("get", "/v1/openapi.json", "openapi", "This document", {200: obj("openapi paths")}, (), open=True),
)


def parameters(operation: Operation) -> list[dict[str, Any]]:
    """The parameters of the path and of the query."""
    named = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    path = [{"name": name, "in": "path", "required": True, "schema": _of_path(name)} for name in named]
    return path + [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]


def _of_path(name: str) -> Schema:
    return ULID if name in ("run_id", "event_id", "cancellation_id") else {**TEXT, "minLength": 1}
