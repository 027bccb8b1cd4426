"""The functions in docs/functions.md do what the page says."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepwell.embed import embedded
from stepwell.testing import ScriptedHttp, arun_function

PAGE = Path(__file__).parents[2] / "docs" / "functions.md"


@pytest.fixture(scope="module")
def page() -> Any:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec("\n\n".join(blocks), names)
    return SimpleNamespace(**names)


async def test_steps_errors_and_parallel_steps(page: Any) -> None:
    done = await arun_function(page.order, data={"total": 5})
    assert (done.output, done.events[0].name) == ("charged 5, told in 1 event", "shop/order.charged")
    assert done.elapsed.total_seconds() == 3600
    caught = await arun_function(page.careful)
    assert caught.output == ["Declined: no credit", "RetryAfterError: come back"]
    assert caught.elapsed.total_seconds() >= 600
    assert (await arun_function(page.race)).output == "charged 5"
    assert (await arun_function(page.both)).output == ["charged 1", "charged 2"]


async def test_typed_functions(page: Any) -> None:
    async with embedded(page.client, db="memory:", drain=1) as platform:
        [result] = await platform.send_and_wait("shop/caller")
    assert result.output == "3 on 02 January"
    misfit = await arun_function(page.typed, data={"total": 3})
    assert misfit.error is not None
    assert misfit.error.name == "EventDataError"
    assert "at" in misfit.error.message


async def test_a_question_to_a_model(page: Any) -> None:
    http = ScriptedHttp()
    answer = {"choices": [{"message": {"content": "42"}}]}
    http.post("https://api.openai.com/v1/chat/completions").respond(429).respond(json=answer)
    done = await arun_function(page.ask, data={"question": "what?"}, http=http)
    assert done.output == "42"
    assert len(http.calls) == 2


def test_the_page_names_every_step() -> None:
    import stepwell

    text = PAGE.read_text(encoding="utf-8")
    own = {name for name in vars(stepwell.Step) if not name.startswith("_")} - {"exchange", "exchange_live"}
    assert {name for name in own if f"`{name}(" not in text and f", `{name}(" not in text} == set()
