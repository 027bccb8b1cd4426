"""The ``auth`` of a durable request: what httpx would put into the one request that it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from stepwell.sdk.upload import bound

if TYPE_CHECKING:
    import httpx2


def authorised(request: httpx2.Request, auth: Any) -> httpx2.Request:
    """The request with what ``auth`` puts into it. Raises ``TypeError`` for one that can not be had in one go."""
    import httpx2

    if auth is None and request.url.userinfo and "authorization" in request.headers:  # else the platform writes it
        auth = (request.url.username, request.url.password)
    if auth is None:
        return request
    if isinstance(auth, tuple):
        auth = httpx2.BasicAuth(*cast("tuple[str, str]", auth))
    if isinstance(auth, httpx2.DigestAuth):
        raise TypeError(f"digest authentication needs a conversation with the server, {_ONE_REQUEST}")
    if hasattr(auth, "sync_auth_flow"):
        _check(request, auth)
        asked = _place(request)
        first = next(auth.sync_auth_flow(request))
        if _place(first) != asked:
            raise TypeError(f"{type(auth).__name__} makes a request of its own before this one, {_ONE_REQUEST}")
        return first
    if callable(auth):
        return cast("Callable[[httpx2.Request], httpx2.Request]", auth)(request)
    raise TypeError(f"auth is a (user, password) pair, an httpx2.Auth or a function, not {type(auth).__name__}")


_ONE_REQUEST = (
    "and a step.fetch is one request: use a client with a durable transport, such as stepwell.transports.httpx2, where each "
    "request of an auth is a step of its own"
)


def _place(request: httpx2.Request) -> tuple[str, bytes, str]:
    return request.method, request.url.netloc, request.url.path


def _check(request: httpx2.Request, auth: Any) -> None:
    name = type(auth).__name__
    if _writes(auth, "async_auth_flow") and not _writes(auth, "sync_auth_flow") and not _writes(auth, "auth_flow"):
        raise TypeError(f"{name} is for async clients alone, {_ONE_REQUEST}")
    if not getattr(auth, "requires_request_body", False):
        return
    bound(request)
    if not hasattr(request.stream, "__iter__"):
        raise TypeError(f"{name} needs the request's body, which is an async stream here: give fetch() its bytes")


def _writes(auth: object, name: str) -> bool:
    """Whether the method is the class's own, and not the one that httpx has for all."""
    method: Any = getattr(type(auth), name)
    return not method.__module__.startswith("httpx")
