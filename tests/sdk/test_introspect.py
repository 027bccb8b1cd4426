"""What the SDK reads of asyncio's inside, on this Python; and what it concludes."""

import asyncio
import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import stepwell
from stepwell.sdk.drivers import introspect, places
from stepwell.sdk.drivers.places import Place, place
from stepwell.sdk.drivers.timers import Timers
from stepwell.sdk.drivers.waits import Owned, Wait
from stepwell.sdk.machine import Machine
from tests.sdk.fake_engine import Engine
from tests.sdk.play import LOOPS, on_loop


@pytest.fixture(params=sorted(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    return request.param


async def parked(awaitable: Any) -> asyncio.Task[Any]:
    async def main() -> Any:
        return await awaitable

    task = asyncio.create_task(main())
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def look(make: Callable[[Owned], Any]) -> Wait:
    owned = Owned(Timers(Machine()))
    task = await parked(make(owned))
    owned.active[task] = None
    try:
        return owned.look()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def own(owned: Owned) -> asyncio.Task[Any]:
    """A task of the run that is parked on a step."""
    task = asyncio.ensure_future(asyncio.get_running_loop().create_future())
    if not isinstance(task, asyncio.Task):
        task = asyncio.create_task(forever())
    owned.parked[task] = None
    return task


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def from_generator(future: Any) -> Any:
    async def items() -> Any:
        yield await future

    async for item in items():
        return item
    return None


async def read_stream() -> None:
    reader = asyncio.StreamReader()
    await reader.read(1)


async def locked() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


async def full() -> None:
    await asyncio.Semaphore(0).acquire()


async def group(owned: Owned) -> None:
    async with asyncio.TaskGroup() as tasks:
        owned.parked[tasks.create_task(forever())] = None


async def any_group(owned: Owned) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forever)


async def as_completed(owned: Owned) -> None:
    for each in asyncio.as_completed([own(owned)]):
        await each


def installed(file: str, body: str = "return await ctx.step.run('a', lambda: 1)") -> Any:
    """A function of an installed package."""
    found: dict[str, Any] = {"anyio": anyio, "asyncio": asyncio}
    text = f"async def handler(ctx):\n    {body}"
    exec(compile(text, os.path.join("x", "site-packages", file), "exec"), found)
    return found["handler"]


def in_library(body: str) -> Callable[[Owned], Any]:
    return installed(os.path.join("library", "inside.py"), body)


STREAM = """
    send, receive = anyio.create_memory_object_stream(1)
    with send, receive:
        await receive.receive()
"""


CASES: list[tuple[str, Callable[[Owned], Any], Wait]] = [
    ("gather", lambda owned: asyncio.gather(own(owned), own(owned)), Wait.EXPLAINED),
    ("gather of a foreign future", lambda owned: asyncio.gather(own(owned), forever_future()), Wait.UNKNOWN),
    ("wait", lambda owned: asyncio.wait([own(owned)]), Wait.EXPLAINED),
    ("wait_for", lambda owned: asyncio.wait_for(own(owned), 100), Wait.EXPLAINED),
    ("shield", lambda owned: asyncio.shield(own(owned)), Wait.EXPLAINED),
    ("shielded gather", lambda owned: asyncio.shield(asyncio.gather(own(owned))), Wait.EXPLAINED),
    ("task", own, Wait.EXPLAINED),
    ("TaskGroup", group, Wait.EXPLAINED),
    ("anyio task group", any_group, Wait.EXPLAINED),
    ("as_completed", as_completed, Wait.EXPLAINED),
    ("lock", lambda owned: locked(), Wait.EXPLAINED),
    ("semaphore", lambda owned: full(), Wait.EXPLAINED),
    ("event", lambda owned: asyncio.Event().wait(), Wait.UNKNOWN),
    ("queue", lambda owned: asyncio.Queue[int]().get(), Wait.UNKNOWN),
    ("plain future", lambda owned: forever_future(), Wait.UNKNOWN),
    ("async generator", lambda owned: from_generator(forever_future()), Wait.UNKNOWN),
    ("stream", lambda owned: read_stream(), Wait.REAL),
    ("stream in an async generator", lambda owned: from_generator(read_stream()), Wait.REAL),
    ("sleep", lambda owned: asyncio.sleep(0.5), Wait.REAL),
    ("thread", lambda owned: asyncio.to_thread(time.sleep, 0.1), Wait.REAL),
    ("executor", lambda owned: asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.1), Wait.REAL),
    ("foreign task", lambda owned: asyncio.create_task(forever()), Wait.LIBRARY),
    ("anyio thread", lambda owned: anyio.to_thread.run_sync(time.sleep, 0.1, abandon_on_cancel=True), Wait.LIBRARY),
    ("anyio event", lambda owned: anyio.Event().wait(), Wait.UNKNOWN),
    ("anyio event in a library", in_library("await anyio.Event().wait()"), Wait.INSIDE),
    ("anyio stream in a library", in_library(STREAM), Wait.INSIDE),
    ("event in a library", in_library("await asyncio.Event().wait()"), Wait.LIBRARY),
    ("queue in a library", in_library("await asyncio.Queue().get()"), Wait.INSIDE),
]


