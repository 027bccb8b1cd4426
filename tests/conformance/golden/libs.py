"""The official Python SDK and ours behind one shape, so that the same functions are declared with either, and called."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import fastapi
import httpx2

import stepwell
import stepwell.frameworks.fastapi

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the official SDK's own, about its pydantic models
    import inngest
    import inngest.fast_api
    from inngest.experimental.ai import openai

__all__ = ["BASE", "EVENT", "OFFICIAL", "OURS", "PATH", "RUN_ID", "Lib", "body", "call_url", "connect", "hashed", "openai",
           "without_variables"]  # fmt: skip

PATH = "/api/inngest"
BASE = "http://app.test"
EVENT = {"id": "e1", "name": "go", "data": {"n": 1}, "user": {}, "ts": 1700000000000}
RUN_ID = "01JQDAE4RQF8MBCR55T5AK4KXS"
Functions = Callable[["Lib", Any], list[Any]]


@dataclass(frozen=True)
class Lib:
    """``module`` has the names that functions use; ``client`` and ``serve`` are called alike for both."""

    name: str
    module: Any
    make: Callable[..., Any]
    mount: Callable[..., Any]

    def app(self, functions: Functions, **settings: Any) -> fastapi.FastAPI:
        """An application that serves ``functions(self, client)``."""
        settings = {"app_id": "app", "is_production": False, "logger": logging.getLogger("golden")} | settings
        client = self.make(**settings)
        app = fastapi.FastAPI()
        self.mount(app, client, functions(self, client))
        return app


def _official(app: fastapi.FastAPI, client: Any, functions: list[Any]) -> None:
    inngest.fast_api.serve(app, client, functions, serve_path=PATH)


def _ours(app: fastapi.FastAPI, client: Any, functions: list[Any]) -> None:
    stepwell.frameworks.fastapi.serve(app, client, functions, serve_path=PATH)


OFFICIAL = Lib("official", inngest, inngest.Inngest, _official)
OURS = Lib("ours", stepwell, stepwell.Client, _ours)


def hashed(step_id: str) -> str:
    """The id of a step on the wire."""
    return hashlib.sha1(step_id.encode()).hexdigest()


def body(
    steps: Mapping[str, Any] | None = None, *, event: Any = None, events: Any = None, **members: Any
) -> dict[str, Any]:
    """The body of a call request; ``steps`` by the user's ids. ``use_api`` and ``version`` are the body's, the rest ctx's."""
    found = {hashed(key): memo for key, memo in (steps or {}).items()}
    event = event or EVENT
    use_api = members.pop("use_api", False)
    context = {
        "run_id": RUN_ID,
        "fn_id": "7f0c6e9e-0000-4000-8000-000000000000",
        "attempt": 0,
        "max_attempts": 5,
        "disable_immediate_execution": False,
        "use_api": use_api,
        "stack": {"stack": list(found), "current": len(found)},
        "env": "",
    }
    return {
        "event": event,
        "events": events or [event],
        "steps": found,
        "version": members.pop("version", -1),
        "use_api": use_api,
        "ctx": context | members,
    }


@contextmanager
def without_variables() -> Iterator[None]:
    """An environment that configures neither SDK."""
    import os

    kept = {key: value for key, value in os.environ.items() if not key.startswith(("INNGEST_", "STEPWELL_"))}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield


def connect(app: fastapi.FastAPI) -> httpx2.AsyncClient:
    """A client whose requests the application answers in process."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE)


def call_url(function: str, step: str = "step") -> str:
    """The URL of a call; ``step`` is the user's id of a step that is asked for on its own."""
    return f"{PATH}?fnId=app-{function}&stepId={step if step == 'step' else hashed(step)}"
