"""The platform as the command line sees it: its HTTP API, on the network or inside of this process."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import httpx2

from stepwell.cli.errors import CliError
from stepwell.server.settings import Settings
from stepwell.wire.constants import H_EVENT_SEED
from stepwell.wire.signing import hashed_key

Json = dict[str, object]
_TIMEOUT_S = 30.0
_PROBE_S = 1.5


class NotRunning(CliError):
    """No platform answers."""


class Platform:
    """A few calls of the API. Every failure is a :class:`CliError` of one sentence."""

    def __init__(self, client: httpx2.AsyncClient, settings: Settings, *, running: bool = True) -> None:
        self._client = client
        self._event_key = settings.event_keys[0] if settings.event_keys else "dev"
        self.running = running
        """Whether it goes on when this command ends."""
        self.address = str(client.base_url).rstrip("/")

    async def send(self, event: Json, seed: str | None = None) -> str:
        """Send one event; its internal id. The same ``seed`` gives the same id, and no second run."""
        headers = {H_EVENT_SEED: seed} if seed else {}
        try:
            answer = await self._ask("POST", f"/e/{self._event_key}", json=event, headers=headers)
        except ApiError as error:
            if error.status == 401:
                raise ApiError(f"The event key is not one of {self.address}; set STEPWELL_EVENT_KEY.", 401) from error
            raise
        ids = cast("list[str]", answer["ids"])
        return ids[0]

    async def run(self, run_id: str) -> Json:
        """One run."""
        return cast("Json", (await self._ask("GET", f"/v1/runs/{run_id}"))["data"])

    async def steps(self, run_id: str, *, wait: float = 0, outputs: bool = True) -> tuple[Json, list[Json]]:
        """A run and its steps; ``wait`` (seconds) lets the answer come when the run has ended."""
        query = {"wait": f"{wait:g}", "outputs": "true" if outputs else "false"}
        answer = await self._ask("GET", f"/v1/runs/{run_id}/steps", params=query)
        return cast("Json", cast("Json", answer["metadata"])["run"]), cast("list[Json]", answer["data"])

    async def runs(self, query: Mapping[str, str]) -> list[Json]:
        """Runs, newest first."""
        return cast("list[Json]", (await self._ask("GET", "/v1/runs", params=query))["data"])

    async def found(self, query: Mapping[str, str]) -> tuple[list[Json], str | None, int]:
        """One page of a search for runs: those that passed, the cursor to go on from, how many were looked at."""
        answer = await self._ask("GET", "/v1/runs", params=query)
        metadata = cast("dict[str, Any]", answer["metadata"])
        return cast("list[Json]", answer["data"]), metadata.get("cursor"), int(metadata.get("looked_at", 0))

    async def events(self, query: Mapping[str, str]) -> list[Json]:
        """Events, newest first."""
        return cast("list[Json]", (await self._ask("GET", "/v1/events", params=query))["data"])

    async def cancel(self, run_id: str) -> None:
        """End a run."""
        response = await self._response("DELETE", f"/v1/runs/{run_id}")
        if response.status_code >= 400:
            _answer(response)

    async def cancel_many(self, asked: Json) -> Json:
        """End many (protocol 1.7); what was made of the request."""
        return cast("Json", (await self._ask("POST", "/v1/cancellations", json=asked))["data"])

    async def runs_of(self, event_id: str) -> list[Json]:
        """The runs that an event started; none as well when there is no such event."""
        try:
            return cast("list[Json]", (await self._ask("GET", f"/v1/events/{event_id}/runs"))["data"])
        except ApiError as error:
            if error.status == 404:
                return []
            raise

    async def rerun(self, run_id: str, wanted: Json) -> Json:
        """Begin a run anew: the ids of both."""
        return cast("Json", (await self._ask("POST", f"/v1/runs/{run_id}/rerun", json=wanted))["data"])

    async def apps(self) -> list[Json]:
        """Every app that is registered."""
        return cast("list[Json]", (await self._ask("GET", "/v1/apps"))["data"])

    async def workers(self) -> list[Json]:
        """Every process of the platform."""
        return cast("list[Json]", (await self._ask("GET", "/v1/workers"))["data"])

    async def functions(self, app: str) -> list[str]:
        """The ids of an app's functions."""
        try:
            response = await self._client.get(f"/v1/apps/{quote(app, safe='')}/functions")
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        found: object = response.json() if response.status_code == 200 else []
        return [str(each["id"]) for each in cast("list[Json]", found)]

    async def all_functions(self) -> list[Json]:
        """Every function of every app, and whether it is paused."""
        return cast("list[Json]", (await self._ask("GET", "/v1/functions"))["data"])

    async def pausing(self, function_id: str, verb: str, wanted: Json) -> Json:
        """``pause`` or ``resume`` a function: how it is now."""
        path = f"/v1/functions/{quote(function_id, safe='')}/{verb}"
        return cast("Json", (await self._ask("POST", path, json=wanted))["data"])

    async def body(self, ref: str) -> AsyncGenerator[bytes]:
        """A body that is kept beside the state, part by part."""
        try:
            async with self._client.stream("GET", f"/v1/bodies/{ref}") as response:
                if response.status_code != 200:
                    raise ApiError(
                        f"The response's body can not be read (HTTP {response.status_code}).", response.status_code
                    )
                async for part in response.aiter_bytes():
                    yield part
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    async def _ask(
        self,
        method: str,
        path: str,
        json: Json | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        return _answer(await self._response(method, path, json=json, params=params, headers=headers))

    async def _response(self, method: str, path: str, **asked: Any) -> httpx2.Response:
        try:
            return await self._client.request(method, path, **asked)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> NotRunning:
        if isinstance(error, httpx2.TimeoutException):
            return NotRunning(f"The platform at {self.address} did not answer in time.")
        return NotRunning(
            f"No platform answers at {self.address}; start one with `stepwell dev`, or name one with --url."
        )


class ApiError(CliError):
    """The platform refused. What it could not read (400) was a wrong call."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, 2 if status == 400 else 1)
        self.status = status


def _answer(response: httpx2.Response) -> Json:
    try:
        value: object = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError(f"What answers at {response.url.host}:{response.url.port or 80} is not a Stepwell platform.", 0)
    answer = cast("Json", value)
    if response.status_code == 401 and "authorization" not in response.request.headers:
        raise ApiError(
            f"{response.url.host}:{response.url.port or 80} asks for its signing key: set STEPWELL_SIGNING_KEY.", 401
        )
    if response.status_code >= 400:
        raise ApiError(
            str(answer.get("error") or f"The platform answered HTTP {response.status_code}."), response.status_code
        )
    return answer


@asynccontextmanager
async def remote(settings: Settings, url: str) -> AsyncGenerator[Platform]:
    """The platform at ``url``."""
    async with httpx2.AsyncClient(base_url=url, headers=_auth(settings), timeout=_TIMEOUT_S, trust_env=False) as client:
        yield Platform(client, settings)


async def is_running(settings: Settings) -> bool:
    """Whether a Stepwell platform answers on this machine, at the port of the settings."""
    try:
        async with httpx2.AsyncClient(timeout=_PROBE_S, trust_env=False) as client:
            response = await client.get(f"{settings.url}/health")
            return cast("Json", response.json()).get("product") == "stepwell"
    except (httpx2.HTTPError, ValueError, AttributeError):
        return False


def _auth(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {hashed_key(settings.signing_key)}"} if settings.signing_key else {}
