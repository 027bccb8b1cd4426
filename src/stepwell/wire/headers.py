"""The headers of calls and answers (protocol sections 2 and 3.1). Names are lower-case throughout."""

from collections.abc import Iterable

from stepwell.wire.calls import CallRequest
from stepwell.wire.constants import (
    H_GENERATION,
    H_HANDLED,
    H_JOB_ID,
    H_REQ_VERSION,
    H_REQUEST_ID,
    H_RUN_ID,
    H_SDK,
    H_SERVER_KIND,
    H_SIGNATURE,
    H_STEP_ID,
    REQUEST_VERSION,
    SDK_NAME,
    VERSION,
)

JSON = "application/json"


def lower(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; the last of a repeated name wins."""
    return {name.lower(): value for name, value in pairs}


def call_headers(request: CallRequest, kind: str, signature: str | None = None) -> dict[str, str]:
    """What a call carries. ``kind`` is the server's own, ``dev`` or ``cloud``."""
    headers = {
        "content-type": JSON,
        "user-agent": f"Stepwell/{VERSION}",
        H_SERVER_KIND: kind,
        H_RUN_ID: request.run_id,
        H_REQ_VERSION: str(request.req_version),
        H_STEP_ID: request.step_id,
    }
    if request.request_id:
        headers[H_REQUEST_ID] = request.request_id
    if request.generation > 0:
        headers[H_GENERATION] = str(request.generation)
    if request.qi_id:
        headers[H_JOB_ID] = request.qi_id
    if signature is not None:
        headers[H_SIGNATURE] = signature
    headers.update(request.trace)
    return headers


def sdk_headers(req_version: int | None = None) -> dict[str, str]:
    """What every answer of our SDK carries."""
    return {
        "content-type": JSON,
        H_SDK: f"{SDK_NAME}:v{VERSION}",
        H_HANDLED: "true",
        H_REQ_VERSION: str(REQUEST_VERSION if req_version is None else req_version),
    }
