"""``always_replay``: what is not deterministic fails with an error that says so, what is goes its way."""

import uuid
from pathlib import Path

import pytest

import stepwell


@pytest.mark.parametrize("sync", [False, True])
async def test_a_random_step_id_is_named(tmp_path: Path, sync: bool) -> None:
    client = stepwell.Client("shop", is_production=False)
    trigger = stepwell.TriggerEvent(event="order")

    if sync:

        @client.create_function(fn_id="f", trigger=trigger, retries=0)
        def f(ctx: stepwell.ContextSync) -> int:
            return ctx.step.run(f"charge {uuid.uuid4()}", lambda: 1)
    else:

        @client.create_function(fn_id="f", trigger=trigger, retries=0)
        async def g(ctx: stepwell.Context) -> int:
            return await ctx.step.run(f"charge {uuid.uuid4()}", lambda: 1)

    @client.create_function(fn_id="good", trigger=trigger)
    async def good(ctx: stepwell.Context) -> list[int]:
        return [await ctx.step.run("n", lambda i=i: i) for i in range(3)]

    async with stepwell.embedded(client, db=f"sqlite:///{tmp_path / 'p.db'}", always_replay=True) as platform:
        ended = {each.function_id: each for each in await platform.send_and_wait("order", timeout=20)}
    assert ended["shop-good"].output == [0, 1, 2]
    assert ended["shop-f"].status == "failed"
    assert "left the recorded path" in ended["shop-f"].output["message"]
    assert "came to 'charge " in ended["shop-f"].output["message"]
