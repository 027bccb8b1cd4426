"""Production mode against the protocol's sections 0.1, 0.2 and 1.1 to 1.3: keys, kinds, syncs, and what is taken in."""

import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from stepwell import Client, Context, TriggerEvent
from stepwell.server.settings import Settings
from stepwell.server.syncing import NotAnApp, sync_app
from stepwell.wire.signing import hashed_key, sign
from tests.e2e.ugly import SDK, Answer, Call, api, bare, finish, platform, returned, sdk_app, sync

KEY = "signkey-prod-" + "ab" * 32
OLD = "signkey-prod-" + "cd" * 32
OTHER = "signkey-prod-" + "ef" * 32
CLOUD: dict[str, Any] = {"kind": "cloud", "signing_key": KEY, "signing_key_fallback": OLD, "event_keys": ("e1", "e2")}
AUTH = {"authorization": f"Bearer {hashed_key(KEY)}"}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def without_prefix(key: str) -> str:
    return key.removeprefix("signkey-prod-")


FORMS = {
    "hashed": lambda key: bearer(hashed_key(key)),
    "hashed, without prefix": lambda key: bearer(without_prefix(hashed_key(key))),
    "raw": bearer,
    "raw, without prefix": lambda key: bearer(without_prefix(key)),
    "lower-case scheme": lambda key: {"authorization": f"bearer {hashed_key(key)}"},
}


