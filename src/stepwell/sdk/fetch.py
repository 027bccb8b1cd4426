"""``stepwell.fetch``: a durable request inside of a run, a plain one elsewhere."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Unpack, cast

from stepwell.errors import StepUsageError
from stepwell.sdk.fetching import FetchOptions, UrlOrRequest, is_ready
from stepwell.sdk.scope import SCOPE, RunScope, StepBody
from stepwell.sdk.secrets import mentioned
from stepwell.wire.fetch_policy import PREFIX

_OF_HTTPX = frozenset({"method", "params", "headers", "json", "data", "content", "files", "cookies", "auth", "timeout"})
_OURS = frozenset(FetchOptions.__annotations__) - _OF_HTTPX - {"follow_redirects"}
PLAIN = "plain"
_PREFIX = PREFIX.encode()


class Fetch:
    """The callable ``stepwell.fetch``. ``fallback`` is called where the request can not be durable.

    It gets the URL and httpx's keywords. The default is a plain httpx2 request; None makes those cases an error.
    """

    def __init__(self, fallback: Any = PLAIN) -> None:
        self._fallback = fallback

    def __call__(self, url: UrlOrRequest, **options: Unpack[FetchOptions]) -> Any:
        """The request of :meth:`Step.fetch`. Awaitable where an event loop runs in this thread, else the response itself."""
        scope = SCOPE.get()
        if isinstance(scope, RunScope):
            made: Any = scope.step.fetch(url, **options)
            return made if inspect.isawaitable(made) or not _loop_runs() else _done(made)
        if self._fallback is None:
            where = f"inside the step {scope.label!r}" if isinstance(scope, StepBody) else "outside of a run"
            raise StepUsageError(
                f"fetch was called {where}, where it can not be durable, and fallback=None forbids a plain request: call it "
                "in a function, outside of step.run"
            )
        if options.get("poll") or options.get("callback"):
            raise StepUsageError(
                "fetch was called with poll or callback where it can not be durable: only a run can wait for a long job; call "
                "it in a function, outside of step.run"
            )
        plain = cast("dict[str, Any]", {key: value for key, value in options.items() if key not in _OURS})
        return plain_fetch(url, **plain) if self._fallback is PLAIN else self._fallback(url, **plain)

    def config(self, *, fallback: Any = PLAIN) -> Fetch:
        """A copy with another fallback."""
        return Fetch(fallback)


def plain_fetch(url: UrlOrRequest, **options: Any) -> Any:
    """A plain request. An awaitable where an event loop runs in this thread, else the response."""
    options.setdefault("follow_redirects", True)
    sending = {key: options.pop(key) for key in ("auth", "follow_redirects") if key in options}
    return _send_async(url, options, sending) if _loop_runs() else _send(url, options, sending)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _done(response: Any) -> Any:
    """For ``asyncio.run`` inside of a ``def`` function, whose steps return their results at once."""
    return response


def _send(url: UrlOrRequest, options: dict[str, Any], sending: dict[str, Any]) -> Any:
    import httpx2

    with httpx2.Client(transport=_transport("FillingTransport", url, options, sending)) as client:
        return client.send(_build(client, url, options), **sending)


async def _send_async(url: UrlOrRequest, options: dict[str, Any], sending: dict[str, Any]) -> Any:
    import httpx2

    async with httpx2.AsyncClient(transport=_transport("AsyncFillingTransport", url, options, sending)) as client:
        return await client.send(_build(client, url, options), **sending)


def _transport(kind: str, *parts: object) -> Any:
    """One that fills in secrets, where the request may hold any; else httpx2's own."""
    if not mentioned(*parts):
        return None
    from stepwell.sdk import secret_transport

    return getattr(secret_transport, kind)()


def _build(client: Any, url: UrlOrRequest, options: dict[str, Any]) -> Any:
    """The request, without the headers that are for the platform."""
    import httpx2

    if is_ready(url, options):
        made = _copied(url, isinstance(client, httpx2.AsyncClient))
        if "timeout" in options:
            made.extensions = {**made.extensions, "timeout": httpx2.Timeout(options["timeout"]).as_dict()}
    else:
        made = client.build_request(
            options.pop("method", "GET"), str(url) if hasattr(url, "netloc") else url, **options
        )
    made.headers = httpx2.Headers([pair for pair in made.headers.raw if not pair[0].lower().startswith(_PREFIX)])
    return made


def _copied(request: Any, asynchronous: bool) -> Any:
    """A request of httpx2, or of httpx, as one of httpx2."""
    import httpx2

    body = getattr(request, "_content", None)
    if body is None:
        body = aiter(request.stream) if asynchronous and hasattr(request.stream, "__aiter__") else iter(request.stream)
    head: dict[str, Any] = {"headers": request.headers.raw, "extensions": request.extensions}
    return httpx2.Request(request.method, str(request.url), content=body, **head)


fetch = Fetch()