def forever_future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_why_a_task_waits(make: Any, expected: Wait, loop_name: str) -> None:
    assert on_loop(lambda: look(make), loop_name) is expected


def test_a_connection_of_anyios_in_a_library() -> None:
    async def main() -> Wait:
        with socket.create_server(("127.0.0.1", 0)) as server:
            stream = await anyio.connect_tcp(*server.getsockname())
            async with stream:
                return await look(lambda owned: installed("library.py", "await ctx.receive()")(stream))

    assert on_loop(main) is Wait.LIBRARY


def test_a_task_that_is_about_to_run() -> None:
    async def main() -> Wait:
        owned = Owned(Timers(Machine()))
        task = asyncio.create_task(asyncio.sleep(0))
        owned.active[task] = None
        found = owned.look()
        await task
        return found

    assert on_loop(main) is Wait.RUNNING


def test_ended_tasks_are_forgotten() -> None:
    async def main() -> None:
        owned = Owned(Timers(Machine()))
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        owned.active[task] = None
        assert owned.look() is Wait.RUNNING
        assert owned.look() is Wait.EXPLAINED
        assert not owned.active

    on_loop(main)


async def test_frames_go_down_to_the_one_that_waits() -> None:
    async def inner() -> None:
        await forever_future()

    task = await parked(inner())
    names = [code.co_name for code, _ in introspect.frames(task)]
    assert names[-2:] == ["main", "inner"]
    assert introspect.waiter(task) is not None
    task.cancel()


def test_places() -> None:
    assert place(test_places.__code__) is Place.USER
    assert place(asyncio.sleep.__code__) is Place.SLEEP
    assert place(asyncio.Queue.get.__code__) is Place.QUEUE
    assert place(asyncio.Event.wait.__code__) is Place.SYNC
    assert place(asyncio.Lock.acquire.__code__) is Place.LOCK
    assert place(asyncio.StreamReader.read.__code__) is Place.IO
    assert place(pytest.main.__code__) is Place.LIBRARY


def test_an_app_that_is_installed_is_no_library() -> None:
    jobs, helper = installed(os.path.join("shop", "jobs.py")), installed(os.path.join("shop", "parts", "helper.py"))
    module, others = installed("single.py"), [installed(os.path.join("shopping", "a.py")), installed("singles.py")]
    before = [place(code.__code__) for code in (jobs, helper, module, *others)]
    for handler in (jobs, module, functools.partial(jobs), Callback()):
        places.is_app(handler)
    after = [place(code.__code__) for code in (jobs, helper, module, *others)]
    assert before == [Place.LIBRARY] * 5
    assert after == [Place.USER] * 3 + [Place.LIBRARY] * 2


def test_executing_a_function_tells_of_its_app() -> None:
    bake = installed(os.path.join("bakery", "jobs.py"))
    assert on_loop(lambda: Engine(bake).run()) == 1
    assert place(bake.__code__) is Place.USER


class Callback:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


WAITING = """
import asyncio
from stepwell.sdk.drivers.timers import Timers
from stepwell.sdk.drivers.waits import Owned
from stepwell.sdk.failures import without_exit
from stepwell.sdk.machine import Machine

async def main():
    owned = Owned(Timers(Machine()))
    task = asyncio.create_task(without_exit(asyncio.Event().wait()))
    await asyncio.sleep(0)
    owned.active[task] = None
    print(owned.look().name)
    task.cancel()

asyncio.run(main())
"""


def test_the_sdk_that_is_installed_is_no_library(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "stepwell").symlink_to(Path(stepwell.__file__).parent, target_is_directory=True)
    env = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(
        [sys.executable, "-c", WAITING], check=False, env=env, capture_output=True, text=True, timeout=50
    )
    assert (done.stdout, done.stderr) == ("UNKNOWN\n", "")


def test_a_task_that_does_not_show_its_exception_may_have_one() -> None:
    class Foreign:
        def done(self) -> bool:
            return True

        def cancelled(self) -> bool:
            return False

    task: Any = Foreign()
    assert not introspect.returned(task)
    task._exception = None
    assert introspect.returned(task)


async def test_only_a_few_of_the_next_callbacks_are_shown() -> None:
    loop = asyncio.get_running_loop()
    assert introspect.queued(loop) == []
    loop.call_soon(print_nothing)
    found = introspect.queued(loop)
    assert found is not None
    assert [callback for callback, _ in found] == [print_nothing]
    for _ in range(100):
        loop.call_soon(print_nothing)
    assert introspect.queued(loop) is None


def print_nothing() -> None:
    pass
