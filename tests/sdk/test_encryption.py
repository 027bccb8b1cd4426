"""The encryption middleware where it goes beyond the packages that it is compatible with, and its errors."""

import json
import logging
from typing import Any

import msgspec
import pytest

import stepwell
from stepwell import Client, ConfigError, Event, TriggerEvent
from stepwell.encryption import Cipher, DecryptionError, EncryptionMiddleware
from stepwell.sdk.drivers.aio import Executor
from stepwell.wire.calls import CallRequest
from stepwell.wire.ids import step_hash

KEY = "k" * 20
CIPHER = Cipher(KEY)
SECRET = "what nobody may see"


def client(**options: Any) -> Client:
    logger = logging.getLogger("encryption")
    middleware = [EncryptionMiddleware.factory(KEY, **options)]
    return Client("app", is_production=False, middleware=middleware, logger=logger)


async def call(app: Client, event: Any, steps: dict[str, Any] | None = None) -> Any:
    memos = {step_hash(key, 0): json.dumps(memo).encode() for key, memo in (steps or {}).items()}
    executor = Executor(app)
    answer = await executor.execute(
        CallRequest(
            function_id="app-f",
            run_id="r",
            events=[json.dumps(event).encode()],
            steps=memos,
            stack=list(memos),
            current=len(memos),
        )
    )
    await executor.close()
    return answer


async def test_events_that_steps_waited_for_and_those_of_the_platform_are_in_clear() -> None:
    app = client(decrypt_only=True)

    @app.create_function(fn_id="f", trigger=TriggerEvent("inngest/function.failed"))
    async def f(ctx: Any) -> Any:
        got = await ctx.step.wait_for_event("w", event="x", timeout="1s")
        return [got.data, ctx.event.data]

    hidden = {"encrypted": CIPHER.encrypt(SECRET), "plain": 1}
    shown = {"encrypted": SECRET, "plain": 1}
    inner = {"name": "go", "data": hidden}
    event = {
        "name": "inngest/function.failed",
        "data": {"event": inner, "events": [inner], "result": CIPHER.encrypt([SECRET])},
    }
    answer = await call(app, event, {"w": {"name": "x", "id": "1", "ts": 1, "data": hidden}})
    got, failed = msgspec.json.decode(answer.data)
    assert got == shown
    assert failed["event"]["data"] == failed["events"][0]["data"] == shown
    assert failed["result"] == [SECRET]


async def test_a_key_that_does_not_fit_is_an_error_that_is_tried_again() -> None:
    app = client()

    @app.create_function(fn_id="f", trigger=TriggerEvent("go"))
    async def f(ctx: Any) -> Any: ...

    answer = await call(app, {"name": "go", "data": {"encrypted": Cipher("other").encrypt(SECRET)}})
    assert answer.no_retry is False
    assert answer.error.message == (
        "the middleware EncryptionMiddleware failed in transform_input: DecryptionError: " + str(DecryptionError())
    )


async def test_a_whole_run_and_its_children_with_everything_encrypted() -> None:
    sender = client()

    @sender.create_function(fn_id="child", trigger=[])
    async def child(ctx: Any) -> Any:
        return ctx.event.data["encrypted"]

    @sender.create_function(fn_id="f", trigger=TriggerEvent("go"), retries=0)
    async def f(ctx: Any) -> Any:
        one = await ctx.step.run("one", lambda: [SECRET, ctx.event.data["encrypted"]])
        await ctx.step.sleep("nap", "1ms")
        many = await ctx.group.parallel(
            [lambda n=n: ctx.step.invoke(f"call {n}", function=child, data={"encrypted": SECRET}) for n in range(2)]
        )
        await ctx.step.send_event("send", Event(name="other", data={"encrypted": SECRET}))
        assert [*one, *many] == [SECRET] * 4
        return {"all": SECRET}

    async with stepwell.embedded(sender, db="memory:") as platform:
        (event_id,) = await sender.send(Event(name="go", data={"encrypted": SECRET}))
        (run,) = await platform.wait(event_id)
        assert run.status == "completed", run.output
        assert CIPHER.decrypt(run.output) == {"all": SECRET}


@pytest.mark.parametrize(("key", "words"), [("", "needs a key"), (b"\x01" * 32, "64 hex digits"), (b"00", "64 hex")])
def test_what_is_no_key_is_refused(key: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EncryptionMiddleware.factory(key)
