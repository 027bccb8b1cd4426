"""The page that shows an answer while it arrives, in a real browser: a reload in the middle loses nothing."""

from pathlib import Path

import httpx2
import pytest

from examples.sample_api.ai import web_parts
from tests.browser.chromium import browsing
from tests.examples.platform_process import platform

pytestmark = pytest.mark.browser
SHOWN = "document.getElementById('answer').textContent"
STATE = "document.getElementById('state').textContent"


async def test_an_answer_is_shown_while_it_arrives_and_survives_a_reload(
    tmp_path: Path, sample_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_parts, "CHUNK_PAUSE_S", 0.2)
    async with (
        platform(tmp_path / "p.db", sample_api, "examples/python/live_answer.py") as http,
        browsing() as context,
    ):
        page = await context.new_page()
        page.set_default_timeout(20_000)
        await page.goto(f"{sample_api}/live?platform={http.base_url}")
        await page.click("button")
        await page.wait_for_function(f"{STATE} === 'arriving' && {SHOWN}.length > 0")
        await page.reload()
        await page.wait_for_function(f"{STATE} === 'done'")
        whole = await page.evaluate(SHOWN)
        await page.reload()
        await page.wait_for_function(f"{STATE} === 'done'")
        assert await page.evaluate(SHOWN) == whole
    async with httpx2.AsyncClient(trust_env=False) as client:
        question = [{"role": "user", "content": "Tell me why a well that is deep never runs dry in summer"}]
        body = {"model": "sample", "messages": question}
        key = {"authorization": "Bearer sample"}
        stats = (await client.get(f"{sample_api}/stats")).json()
        answer = (await client.post(f"{sample_api}/v1/chat/completions", json=body, headers=key)).json()
    assert whole == answer["choices"][0]["message"]["content"]
    assert stats["paths"]["/v1/chat/completions"] == 1
