"""The example functions, each run alone with scripted HTTP: no server, no waiting."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.testing import Reply, ScriptedHttp, SentRequest, run_function

FOLDER = Path(__file__).parent.parent.parent / "examples" / "python"
TEXT = "Step by step, a stepwell."


@pytest.fixture(scope="module")
def examples() -> Iterator[Any]:
    """The module with all example functions; the examples import each other as files of one folder do."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("demo_app")
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def test_retrieve_text_file(examples: Any, stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("/files/a.txt").respond(503).fail("read").respond(text=TEXT)
    outcome = run_function(examples.retrieve_text_file, data={"name": "a.txt"}, http=stepwell_http).raise_for_error()
    assert outcome.output == {"name": "a.txt", "word": "step", "count": 3}
    assert [(step.kind, step.attempts) for step in outcome.steps] == [("fetch", 3), ("run", 1)]


def test_a_file_that_is_missing(examples: Any, stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("/files/stepwell.txt").respond(404)
    outcome = run_function(examples.retrieve_text_file, http=stepwell_http)
    assert outcome.error is not None
    assert outcome.error.name == "HTTPStatusError"
    assert len(outcome.requests) == 1


@pytest.mark.parametrize("always_replay", [False, True])
def test_process_files(examples: Any, stepwell_http: ScriptedHttp, *, always_replay: bool) -> None:
    stepwell_http.get("/files/*").call(lambda request: Reply(text="word " * int(request.url[-1])))
    data = {"files": [f"file-{n}" for n in range(8)]}
    outcome = run_function(examples.process_files, data=data, http=stepwell_http, always_replay=always_replay)
    assert outcome.raise_for_error().output == {"files": 8, "words": sum(range(8))}
    assert len(stepwell_http.calls) == 8


def test_weather_function(examples: Any, stepwell_http: ScriptedHttp) -> None:
    def chat(request: SentRequest) -> Reply:
        asked = request.json()["messages"][-1]
        if asked["role"] == "user":
            call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            return completion({"role": "assistant", "content": None, "tool_calls": [call]})
        return completion({"role": "assistant", "content": f"It is {asked['content']}."})

    stepwell_http.post("/v1/chat/completions").respond(429, headers={"retry-after": "20"}).call(chat)
    stepwell_http.get("/weather", params={"city": "Oslo"}).respond(text="cold")
    stepwell_http.post("/v1/messages").respond(json=MESSAGE)
    outcome = run_function(examples.weather_function, data={"question": "Oslo?"}, http=stepwell_http)
    assert outcome.raise_for_error().output == {"answer": "It is cold.", "summary": "Cold."}
    assert [step.attempts for step in outcome.steps] == [2, 1, 1, 1]
    assert outcome.elapsed.total_seconds() >= 20  # a host that answered 429 is asked slowly for a while
    stepwell_http.assert_all_used()


def test_flaky(examples: Any, stepwell_http: ScriptedHttp) -> None:
    stepwell_http.get("/flaky/2").respond_with([500, 500]).respond(json={"tries": 3})
    stepwell_http.get("/rate-limited").respond(429, headers={"retry-after": "2"}).respond(200)
    charge = stepwell_http.post("/charge", json={"amount": 42}).fail("read").respond(json={"id": "c", "replayed": True})
    outcome = run_function(examples.flaky, http=stepwell_http).raise_for_error()
    assert outcome.output == {"tries": 3, "charge": "c", "charged twice": True}
    assert len({call.header("idempotency-key") for call in charge.calls}) == 1


def completion(message: dict[str, Any]) -> Reply:
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return Reply(json={"id": "1", "object": "chat.completion", "created": 1, "model": "sample", "choices": [choice]})


MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "sample",
    "content": [{"type": "text", "text": "Cold."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