@pytest.mark.parametrize("form", FORMS)
async def test_both_keys_in_every_form_open_the_api(form: str, tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        for key, expected in ((KEY, 200), (OLD, 200), (OTHER, 401)):
            status, headers, said = await api(running, "GET", "/v1/runs", headers=FORMS[form](key))
            assert status == expected
            assert headers["x-inngest-server-kind"] == "cloud"
            assert expected == 200 or said == {"error": said["error"], "status": 401, "data": None}


async def test_events_need_one_of_the_keys(tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        for key in ("e1", "e2"):
            status, _, said = await api(
                running, "POST", f"/e/{key}", json={"name": "a"}, headers={"x-inngest-env": "b"}
            )
            assert (status, said["status"], len(said["ids"])) == (200, 200, 1)
        async with aiohttp.ClientSession() as session, session.post(f"{running.url}/e/e3", data=b"{}") as answer:
            assert answer.status == 401
            assert await answer.read() == b'{"status":401,"message":"","error":"Event key not found"}'
            assert answer.headers["x-inngest-server-kind"] == "cloud"
        assert (await api(running, "GET", "/dev"))[0] == 404
        assert (await api(running, "GET", "/health"))[2] == {
            "status": 200,
            "message": "OK",
            "product": "stepwell",
            "version": "0.1.0",
            "kind": "cloud",
        }


def signing(key: str | None, *, stream: bool = False) -> Answer:
    """An app whose answers are signed."""

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        body = b'"from the app"'
        headers = dict(SDK)
        if key is not None:
            headers["x-inngest-signature"] = sign(body, key, int(time.time()))
        if not stream:
            return web.Response(body=body, headers=headers)
        envelope = msgspec.json.encode({"status": 200, "headers": headers, "body": body.decode()})
        return web.Response(status=201, body=b"   " + envelope, headers={"x-inngest-sdk": "bare:v1"})

    return answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("key", [KEY, OLD, None])
async def test_answers_signed_with_our_keys_are_taken(key: str | None, stream: bool, tmp_path: Path) -> None:
    async with bare(tmp_path, signing(key, stream=stream), **CLOUD) as rig:
        assert (await rig.run()).output == "from the app"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_signed_with_another_key_is_none_of_the_apps(stream: bool, tmp_path: Path) -> None:
    async with bare(tmp_path, signing(OTHER, stream=stream), retries=1, **CLOUD) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert "signed with another key" in result.output["message"]
        assert len(rig.endpoint.calls) == 2, "it is tried again: somebody may have stood in between"


async def test_an_app_that_has_the_old_key_only_is_called_with_it(tmp_path: Path) -> None:
    client = Client("old", is_production=True, signing_key=OLD, event_key="e1")

    @client.create_function(fn_id="f", trigger=TriggerEvent("go"), retries=0)
    async def f(ctx: Context) -> str:
        return await ctx.step.run("one", lambda: "done")

    async with platform(tmp_path, **CLOUD) as running, sdk_app(client) as url:
        await sync(running, client, url)
        assert (await finish(running, await running.send("go", {}))).output == "done"


@pytest.mark.parametrize("key", [KEY, OLD, OTHER])
async def test_in_band_sync_is_signed_both_ways(key: str, tmp_path: Path) -> None:
    client = Client("inband", is_production=True, signing_key=key, event_key="e1")
    client.create_function(fn_id="f", trigger=TriggerEvent("go"))(noop)
    settings = Settings(**CLOUD)
    async with sdk_app(client) as url, aiohttp.ClientSession() as session:
        if key == OTHER:
            with pytest.raises(NotAnApp, match="both sides need the same signing key"):
                await sync_app(session, url, settings)
            return
        synced = await sync_app(session, url, settings)
        assert synced.mode == "in_band"
        assert synced.registration is not None
        assert [each.id for each in synced.registration.functions] == ["inband-f"]


async def noop(ctx: Context) -> None:
    pass


async def test_an_in_band_answer_signed_with_another_key_registers_nothing() -> None:
    async def put(request: web.Request) -> web.Response:
        body = b'{"app_id":"x","functions":[]}'
        headers = {**SDK, "x-inngest-sync-kind": "in_band", "x-inngest-signature": sign(body, OTHER, int(time.time()))}
        return web.Response(body=body, headers=headers)

    from aiohttp.test_utils import TestServer

    app = web.Application()
    app.router.add_put("/api", put)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        with pytest.raises(NotAnApp, match="signed with another key"):
            await sync_app(session, str(server.make_url("/api")), Settings(**CLOUD))


def registration(url: str, *functions: dict[str, Any]) -> dict[str, Any]:
    return {"appName": "shop", "url": url, "sdk": "js:v4.24.0", "v": "0.1", "functions": list(functions)}


def function(name: str, **members: Any) -> dict[str, Any]:
    runtime = {"type": "http", "url": f"http://localhost:3000/api?fnId=shop-{name}&stepId=step"}
    step = {"id": "step", "name": "step", "runtime": runtime}
    return {"id": f"shop-{name}", "name": name, "triggers": [{"event": name}], "steps": {"step": step}, **members}


async def test_a_registration_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """One bad function refuses it all; what is missing from a later one is archived; the same again changes nothing."""
    url = "http://localhost:3000/api"
    async with platform(tmp_path, **CLOUD) as running:

        async def register(*functions: dict[str, Any], **headers: str) -> tuple[int, Any]:
            body = registration(url, *functions)
            status, _, said = await api(running, "POST", "/fn/register", json=body, headers={**AUTH, **headers})
            return status, said

        async def known() -> list[str]:
            status, _, said = await api(running, "GET", "/v1/apps/shop/functions", headers=AUTH)
            return [each["id"] for each in said] if status == 200 else []

        status, said = await register(function("a"), function("b"))
        assert (status, said["ok"], said["modified"]) == (200, True, True)
        for bad in (
            function("c", triggers=[{"event": "x", "expression": "event.data ==="}]),
            function("c", triggers=[{"cron": "never"}]),
        ):
            status, said = await register(function("a"), bad)
            assert (status, said["status"], said["data"]) == (400, 400, None)
            assert "shop-c" in said["error"]
            assert await known() == ["shop-a", "shop-b"]
        assert (await register(function("a"), function("b")))[1]["modified"] is False
        assert (await register(function("b")))[1]["modified"] is True
        assert await known() == ["shop-b"]
        status, _, _ = await api(running, "POST", "/e/e1", json={"name": "a"})
        assert (await api(running, "GET", "/v1/runs", headers=AUTH))[2]["data"] == []
        status, said = await register()
        assert (status, said["modified"]) == (200, True)
        (app,) = (await api(running, "GET", "/v1/apps", headers=AUTH))[2]["data"]
        assert (app["name"], app["functions"], app["archived"]) == ("shop", 0, True)


@pytest.mark.parametrize(("kind", "status"), [("cloud", 200), ("CLOUD", 200), ("dev", 400), ("other", 400)])
async def test_an_app_of_the_other_kind_is_refused(kind: str, status: int, tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        headers = {**AUTH, "x-inngest-expected-server-kind": kind}
        body = registration("http://localhost:3000/api", function("a"))
        answered, _, said = await api(running, "POST", "/fn/register?deployId=d1", json=body, headers=headers)
        assert answered == status
        assert status == 200 or (said["code"], said["status"]) == ("server_kind_mismatch", 400)


async def test_a_function_is_invoked_by_its_id(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned([call["event"]["name"], call["event"]["data"]["n"], call["event"]["data"]["_inngest"]["fn_id"]])

    async with bare(tmp_path, answer, **CLOUD) as rig:
        path = "/invoke/bare-f"
        assert (await api(rig.platform, "POST", path, json={}))[0] == 401
        seed = {"x-inngest-event-id-seed": "1743130137367,eii2YKXRVTJPuA==", **AUTH}
        status, _, said = await api(rig.platform, "POST", path, json={"data": {"n": 4}}, headers=seed)
        assert (status, said["status"], said["id"]) == (200, 200, "01JQDAE4RQF8MBCR55T5AK4KXR")
        assert (await finish(rig.platform, said["id"])).output == ["inngest/function.invoked", 4, "bare-f"]
        assert (await api(rig.platform, "POST", path, json={"data": {"n": 4}}, headers=seed))[0] == 200
        assert len(rig.endpoint.calls) == 1, "the same event starts no second run"
        assert (await api(rig.platform, "POST", "/invoke/none", json={}, headers=AUTH))[0] == 404
        status, _, said = await api(rig.platform, "POST", path, data=b"[1]", headers=AUTH)
        assert (status, said["status"]) == (400, 400)


async def test_what_sdks_report_is_taken(tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        assert (await api(running, "POST", "/v1/traces/userland", data=b"\x00otlp"))[0] == 401
        assert (await api(running, "POST", "/v1/traces/userland", data=b"\x00otlp", headers=AUTH))[0] == 200
        assert (await api(running, "POST", "/v0/telemetry", json={"eventName": "x"}))[0] == 200


async def test_the_401_of_the_npm_sdk_is_known_although_it_names_no_sdk(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"code": "internal_server_error"}, status=401, headers={"x-inngest-sdk-handled": "true"}
        )

    async with bare(tmp_path, answer, retries=0, **CLOUD) as rig:
        result = await rig.run()
        assert "status 401: the app did not accept the signature" in result.output["message"]
        assert len(rig.endpoint.calls) == 2, "with each of the two keys"
