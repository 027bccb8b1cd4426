"""Durable requests for clients made with requests: ``session.mount("https://", DurableAdapter())``."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from stepwell.sdk.fetching import Retry
from stepwell.transports._plain import plain_request
from stepwell.transports._policy import PLAIN, Plain
from stepwell.transports._scope import sync_step
from stepwell.transports.urllib3 import DurablePoolManager, cause_of

__all__ = ["DurableAdapter", "durable_session"]


class DurableAdapter(HTTPAdapter):
    """Makes the requests of a ``requests.Session`` durable steps in ``def`` functions, and leaves them plain outside of runs.

    Args:
        fallback: the adapter that sends the requests made outside of a run and inside of ``step.run``. Default: a plain
            ``HTTPAdapter``; None makes those requests an error (``StepUsageError``).
        retry: a :class:`stepwell.Retry`, or the number of attempts; default: the function's, and the usual delays.
        deadline: over all attempts of a request: seconds, a ``timedelta`` or a text such as ``"5m"``; default: none.
        at_most_once: never send a request a second time once a byte of it may have left.

    The responses are real ones, made and decoded by requests itself. Time-outs are those of the call, for each attempt;
    each redirect that the session follows is a request of its own. ``verify``, ``cert`` and ``proxies`` matter to plain
    requests only: durable ones have the platform's. A request without a response raises requests' exceptions, with the
    ``FetchError`` as their ``__cause__``.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_policy", "_plain_allowed", "_plain"]

    def __init__(
        self,
        fallback: HTTPAdapter | Plain | None = PLAIN,
        *,
        retry: Retry | int | None = None,
        deadline: float | timedelta | str | None = None,
        at_most_once: bool = False,
    ) -> None:
        self._policy: dict[str, Any] = {"retry": retry, "deadline": deadline, "at_most_once": at_most_once}
        self._plain_allowed = fallback is not None
        self._plain: HTTPAdapter | None = None if isinstance(fallback, Plain) else fallback
        self._lock = threading.Lock()
        super().__init__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called where a session is copied or unpickled; requests does the rest."""
        self._lock = threading.Lock()
        super().__setstate__(state)

    def init_poolmanager(self, *_args: Any, **_options: Any) -> None:
        """Called by requests: where its requests go."""
        self.poolmanager = DurablePoolManager(None, **self._policy)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Called by requests: in a run a durable step, else a plain request."""
        if sync_step(plain_allowed=self._plain_allowed) is None:
            _make_plain(request)
            return self._fallback().send(request, stream, timeout, verify, cert, proxies)
        try:
            made = super().send(request, stream, timeout)
        except requests.RequestException as error:
            raise error from cause_of(error)
        _keep_elapsed(request)
        return made

    def close(self) -> None:
        """Close the fallback's connections."""
        super().close()
        if self._plain is not None:
            self._plain.close()

    def _fallback(self) -> HTTPAdapter:
        with self._lock:
            if self._plain is None:
                self._plain = HTTPAdapter()
            return self._plain


def durable_session(
    fallback: HTTPAdapter | Plain | None = PLAIN,
    *,
    retry: Retry | int | None = None,
    deadline: float | timedelta | str | None = None,
    at_most_once: bool = False,
) -> requests.Session:
    """A new ``requests.Session`` with a :class:`DurableAdapter` for everything; the arguments are the adapter's."""
    session = requests.Session()
    adapter = DurableAdapter(fallback, retry=retry, deadline=deadline, at_most_once=at_most_once)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _make_plain(request: requests.PreparedRequest) -> None:
    texts = [(_text(name), _text(value)) for name, value in request.headers.items()]
    request.url, kept = plain_request(str(request.method), str(request.url), texts)
    request.headers.clear()
    request.headers.update(kept)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _keep_elapsed(request: requests.PreparedRequest) -> None:
    """The session measures ``elapsed`` itself, then calls the hooks: the first of them puts the recorded time back."""
    hooks = request.hooks.setdefault("response", [])
    if _recorded_elapsed not in hooks:
        hooks.insert(0, _recorded_elapsed)


def _recorded_elapsed(response: requests.Response, **_options: Any) -> None:
    elapsed_ms = getattr(response.raw, "stepwell_elapsed_ms", None)
    if elapsed_ms is not None:
        response.elapsed = timedelta(milliseconds=elapsed_ms)
