"""What every durable transport decides alike: the policy of its requests, what can not be durable, which error is raised.

Pure: no IO, and nothing of any client library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, cast

from msgspec.structs import replace

from stepwell.sdk.fetching import Retry, make_policy
from stepwell.sdk.timeouts import NO_TIMEOUT_S
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.fetch import FetchPolicy, Timeouts
from stepwell.wire.fetch_policy import PREFIX

MAX_BODY = MAX_REQUEST_BYTES
"""Bytes: the largest request body that is read to make a request durable."""
_SHORTEST_S = 0.001


class Plain(Enum):
    """The default of ``fallback``: the library's own transport, made when it is needed."""

    PLAIN = "plain"


PLAIN = Plain.PLAIN


def base_policy(retry: Retry | int | None, deadline: float | timedelta | str | None, at_most_once: bool) -> FetchPolicy:
    """The policy of all requests of a transport. Redirects are the client's business. Raises ``ValueError``."""
    return make_policy({"retry": retry, "deadline": deadline, "at_most_once": at_most_once, "follow_redirects": False})


def with_timeouts(policy: FetchPolicy, phases: object) -> FetchPolicy:
    """The policy with a client's time-outs in seconds for each phase; None there means no time-out."""
    if not isinstance(phases, Mapping):
        return policy
    given = cast("Mapping[str, float | None]", phases)
    return replace(policy, timeouts=Timeouts(**{name: _seconds(given[name]) for name in _PHASES if name in given}))


_PHASES = ("connect", "read", "write", "pool")


def _seconds(value: float | None) -> float:
    return NO_TIMEOUT_S if value is None else max(_SHORTEST_S, float(value))


def why_not(scheme: str, host: str, header_names: Iterable[str]) -> str | None:
    """Why a request can not be durable; None when it can."""
    names = {name.lower() for name in header_names}
    if scheme in {"ws", "wss"} or "upgrade" in names:
        return (
            "a websocket can not be durable: it has no one response that could be recorded. Open it inside of step.run"
        )
    if scheme not in {"http", "https"} or not host:
        return "a durable request needs an absolute http or https URL"
    return None


def steers(name: str) -> bool:
    """Whether the header is for the platform, and not for a server."""
    return name.lower().startswith(PREFIX)


def error_name(kind: str, sent: bool = True) -> str:
    """The class of httpx's family that a ``FetchError`` of this kind is raised as."""
    if kind == "timeout" and not sent:
        return "ConnectTimeout"
    return _ERRORS.get(kind, "NetworkError")


_ERRORS: dict[str, Any] = {
    "dns": "ConnectError",
    "connect": "ConnectError",
    "tls": "ConnectError",
    "guard": "ConnectError",
    "timeout": "ReadTimeout",
    "write": "WriteError",
    "read": "ReadError",
    "too_large": "ReadError",
    "protocol": "RemoteProtocolError",
    "redirect": "TooManyRedirects",
    "invalid": "LocalProtocolError",
}
