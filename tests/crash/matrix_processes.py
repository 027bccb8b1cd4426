"""The processes of a cell: platforms and apps that are told when to fall, and what can be asked of them."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from stepwell.testing.platform.crash_points import Crash
from stepwell.wire.signing import hashed_key
from tests.crash.matrix_places import SEAL, Place
from tests.crash.nursery import Birth, Nursery
from tests.ports import free_port

KEY = "signkey-prod-" + "ab" * 32
KEYS = {"STEPWELL_SIGNING_KEY": KEY, "STEPWELL_EVENT_KEY": "test", "STEPWELL_ENCRYPTION_KEY": SEAL}
AUTHORIZED = {"authorization": f"Bearer {hashed_key(KEY)}"}
APP = Path(__file__).with_name("matrix_app.py")
WAIT_S = 40.0
"""For whatever has to come. Costs nothing when all is well."""

Json = dict[str, Any]


async def until(condition: Callable[[], Awaitable[bool]], logs: list[Path], seconds: float = WAIT_S) -> None:
    """Wait until the coroutine function says yes."""
    end = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > end:
            told = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs if log.exists())
            raise TimeoutError(f"not within {seconds:g} s; the logs end with:\n{told}")
        await asyncio.sleep(0.02)


class Process:
    """One process out of the nursery, with files of its own in ``folder``."""

    def __init__(self, nursery: Nursery, folder: Path, name: str, crash: Crash | None = None) -> None:
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.told = folder / f"{name}.told"
        self.crash = Crash(told=str(self.told)) if crash is None else crash
        self._nursery = nursery
        self._pid = 0

    def begin(self, argv: list[str], env: dict[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("STEPWELL_", "INNGEST_"))}
        birth = Birth(argv=argv, env={**clean, **env}, log=str(self.log), crash=self.crash)
        self._pid = self._nursery.bear(birth)

    @property
    def state(self) -> str:
        """As the system has it: T is stopped; empty: gone."""
        try:
            return Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def signal(self, number: signal.Signals) -> None:
        if self.state:
            os.kill(self._pid, number)

    async def fallen(self) -> str:
        """Wait until it has done what it was armed for: what it was about then."""
        wanted = "T" if self.crash.signal == signal.SIGSTOP else ""

        async def down() -> bool:
            assert self.state or not wanted, "it ended, and should have stalled"
            return self.told.exists() and self.state == wanted

        await until(down, [self.log])
        return self.told.read_text().rstrip("\n")

    async def stop(self) -> None:
        """Have it end, and wait until it has."""
        self.signal(signal.SIGTERM)

        async def gone() -> bool:
            return not self.state

        await until(gone, [self.log])


class Server(Process):
    """A ``stepwell serve`` on a database."""

    def __init__(self, nursery: Nursery, folder: Path, name: str, place: Place, crash: Crash | None = None) -> None:
        super().__init__(nursery, folder, name, crash)
        self._place = place
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, *more: str, **env: str) -> None:
        argv = ["serve", "--port", str(self.port), "--allow", "127.0.0.0/8", "--retry-interval", "50ms"]
        self.begin([*argv, *more], {**KEYS, **self._place.env, **env})

    async def ready(self) -> None:
        """Wait until it knows the functions."""

        async def knows() -> bool:
            assert self.state, self.log.read_text()
            try:
                return "matrix-work" in str(await self.get("/v1/apps/matrix/functions"))
            except (aiohttp.ClientError, ValueError):
                return False

        await until(knows, [self.log])

    async def get(self, path: str) -> Any:
        """The JSON behind a path."""
        async with aiohttp.ClientSession(headers=AUTHORIZED) as session, session.get(self.url + path) as response:
            return await response.json()

    async def send(self, event: Json) -> bool:
        """Whether the event was accepted: 200 means that it is stored."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{self.url}/e/test", json=event) as response,
            ):
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def statuses(self) -> dict[str, str]:
        """Of every run."""
        return {run["run_id"]: run["status"].lower() for run in (await self.get("/v1/runs?limit=100"))["data"]}


class App(Process):
    """The functions alone, behind HTTP."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/stepwell"

    def start(self, platform: str = "") -> None:
        self.begin(["app", str(self.port)], KEYS | ({"STEPWELL_BASE_URL": platform} if platform else {}))

    async def register(self) -> None:
        """Have it tell the platform that its functions are here from now on."""
        async with aiohttp.ClientSession() as session, session.put(self.url) as response:
            assert response.status == 200, await response.text()

    async def answers(self) -> None:
        """Wait until somebody listens there."""

        async def there() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(self.url):
                    return True
            except aiohttp.ClientError:
                return False

        await until(there, [self.log])
