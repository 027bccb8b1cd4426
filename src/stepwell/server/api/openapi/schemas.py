"""The shapes of what the API takes and gives, as JSON Schema. Pure."""

from typing import Any, Final

from stepwell.core.model import RunStatus, StepStatus
from stepwell.wire.constants import MAX_EVENTS

Schema = dict[str, Any]


def obj(required: str = "", **members: Schema) -> Schema:
    """An object; names in ``required`` are always there. It may have further members."""
    shape: Schema = {"type": "object", "properties": members}
    return {**shape, "required": required.split()} if required else shape


def array(items: Schema, **more: Any) -> Schema:
    """An array of one kind."""
    return {"type": "array", "items": items, **more}


def ref(name: str) -> Schema:
    """One of :data:`SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def envelope(data: Schema, **metadata: Schema) -> Schema:
    """The body of a v1 answer (protocol section 0)."""
    return obj("data metadata", data=data, metadata=obj("fetched_at", fetched_at=TIME, **metadata))


TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
FLAG: Final[Schema] = {"type": "boolean"}
ANY: Final[Schema] = {}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
MAYBE_TIME: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
MOMENT: Final[Schema] = {"type": ["string", "integer"], "description": "RFC 3339, or milliseconds since the epoch."}
ULID: Final[Schema] = {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"}
MAYBE_ULID: Final[Schema] = {**ULID, "type": ["string", "null"]}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}


def _names(kind: type[RunStatus] | type[StepStatus]) -> list[str]:
    return [status.value.capitalize() for status in kind]


SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": obj("error status data", error=TEXT, status=WHOLE, data={"type": "null"}, code=TEXT),
    "NewEvent": obj(
        "name",
        id=MAYBE_TEXT,
        name={"type": "string", "minLength": 1, "maxLength": 512},
        data={"type": ["object", "null"]},
        user={"type": ["object", "null"]},
        ts={"type": ["integer", "null"], "description": "Milliseconds since the epoch."},
        v=MAYBE_TEXT,
    ),
    "NewEvents": {"anyOf": [ref("NewEvent"), array(ref("NewEvent"), maxItems=MAX_EVENTS)]},
    "Event": obj(
        "internal_id account_id environment_id source source_id received_at id name data",
        internal_id=ULID,
        account_id=UUID,
        environment_id=UUID,
        source=TEXT,
        source_id=UUID,
        received_at=TIME,
        id=TEXT,
        name=TEXT,
        data={"type": "object"},
        user={"type": "object"},
        ts=WHOLE,
        v=TEXT,
    ),
    "Run": obj(
        "run_id run_started_at function_id function app_id function_version environment_id event_id event_ids status "
        "queued_at started_at ended_at steps steps_ended",
        run_id=ULID,
        run_started_at=TIME,
        function_id=UUID,
        function=TEXT,
        app_id=TEXT,
        function_version=WHOLE,
        environment_id=UUID,
        event_id=MAYBE_ULID,
        event_ids=array(ULID),
        original_run_id=ULID,
        status={"enum": _names(RunStatus)},
        queued_at=TIME,
        started_at=MAYBE_TIME,
        ended_at=MAYBE_TIME,
        output=ANY,
        steps=WHOLE,
        steps_ended=WHOLE,
        skip_reason=TEXT,
        last_error=TEXT,
        retry_at=MAYBE_TIME,
        waiting=ref("Waiting"),
    ),
    "Worker": obj(
        "id status host pid version started_at last_beat_at leads apps items",
        id=TEXT,
        status={"enum": ["Active", "Stopping", "Gone"]},
        host=TEXT,
        pid=WHOLE,
        version=TEXT,
        started_at=TIME,
        last_beat_at=TIME,
        leads={**FLAG, "description": "Whether it is the one that starts crons, and deletes what is old."},
        apps={"type": "array", "items": TEXT, "description": "Apps whose functions are in this process."},
        items={"type": "integer", "description": "Work items that it works on."},
    ),
    "NewCancellation": obj(
        "app_id function_id started_before",
        app_id=TEXT,
        function_id={"type": "string", "description": "Without the app's name."},
        started_after=MOMENT,
        started_before={**MOMENT, "description": "At most five seconds ahead."},
        **{"if": {"type": "string", "description": "An expression of `event`."}},
    ),
    "Cancellation": obj(
        "id created_at environment_id function_id function_internal_id started_after started_before kind cause",
        id=ULID,
        created_at=TIME,
        environment_id=UUID,
        function_id=TEXT,
        function_internal_id=UUID,
        started_after=MAYBE_TIME,
        started_before=TIME,
        kind=TEXT,
        cause={"type": "null"},
        **{"if": TEXT},
    ),
    "Waiting": obj("for until", **{"for": TEXT, "until": MAYBE_TIME}),
    "Step": obj(
        "id name op status number position attempt attempts created_at started_at ended_at due_at",
        id=TEXT,
        name=TEXT,
        op=TEXT,
        status={"enum": _names(StepStatus)},
        number=WHOLE,
        position={"type": ["integer", "null"]},
        attempt=WHOLE,
        attempts=array(ref("Attempt")),
        created_at=TIME,
        started_at=MAYBE_TIME,
        ended_at=MAYBE_TIME,
        due_at=MAYBE_TIME,
        info=ANY,
        output=ANY,
        error=ANY,
        waiting=ref("Waiting"),
    ),
    "Attempt": obj(
        "number started_at ended_at duration_ms",
        number=WHOLE,
        started_at=TIME,
        ended_at=TIME,
        duration_ms=WHOLE,
        status=WHOLE,
        error=TEXT,
        delay_ms=WHOLE,
        reason=TEXT,
        phases={"type": "object", "additionalProperties": {"type": "number"}},
        size=WHOLE,
        held_ms=WHOLE,
        held_by=array(TEXT),
    ),
    "Job": obj(
        "JobID at position kind attempt Raw",
        JobID=TEXT,
        at=TIME,
        position=WHOLE,
        kind=TEXT,
        attempt=WHOLE,
        step_id=TEXT,
        Raw=ANY,
    ),
    "App": obj(
        "id name url sdk functions synced_at archived error",
        id=UUID,
        name=TEXT,
        url=TEXT,
        sdk=TEXT,
        functions=WHOLE,
        synced_at=TIME,
        archived=FLAG,
        error=MAYBE_TEXT,
    ),
    "Function": obj("id name triggers steps", id=TEXT, name=TEXT, triggers=array(obj()), steps=obj()),
    "Op": obj("op id", op=TEXT, id=TEXT, name=MAYBE_TEXT, displayName=MAYBE_TEXT, data=ANY, error=ANY, opts=ANY),
    "Registration": obj("appName url functions", appName=TEXT, url=TEXT, sdk=TEXT, functions=array(ref("Function"))),
    "Rerun": {**obj("", from_step=MAYBE_TEXT, input={"type": ["array", "null"]}), "additionalProperties": False},
}
