"""The app's one endpoint, without a framework: POST runs a call, PUT registers, GET shows (protocol sections 1.3, 2, 3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import failures
from stepwell.sdk.drivers.aio import Executor
from stepwell.sdk.platform import Platform, PlatformError
from stepwell.sdk.public_url import check_origin, check_path, forwarded_url, with_settings
from stepwell.sdk.registration import in_band, inspection, out_of_band
from stepwell.wire import constants as wire
from stepwell.wire import signing
from stepwell.wire.answers import render_answer
from stepwell.wire.calls import Answer
from stepwell.wire.codec import BadCall, parse_call
from stepwell.wire.headers import sdk_headers
from stepwell.wire.traces import context_of

if TYPE_CHECKING:
    from stepwell.sdk.client import Client
    from stepwell.sdk.functions import Function

Reply = tuple[int, dict[str, str], bytes]
_EMPTY = b""


class Handler:
    """Answers the requests to one endpoint.

    Args:
        client: whose settings and keys hold.
        functions: default all of the client's, also those declared later. Their ``on_failure`` and ``on_cancel`` come along.
            Raises ``ConfigError`` for what is no function.
        framework: the adapter's name, which the platform is told.
        serve_origin: scheme and host where the platform reaches the app; default ``STEPWELL_SERVE_ORIGIN``, else
            what the request says, with ``x-forwarded-proto`` and ``x-forwarded-host``. Raises ``ConfigError``.
        serve_path: the path there; default ``STEPWELL_SERVE_PATH``, else the request's. Raises ``ConfigError``.
    """

    def __init__(
        self,
        client: Client,
        functions: Sequence[Function] | None = None,
        framework: str = "asgi",
        *,
        serve_origin: str | None = None,
        serve_path: str | None = None,
    ) -> None:
        self._client = client
        self._functions = None if functions is None else _with_hooks(functions)
        self._framework = framework
        self._origin = check_origin(serve_origin) if serve_origin else None
        self._path = check_path(serve_path) if serve_path else None
        self._executor: Executor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def functions(self) -> Sequence[Function]:
        """What is served."""
        return self._client.functions if self._functions is None else self._functions

    async def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, raw_request: object = None
    ) -> Reply:
        """Answer one request. ``url`` is absolute; header names are lower-case. Status, headers and body.

        ``raw_request``: the request as the framework has it, for middleware.
        """
        config = self._client.config
        trusted, key = None, None
        if not config.dev:
            if not config.signing_key:
                return self._error(500, "signing_key_missing", "the app runs in production mode without a signing key: "
                                   "set STEPWELL_SIGNING_KEY, or STEPWELL_DEV=1 for development")  # fmt: skip
            header = headers.get(wire.H_SIGNATURE)
            now = int(time.time())
            key = signing.signer(body, header, config.signing_key, now, fallback=config.signing_key_fallback)
            trusted = key is not None
        reply = await self._route(method.upper(), url, headers, body, trusted, raw_request)
        if key is not None:
            reply[1][wire.H_SIGNATURE] = signing.sign(reply[2], key, int(time.time()))
        return reply

    async def close(self) -> None:
        """Give up the suspended executions that are kept."""
        if self._executor is not None and self._loop is asyncio.get_running_loop():
            await self._executor.close()

    async def _route(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, trusted: bool | None, raw_request: object
    ) -> Reply:
        query = {key: found[-1] for key, found in parse_qs(urlsplit(url).query).items()}
        if method in ("GET", "POST") and trusted is False:
            return _unauthorized()
        if method == "GET":
            return self._inspect(url, headers, trusted)
        if method == "POST":
            if query.get("probe") == "trust":
                return 200, self._headers(), _EMPTY
            return await self._call(query, headers, body, raw_request)
        if method == "PUT":
            return await self._sync(url, query, headers, body, trusted)
        return self._error(405, "method_not_allowed", f"{method} has no meaning here: POST, PUT and GET have")

    # ------------------------------------------------------------------------------------------------------------- GET

    def _inspect(self, url: str, headers: Mapping[str, str], trusted: bool | None) -> Reply:
        if self._misfit(headers):
            return 403, self._headers(), b"{}"
        served = self._public(forwarded_url(url, headers, trusted=True))
        return self._json(200, inspection(self._client, self.functions, served, self._framework, trusted))

    def _misfit(self, headers: Mapping[str, str]) -> str | None:
        """The mode of the platform that asks, where it is not the app's own."""
        kind = headers.get(wire.H_SERVER_KIND)
        return kind if kind and kind != ("dev" if self._client.config.dev else "cloud") else None

    # ------------------------------------------------------------------------------------------------------------ POST

    async def _call(
        self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes, raw_request: object
    ) -> Reply:
        function_id = query.get("fnId")
        if not function_id:
            return self._answer(failures.problem("BadCall", "the call names no function: the query lacks fnId"))
        try:
            request = parse_call(body, function_id, query.get("stepId", wire.DISCOVERY))
            if request.use_api:
                request = await Platform(self._client.config).complete(request)
        except (BadCall, PlatformError) as problem:
            return self._answer(failures.problem(type(problem).__name__, str(problem)))
        trace = context_of(headers)
        request.trace = {} if trace is None else trace.headers
        return self._answer(await self._executing().execute(request, raw_request))

    def _executing(self) -> Executor:
        """The executor of the running loop: what is kept on another loop can not be resumed on this one."""
        loop = asyncio.get_running_loop()
        if self._executor is None or self._loop is not loop:
            served = self._client if self._functions is None else {each.id: each for each in self._functions}
            self._executor = Executor(served, load_body=Platform(self._client.config).body)
            self._loop = loop
        return self._executor

    # ------------------------------------------------------------------------------------------------------------- PUT

    async def _sync(
        self, url: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes, trusted: bool | None
    ) -> Reply:
        kind, mode = headers.get(wire.H_SERVER_KIND), "dev" if self._client.config.dev else "cloud"
        if self._misfit(headers):
            return self._error(
                400,
                "server_kind_mismatch",
                f"a platform in {kind} mode called an app in {mode} mode: set STEPWELL_DEV to match",
            )
        if headers.get(wire.H_SYNC_KIND) == "in_band" and self._client.config.in_band:
            if trusted is False:
                return _unauthorized()
            served = self._public(_asked_url(body) or forwarded_url(url, headers, trusted=True))
            reply = self._json(200, in_band(self._client, self.functions, served, self._framework, trusted))
            reply[1][wire.H_SYNC_KIND] = "in_band"
            return reply
        served = self._public(forwarded_url(url, headers, trusted=trusted is not False))
        return await self._register(served, query, kind)

    def _public(self, url: str) -> str:
        config = self._client.config
        return with_settings(url, self._origin or config.serve_origin, self._path or config.serve_path)

    async def _register(self, url: str, query: Mapping[str, str], kind: str | None) -> Reply:
        body = msgspec.json.encode(out_of_band(self._client, self.functions, url, self._framework))
        headers = {wire.H_FRAMEWORK: self._framework, wire.H_SYNC_KIND: "out_of_band"}
        if kind:
            headers[wire.H_EXPECTED_KIND] = kind
        deploy = f"?deployId={query['deployId']}" if "deployId" in query else ""
        try:
            status, said = await Platform(self._client.config).register(body, deploy, headers)
        except PlatformError as problem:
            return self._error(500, "registration_failed", str(problem))
        message = str(said.get("error") or "Successfully registered")
        reply = self._json(status, {"message": message, "modified": bool(said.get("modified"))})
        reply[1][wire.H_SYNC_KIND] = "out_of_band"
        return reply

    # --------------------------------------------------------------------------------------------------------- answers

    def _answer(self, answer: Answer) -> Reply:
        status, headers, body = render_answer(answer)
        return status, {**self._headers(), **headers}, body

    def _headers(self) -> dict[str, str]:
        headers = {**sdk_headers(), wire.H_FRAMEWORK: self._framework}
        headers[wire.H_EXPECTED_KIND] = "dev" if self._client.config.dev else "cloud"
        if self._client.config.env:
            headers[wire.H_ENV] = self._client.config.env
        return headers

    def _json(self, status: int, members: dict[str, Any]) -> Reply:
        return status, self._headers(), msgspec.json.encode(members)

    def _error(self, status: int, code: str, message: str) -> Reply:
        return self._json(status, {"code": code, "message": message, "name": "StepwellError"})


def _with_hooks(functions: Sequence[Function]) -> list[Function]:
    found: list[Function] = []
    for each in functions:
        if not hasattr(each, "hooks"):
            raise ConfigError(f"serve takes what @client.create_function(...) made, and {each!r:.60} is none of it")
        found += [one for one in (each, *each.hooks) if one not in found]
    return found


def _unauthorized() -> Reply:
    """What who can not sign gets: not even what answers."""
    return 401, {"content-type": "application/json", wire.H_HANDLED: "true"}, b'{"message":"Unauthorized"}'


def _asked_url(body: bytes) -> str | None:
    """The URL under which the platform sees the app."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any]).get("url")
    except msgspec.MsgspecError:
        return None
    return found if isinstance(found, str) else None
