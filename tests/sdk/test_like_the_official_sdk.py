"""Whoever changes ``import inngest`` to ``import stepwell`` finds every name and argument, or where it went in the docs."""

import dataclasses
import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell.testing import arun_function

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the official SDK's own, about its pydantic models
    import inngest

PAGE = (Path(__file__).parents[2] / "docs" / "from-inngest.md").read_text(encoding="utf-8")
THERE = " ".join(re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE))
OPTIONS = ["Batch", "Cancel", "Concurrency", "Debounce", "Event", "Priority", "RateLimit", "Singleton", "Throttle",
           "Timeouts", "TriggerCron", "TriggerEvent"]  # fmt: skip


def told(name: str) -> bool:
    return re.search(rf"\b{name}\b", THERE) is not None


def arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


def members(kind: Any) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def missing(theirs: set[str], ours: set[str]) -> set[str]:
    return {name for name in theirs - ours if not told(name)}


def test_every_name_is_here_or_on_the_page() -> None:
    assert missing(set(inngest.__all__), set(stepwell.__all__)) == set()


@pytest.mark.parametrize("name", ["__init__", "create_function", "send", "send_sync", "set_logger", "add_middleware"])
def test_every_argument_of_the_client_is_here_or_on_the_page(name: str) -> None:
    assert missing(arguments(getattr(inngest.Inngest, name)), arguments(getattr(stepwell.Client, name))) == set()


def test_every_member_of_the_client_is_here_or_on_the_page() -> None:
    client = stepwell.Client("app")
    assert missing(members(inngest.Inngest), members(client)) == set()
    assert {name for name in re.findall(r"`client\.(\w+)`", THERE) if hasattr(client, name)} == set()


@pytest.mark.parametrize("name", ["Step", "StepSync"])
def test_every_step_takes_what_it_takes_there(name: str) -> None:
    theirs, ours = getattr(inngest, name), getattr(stepwell, name)
    assert members(theirs) - members(ours) == set()
    for step in members(theirs):
        if callable(getattr(theirs, step)):
            assert missing(arguments(getattr(theirs, step)), arguments(getattr(ours, step))) == set(), step


@pytest.mark.parametrize("name", ["Context", "ContextSync"])
def test_every_member_of_a_context_is_here_or_on_the_page(name: str) -> None:
    theirs, ours = ({each.name for each in dataclasses.fields(getattr(lib, name))} for lib in (inngest, stepwell))
    assert missing(theirs, ours) == set()


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_the_members_that_it_has_there(name: str) -> None:
    assert set(getattr(inngest, name).model_fields) - set(getattr(stepwell, name).__struct_fields__) == set()


async def test_the_code_of_the_page_runs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(code, names)
    assert (await arun_function(names["order"], data={"id": 1})).output == ["charged 5", "charged 6"]


async def test_middleware_that_is_added_holds_for_functions_that_have_been_declared() -> None:
    class Marks(stepwell.MiddlewareSync):
        def transform_output(self, result: stepwell.TransformOutputResult) -> None:
            result.output = [result.output]

        def before_send_events(self, events: list[stepwell.Event[Any]]) -> None:
            events[0].data["marked"] = True

    client = stepwell.Client("app", is_production=False)

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent("go"))
    async def function(ctx: Any) -> int:
        return 1

    client.add_middleware(Marks)
    assert (await arun_function(function)).output == [1]
    sent: list[bytes] = []

    async def keep(body: bytes) -> list[str]:
        sent.append(body)
        return []

    client._send_override = keep
    await client.send(stepwell.Event(name="a", data={}))
    await client.send(stepwell.Event(name="a", data={}), skip_middleware=True)
    assert ["marked" in body.decode() for body in sent] == [True, False]


def test_middleware_that_is_added_is_looked_at() -> None:
    with pytest.raises(stepwell.ConfigError, match="5 is neither"):
        stepwell.Client("app").add_middleware(5)  # type: ignore[arg-type]
