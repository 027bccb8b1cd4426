"""The real Slack SDK, its async client on aiohttp, made durable, against a server that speaks its API."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

import stepwell
from stepwell.transports.aiohttp import durable_session


class Slack:
    """The local server, and what it saw."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, Any, dict[str, str]]] = []
        self.busy = 2

    async def answer(self, request: web.Request) -> web.Response:
        form: Any = dict(await request.post()) or await request.read()
        if request.content_type == "application/json":
            form = await request.json()
        self.seen.append((request.path, form, {name.lower(): value for name, value in request.headers.items()}))
        return getattr(self, request.path.rpartition("/")[2].replace(".", "_"))(request, form)

    def chat_postMessage(self, _request: web.Request, form: Any) -> web.Response:  # noqa: N802
        if form["channel"] == "#gone":
            return web.json_response({"ok": False, "error": "channel_not_found"})
        if form["channel"] == "#busy" and self.busy:
            self.busy -= 1
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "0"})
        return web.json_response({"ok": True, "ts": "1.0", "message": {"text": form["text"]}})

    def conversations_list(self, request: web.Request, _form: Any) -> web.Response:
        page = int(request.query.get("cursor") or "0")
        metadata = {"next_cursor": str(page + 1) if page < 2 else ""}
        found = [{"id": f"C{page}"}]
        return web.json_response({"ok": True, "channels": found, "response_metadata": metadata})

    def files_getUploadURLExternal(self, _request: web.Request, _form: Any) -> web.Response:  # noqa: N802
        return web.json_response({"ok": True, "upload_url": f"{self.url}/upload", "file_id": "F1"})

    def upload(self, _request: web.Request, form: Any) -> web.Response:
        return web.Response(text=f"OK - {len(form)}")

    def files_completeUploadExternal(self, _request: web.Request, _form: Any) -> web.Response:  # noqa: N802
        return web.json_response({"ok": True, "files": [{"id": "F1"}]})

    def users_setPhoto(self, _request: web.Request, form: Any) -> web.Response:  # noqa: N802
        digest = hashlib.sha256(form["image"].file.read()).hexdigest()
        return web.json_response({"ok": True, "profile": {"image": digest}})

    def paths(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _, _ in self.seen]


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    made = Slack()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", made.answer)])
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


@pytest.fixture
async def bot(slack: Slack) -> AsyncIterator[AsyncWebClient]:
    """As the documentation has it."""
    async with durable_session() as session:
        yield AsyncWebClient("xoxb-1", base_url=f"{slack.url}/api/", session=session, retry_handlers=[])


async def test_forms_and_pages(run: Any, slack: Slack, bot: AsyncWebClient, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        said = await bot.chat_postMessage(channel="#general", text="hi & ä")
        ids: list[str] = []
        async for page in await bot.conversations_list(limit=1):
            ids += [channel["id"] for channel in page["channels"]]
        return [said["message"]["text"], ids]

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    assert result.output == ["hi & ä", ["C0", "C1", "C2"]]
    assert slack.paths() == ["chat.postMessage"] + ["conversations.list"] * 3
    assert slack.seen[0][2]["authorization"] == "Bearer xoxb-1"


async def test_parallel_messages(run: Any, slack: Slack, bot: AsyncWebClient, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        said = await asyncio.gather(*(bot.chat_postMessage(channel="#general", text=f"{n}") for n in range(5)))
        return [message["message"]["text"] for message in said]

    assert (await run(f, always_replay=replay)).output == ["0", "1", "2", "3", "4"]
    assert len(slack.seen) == 5


async def test_errors_are_slacks_own(run: Any, slack: Slack, bot: AsyncWebClient) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        with pytest.raises(SlackApiError) as caught:
            await bot.chat_postMessage(channel="#gone", text="hi")
        return caught.value.response["error"]

    assert (await run(f)).output == "channel_not_found"
    assert len(slack.seen) == 1


async def test_busy_is_retried_by_the_platform_with_one_key(run: Any, slack: Slack, bot: AsyncWebClient) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        return (await bot.chat_postMessage(channel="#busy", text="hi"))["ok"]

    result = await run(f, retries=3)
    assert result.output is True, result.output
    keys = [headers.get("idempotency-key") for _, _, headers in slack.seen]
    assert len(keys) == 3
    assert None not in keys
    assert len(set(keys)) == 1


async def test_uploads(run: Any, slack: Slack, bot: AsyncWebClient, tmp_path: Any, replay: bool) -> None:
    content = bytes(range(256)) * 40
    image = tmp_path / "me.png"
    image.write_bytes(content)

    async def f(ctx: stepwell.Context) -> Any:
        found = await bot.files_upload_v2(content="some text", filename="a.txt", channel="C1")
        photo = await bot.users_setPhoto(image=str(image))
        return [found["files"][0]["id"], photo["profile"]["image"]]

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    assert result.output == ["F1", hashlib.sha256(content).hexdigest()]
    assert slack.paths() == ["files.getUploadURLExternal", "upload", "files.completeUploadExternal", "users.setPhoto"]


async def test_plain_inside_of_a_step_and_outside_of_a_run(run: Any, slack: Slack, bot: AsyncWebClient) -> None:
    async def ask() -> bool:
        return bool((await bot.chat_postMessage(channel="#general", text="hi"))["ok"])

    async def f(ctx: stepwell.Context) -> Any:
        return await ctx.step.run("ask", ask)

    assert await ask() is (await run(f)).output is True
    assert [headers.get("idempotency-key") for _, _, headers in slack.seen] == [None, None]
