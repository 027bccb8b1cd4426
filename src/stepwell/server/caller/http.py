"""Calls apps over HTTP, signed when a key is configured (protocol sections 0.1, 2 and 3)."""

import io
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from msgspec.structs import replace
from yarl import URL

from stepwell.server.clock import Clock
from stepwell.server.connections import QuietConnector
from stepwell.wire import constants as wire
from stepwell.wire.answers import parse_answer, signed_part
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.codec import render_call
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.headers import call_headers
from stepwell.wire.masks import mask_url
from stepwell.wire.signing import sign, verify

_CACHED_RUNS = 64
_CACHED_BYTES = 1024 * 1024
_MAX_REDIRECTS = 60
_MOVED = frozenset({301, 302, 303, 307, 308})
_CONNECT_S = 10.0
_ONE_PART = 1 << 20
_WAY_OUT = "check that it runs, and that it is synced with the right URL"


class HttpCaller:
    """``kind`` is dev or cloud; ``signing_key`` None sends unsigned calls.

    ``fallback``: the other key while keys are changed: a call is sent again with it to an app that refuses the first, and
    answers may be signed with either. What is signed with none of them is no answer of the app.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        kind: str = "dev",
        signing_key: str | None = None,
        fallback: str | None = None,
        timeout_s: float = wire.CALL_TIMEOUT_S,
    ) -> None:
        self._clock = clock
        self._kind = kind
        self._keys = tuple(key for key in (signing_key, fallback) if key)
        self._timeout_s = timeout_s
        self._canonical: OrderedDict[str, dict[bytes, bytes]] = OrderedDict()
        self._open: aiohttp.ClientSession | None = None

    async def call(self, request: CallRequest) -> Answer:
        """POST the call; whatever goes wrong on the way is an ERROR answer with ``transport`` set."""
        url = request.url or ""
        try:
            return await self._post(_target(url, request.function_id, request.step_id), request)
        except TimeoutError:
            return _failed(
                f"the app at {_short(url)} gave no answer within {self._timeout_s:g} s: make the step shorter, "
                "or raise STEPWELL_CALL_TIMEOUT"
            )
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return _failed(f"the app at {_short(url)} could not be called ({_cause(problem)}): {_WAY_OUT}")

    def ended(self, run_id: str) -> None:
        """Apps behind HTTP are not told: they drop what they keep on their own."""

    async def close(self) -> None:
        """Close connections."""
        if self._open is not None:
            session, self._open = self._open, None
            await session.close()

    async def _post(self, url: URL, request: CallRequest) -> Answer:
        signed = bool(self._keys)
        body = render_call(request, canonical=signed, cache=self._cache_of(request.run_id) if signed else None)
        if len(body) > _CACHED_BYTES:
            self._canonical.pop(request.run_id, None)
        status, answer = await self._follow(url, body, self._headers(request, body, *self._keys[:1]))
        if status == 401 and len(self._keys) > 1:
            _, answer = await self._follow(url, body, self._headers(request, body, self._keys[1]))
        return answer

    async def _follow(self, url: URL, body: bytes, sent: Mapping[str, str]) -> tuple[int, Answer]:
        for _ in range(_MAX_REDIRECTS + 1):
            answer = await self._send(url, body, sent)
            if not isinstance(answer, URL):
                return answer
            url = answer
        raise ValueError(f"it redirects more than {_MAX_REDIRECTS} times")

    async def _send(self, url: URL, body: bytes, sent: Mapping[str, str]) -> tuple[int, Answer] | URL:
        """Status and answer, or where to send the call instead: as a POST again, since a GET asks an app to describe itself."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=_CONNECT_S)
        async with self._session().post(
            url, data=_payload(body), headers=sent, timeout=timeout, allow_redirects=False
        ) as response:
            place = response.headers.get("location")
            if response.status in _MOVED and place:
                return url.join(URL(place))
            data = await _read(response)
            if data is None:
                return response.status, _failed(
                    f"the app at {_short(str(url))} answered with more than {wire.MAX_ANSWER_BYTES} bytes: "
                    "return less from the function or its steps, send less in a durable request, and refer to large data",
                    no_retry=True,
                )
            headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
            return response.status, self._read(response.status, headers, data, str(url))

    def _read(self, status: int, headers: Mapping[str, str], data: bytes, url: str) -> Answer:
        signed, signature = signed_part(status, headers, data)
        if self._keys and signature is not None:
            now = self._clock.now() // 1000
            if not any(verify(signed, signature, key, now) for key in self._keys):
                return _failed(
                    f"what answers at {_short(url)} signed with another key: both sides need the same signing key"
                )
        return replace(parse_answer(status, headers, data), status=status)

    def _cache_of(self, run_id: str) -> dict[bytes, bytes]:
        """Canonical forms of the run's memos, so that each is made once."""
        cache = self._canonical.setdefault(run_id, {})
        self._canonical.move_to_end(run_id)
        if len(self._canonical) > _CACHED_RUNS:
            self._canonical.popitem(last=False)
        return cache

    def _headers(self, request: CallRequest, body: bytes, key: str | None = None) -> dict[str, str]:
        signature = None if key is None else sign(body, key, self._clock.now() // 1000)
        return call_headers(request, self._kind, signature)

    def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            connector = QuietConnector(limit=0, limit_per_host=0, keepalive_timeout=15, ttl_dns_cache=10)
            self._open = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=65536
            )
        return self._open


@lru_cache(1_024)
def _target(url: str, function_id: str, step_id: str) -> URL:
    """Where a call goes. Raises ValueError."""
    target = URL(url)
    if not target.host:
        raise ValueError("it has no address")
    return target.update_query({"fnId": function_id, "stepId": step_id})


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body goes out in parts, so that writing it does not hold up the loop."""
    return body if len(body) <= _ONE_PART else io.BytesIO(body)


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None when it is larger than an answer may be."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > wire.MAX_ANSWER_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _failed(message: str, *, no_retry: bool | None = None) -> Answer:
    error = ErrorInfo(name="AppUnreachable", message=message)
    return Answer(kind=AnswerKind.ERROR, error=error, transport=True, no_retry=no_retry)


def _short(url: str) -> str:
    return mask_url(url.split("?", 1)[0])


def _cause(problem: BaseException) -> str:
    return mask_url(str(problem)) or type(problem).__name__
