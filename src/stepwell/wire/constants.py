"""Header names, limits and version numbers of the protocol (reference: the wire protocol, sections 0 to 3)."""

from typing import Final

SDK_NAME: Final = "stepwell-py"
VERSION: Final = "0.1.0"

DISCOVERY: Final = "step"
"""The ``stepId`` of a discovery call; any other value targets one step."""

REQUEST_VERSION: Final = 2
UNKNOWN_VERSION: Final = -1

H_SDK: Final = "x-inngest-sdk"
H_HANDLED: Final = "x-inngest-sdk-handled"
"""On every answer of an SDK, also on those that say nothing else of it."""
H_SIGNATURE: Final = "x-inngest-signature"
H_REQ_VERSION: Final = "x-inngest-req-version"
H_NO_RETRY: Final = "x-inngest-no-retry"
H_RETRY_AFTER: Final = "retry-after"
H_SERVER_KIND: Final = "x-inngest-server-kind"
H_EXPECTED_KIND: Final = "x-inngest-expected-server-kind"
H_SYNC_KIND: Final = "x-inngest-sync-kind"
H_FRAMEWORK: Final = "x-inngest-framework"
H_ENV: Final = "x-inngest-env"
H_RUN_ID: Final = "x-run-id"
H_REQUEST_ID: Final = "x-request-id"
H_GENERATION: Final = "x-inngest-generation-id"
H_STEP_ID: Final = "x-inngest-step-id"
H_JOB_ID: Final = "x-inngest-job-id"
H_EVENT_SEED: Final = "x-inngest-event-id-seed"

MAX_EVENT_BYTES: Final = 3 * 1024 * 1024
MAX_EVENTS: Final = 5_000
MAX_REQUEST_BYTES: Final = 32 * 1024 * 1024
MAX_STEP_OUTPUT: Final = 4 * 1024 * 1024
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
MAX_FETCH_BODY: Final = 64 * 1024 * 1024
MAX_TEXT_BODY: Final = 4 * MAX_STEP_OUTPUT
"""Of a body for an SDK that takes text only: even UTF-32 would come to more than a step's output then."""
MAX_STATE_BYTES: Final = 4 * 1024 * 1024
"""Of a call; above that the app asks for state and events."""
MAX_RUN_BYTES: Final = 32 * 1024 * 1024
"""Of all results of a run's steps."""
MAX_STEPS: Final = 10_000
INLINE_BODY_BYTES: Final = 256 * 1024
CALL_TIMEOUT_S: Final = 2 * 3600.0
MAX_WAIT_MS: Final = 366 * 24 * 3600 * 1000
DEFAULT_RETRIES: Final = 4
MAX_RETRIES: Final = 20
CALLBACK_URL: Final = "https://callback.stepwell.invalid/url"
"""Stands in a request with ``callback`` for the one-time URL that the platform puts in its place."""
IN_PROCESS_URL: Final = "http://in-process.invalid/"
"""Where apps that live in the platform's own process are said to be: a name that never resolves (RFC 6761)."""
