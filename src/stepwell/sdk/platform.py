"""What the SDK asks of the platform over HTTP: registration, state that was too large for a call, bodies kept aside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from stepwell.errors import StepwellError
from stepwell.sdk.config import Config
from stepwell.sdk.pausing import pause_s
from stepwell.wire.calls import CallRequest
from stepwell.wire.codec import parse_inputs
from stepwell.wire.constants import H_ENV, H_SDK, SDK_NAME, VERSION
from stepwell.wire.realtime import TEXT_STREAM
from stepwell.wire.signing import hashed_key

if TYPE_CHECKING:
    import httpx2

ATTEMPTS = 4
_DELAY_S = 0.2
_TIMEOUT_S = 60.0


class PlatformError(StepwellError):
    """The platform could not be asked."""


class Platform:
    """The platform's API, with the app's key; the fallback key is tried where the first one is refused."""

    def __init__(self, config: Config) -> None:
        self._config = config

    async def register(self, body: bytes, query: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Register the app (protocol 1.3): the status and the members of the answer. Raises ``PlatformError``."""
        url = f"{self._config.api_url}/fn/register{query}"
        answer = await self._ask("POST", url, body, headers)
        try:
            return answer.status_code, msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise PlatformError(
                f"{self._config.api_url} did not answer the registration as a platform does (status {answer.status_code}): "
                "check the API URL"
            ) from None

    async def complete(self, request: CallRequest) -> CallRequest:
        """The call with its events and steps, which were too large to come along (protocol 1.4)."""
        base = f"{self._config.api_url}/v0/runs/{quote(request.run_id)}"
        steps, events = await asyncio.gather(self._json(f"{base}/actions"), self._json(f"{base}/batch"))
        try:
            memos = msgspec.json.decode(steps, type=dict[str, msgspec.Raw])
            batch = msgspec.json.decode(events, type=list[msgspec.Raw])
        except msgspec.MsgspecError as problem:
            raise PlatformError(f"the state of run {request.run_id} can not be read: {problem}") from None
        found = {key: bytes(memo) for key, memo in memos.items()}
        inputs = parse_inputs(found)
        known = {key: memo for key, memo in found.items() if key not in inputs}
        return msgspec.structs.replace(request, steps=known, inputs=inputs, events=[bytes(event) for event in batch])

    async def signal(self, body: bytes) -> str | None:
        """Send a signal (protocol 1.5): the run that was waiting; None where none was. Raises ``PlatformError``."""
        answer = await self._ask("POST", f"{self._config.api_url}/v1/signals", body, {})
        if answer.status_code == 404:
            return None
        try:
            reply = msgspec.json.decode(answer.content, type=_Reply)
        except msgspec.MsgspecError:
            reply = _Reply(error="it did not answer as a platform does: check the API URL")
        if answer.status_code != 200 or reply.data is None:
            raise PlatformError(
                f"the platform did not take the signal (status {answer.status_code}): {reply.error or 'no reason given'}"
            )
        return reply.data.run_id

    async def post(self, path: str, body: bytes, wanted: int) -> bytes:
        """Post JSON: the answer, which has the status ``wanted``. Raises ``PlatformError``."""
        answer = await self._ask("POST", f"{self._config.api_url}{path}", body, {})
        if answer.status_code != wanted:
            raise _refused(path, answer)
        return answer.content

    async def stream(self, path: str, pieces: AsyncIterator[str], token: str) -> None:
        """Post a text as it comes, once. Raises ``PlatformError``, and what ``pieces`` raises."""
        import httpx2

        headers = {**self._headers(None), "content-type": TEXT_STREAM, "authorization": f"Bearer {token}"}
        content = (piece.encode() async for piece in pieces)
        async with httpx2.AsyncClient(timeout=self._config.timeout_s or _TIMEOUT_S) as client:
            try:
                answer = await client.post(f"{self._config.api_url}{path}", content=content, headers=headers)
            except httpx2.TransportError as error:
                raise PlatformError(
                    f"the platform at {self._config.api_url} did not take the text: {error!r}"
                ) from error
        if answer.status_code != 200:
            raise _refused(path, answer)

    async def body(self, ref: str, start: int, end: int) -> bytes:
        """Bytes ``start:end`` of a fetched body that is kept beside the run's state. Raises ``PlatformError``."""
        url = f"{self._config.api_url}/v1/bodies/{quote(ref)}"
        answer = await self._ask("GET", url, None, {"range": f"bytes={start}-{end - 1}"})
        if answer.status_code != 206:
            raise PlatformError(f"the platform answered {url} with status {answer.status_code}")
        return answer.content

    async def _json(self, url: str) -> bytes:
        answer = await self._ask("GET", url, None, {})
        if answer.status_code != 200:
            raise PlatformError(f"the platform answered {url} with status {answer.status_code}")
        return answer.content

    async def _ask(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> httpx2.Response:
        import httpx2

        trouble, answer = "", None
        async with httpx2.AsyncClient(timeout=self._config.timeout_s or _TIMEOUT_S) as client:
            for attempt in range(ATTEMPTS):
                if attempt:
                    await asyncio.sleep(pause_s(_DELAY_S * 2**attempt, answer))
                answer = None
                try:
                    answer = await self._keyed(client, method, url, body, headers)
                except httpx2.TransportError as error:
                    trouble = f"{type(error).__name__}: {error}"
                    continue
                if answer.status_code < 500:
                    return answer
                trouble = f"status {answer.status_code}"
        raise PlatformError(
            f"the platform at {self._config.api_url} can not be asked ({trouble}): is it running there?"
        )

    async def _keyed(
        self, client: httpx2.AsyncClient, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> httpx2.Response:
        answer: httpx2.Response | None = None
        for key in (self._config.signing_key, self._config.signing_key_fallback):
            if answer is None or (key and answer.status_code in {401, 403}):
                answer = await client.request(method, url, content=body, headers={**headers, **self._headers(key)})
        assert answer is not None
        return answer

    def _headers(self, key: str | None) -> dict[str, str]:
        headers = {"content-type": "application/json", H_SDK: f"{SDK_NAME}:v{VERSION}"}
        if key:
            try:
                headers["authorization"] = f"Bearer {hashed_key(key)}"
            except ValueError as problem:
                raise PlatformError(str(problem)) from None
        if self._config.env:
            headers[H_ENV] = self._config.env
        return headers


def _refused(path: str, answer: httpx2.Response) -> PlatformError:
    try:
        reason = msgspec.json.decode(answer.content, type=_Reply).error
    except msgspec.MsgspecError:
        reason = None
    where = path.partition("?")[0]
    return PlatformError(
        f"the platform answered {where} with status {answer.status_code}: {reason or 'no reason given'}"
    )


class _Woken(msgspec.Struct):
    run_id: str


class _Reply(msgspec.Struct):
    data: _Woken | None = None
    error: str | None = None
