"""What was sent is seen on the page of its step, and copied as curl: small bodies and large ones, after a restart too."""

import asyncio
import html
import os
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from tests.e2e.ugly import platform

client = stepwell.Client("copies")
SIZES = [10, 5_000, 300_000]


@client.create_function(fn_id="post", trigger=stepwell.TriggerEvent(event="post"))
async def post(ctx: stepwell.Context) -> None:
    headers = {"authorization": "Bearer hush-hush", "x-plain": "it's"}
    for size in SIZES:
        text = "it's " * (size // 5)
        url = f"{ctx.event.data['url']}/{size}"
        await ctx.step.fetch(url, method="POST", headers=headers, json={"text": text}, id=f"post {size}")


@pytest.mark.curl
async def test_a_command_sends_what_was_sent(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes, str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((request.path, await request.read(), headers["x-plain"], headers["authorization"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{size}", handle)
    async with TestServer(app) as server:
        async with platform(tmp_path, client) as running:
            (run,) = await running.send_and_wait("post", {"url": str(server.make_url("")).rstrip("/")}, timeout=30)
        commands = await commands_of(tmp_path, run.run_id)
        for command in commands[:2]:
            process = await as_typed(command)
            assert process.returncode == 0, process.stderr
    assert [(path, body, plain) for path, body, plain, _ in seen[:2]] == [found[:3] for found in seen[3:]]
    assert [authorization for *_, authorization in seen] == ["Bearer hush-hush"] * 3 + ["***"] * 2
    assert "--data-binary @BODY" in commands[2]


async def commands_of(folder: Path, run_id: str) -> list[str]:
    """The curl commands on the pages of the steps, from another process's platform on the same file."""
    commands: list[str] = []
    async with platform(folder, client) as running, aiohttp.ClientSession(running.url) as session:
        async with session.get(f"/v1/runs/{run_id}/steps") as answer:
            steps = (await answer.json())["data"]
        for step in steps:
            async with session.get(f"/runs/{run_id}?step={step['id']}") as answer:
                page = await answer.text()
            assert "hush" not in page
            after = page.partition('aria-label="As a curl command">')[2]
            commands.append(html.unescape(after.partition("</pre>")[0]))
    return commands


async def as_typed(command: str) -> subprocess.CompletedProcess[bytes]:
    def run() -> subprocess.CompletedProcess[bytes]:
        env = {"PATH": os.environ["PATH"]}
        return subprocess.run(["sh"], input=command.encode(), env=env, capture_output=True, timeout=30, check=False)

    return await asyncio.to_thread(run)
