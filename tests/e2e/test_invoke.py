"""Functions that call functions, and the events of a run's end."""

import asyncio
from pathlib import Path

import pytest

import stepwell
from stepwell.embed import Embedded

client = stepwell.Client(app_id="family")
ended: list[tuple[str, str]] = []


@client.create_function(fn_id="child", trigger=[], retries=0)
async def child(ctx: stepwell.Context) -> int:
    number = int(str(ctx.event.data["n"]))
    if number < 0:
        raise stepwell.NonRetriableError("negative")
    if number > 100:
        await ctx.step.sleep("long", "1h")
    return await ctx.step.run("double", lambda: number * 2)


@client.create_function(fn_id="parent", trigger=stepwell.TriggerEvent(event="parent"))
async def parent(ctx: stepwell.Context) -> object:
    numbers = [int(str(n)) for n in ctx.event.data["numbers"]]
    return await asyncio.gather(*(ctx.step.invoke(f"child {n}", function=child, data={"n": n}) for n in numbers))


@client.create_function(fn_id="careful", trigger=stepwell.TriggerEvent(event="careful"))
async def careful(ctx: stepwell.Context) -> str:
    try:
        await ctx.step.invoke_by_id(
            "call", function_id=str(ctx.event.data["who"]), data={"n": ctx.event.data["n"]}, timeout=50
        )
    except stepwell.StepError as error:
        return f"{error.name}: {error}"
    return "fine"


@client.create_function(fn_id="sync", trigger=stepwell.TriggerEvent(event="sync"))
def sync(ctx: stepwell.ContextSync) -> object:
    return ctx.step.invoke("child", function=child, data={"n": 4})


async def note_failure(ctx: stepwell.Context) -> None:
    error = ctx.event.data["error"]
    assert isinstance(error, dict)
    ended.append((str(ctx.event.data["function_id"]), str(error["message"])))


@client.create_function(
    fn_id="doomed", trigger=stepwell.TriggerEvent(event="doomed"), retries=0, on_failure=note_failure
)
async def doomed(ctx: stepwell.Context) -> None:
    raise RuntimeError("no luck")


@pytest.fixture
async def platform(tmp_path: Path):
    async with stepwell.embedded(client, db=f"sqlite:///{tmp_path / 'p.db'}") as running:
        yield running


async def test_children_in_parallel(platform: Embedded) -> None:
    [result] = await platform.send_and_wait("parent", {"numbers": [1, 2, 3]}, timeout=20)
    assert result.output == [2, 4, 6]


async def test_from_a_sync_function(platform: Embedded) -> None:
    [result] = await platform.send_and_wait("sync", timeout=20)
    assert result.output == 8


@pytest.mark.parametrize(
    ("who", "n", "said"),
    [
        ("child", -1, "NonRetriableError: negative"),
        ("nobody", 1, "Error: could not find function with ID: family-nobody"),
        ("child", 101, "InngestInvokeTimeoutError: Timed out waiting for invoked function to complete"),
        ("child", 1, "fine"),
    ],
)
async def test_what_the_caller_learns(platform: Embedded, who: str, n: int, said: str) -> None:
    [result] = await platform.send_and_wait("careful", {"who": who, "n": n}, timeout=20)
    assert result.output == said


async def test_a_failure_handler_gets_the_error(platform: Embedded) -> None:
    ended.clear()
    [result] = await platform.send_and_wait("doomed", timeout=20)
    assert result.status == "failed"
    async with asyncio.timeout(30):
        while not ended:
            await asyncio.sleep(0.01)
    assert ended == [("family-doomed", "no luck")]
