"""The example that hands failed runs on, against a log intake that is away at first."""

import asyncio
import importlib.util
import json
from pathlib import Path

import pytest

import stepwell
from stepwell.embed import embedded
from tests.examples.test_examples_unit import FOLDER
from tests.telemetry.receivers import Flaky, serving

shop = stepwell.Client(app_id="shop")


@shop.create_function(fn_id="pay", trigger=stepwell.TriggerEvent(event="shop/pay"), retries=0)
async def pay(ctx: stepwell.Context) -> None:
    raise ValueError("no money")


async def test_a_failed_run_arrives_at_the_intake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = Flaky()
    with serving(intake.handle) as url:
        monkeypatch.setenv("LOG_INTAKE", f"{url}/logs")
        spec = importlib.util.spec_from_file_location("forward_failures", FOLDER / "forward_failures.py")
        assert spec is not None
        assert spec.loader is not None
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        db = f"sqlite:///{tmp_path}/f.db"
        async with embedded([shop, example.client], db=db, retry_interval=0.01) as platform:
            (failed,) = await platform.send_and_wait("shop/pay")
            async with asyncio.timeout(20):
                while len(intake.seen) < 2:
                    await asyncio.sleep(0.01)
    record = json.loads(intake.seen[1])
    assert record == json.loads(intake.seen[0])
    assert (record["run_id"], record["error"], record["message"]) == (
        failed.run_id,
        "ValueError",
        "shop-pay failed: no money",
    )
