"""The OpenAPI document is true: it has every route, and a fuzzer that believes it finds no answer that it does not have."""

import os
import re
from collections.abc import Iterator

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks as checked
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from starlette.routing import Route

from stepwell.core.flow.hosts import NO_RULES
from stepwell.server.api.app import create_app
from stepwell.server.api.openapi.document import document
from stepwell.server.api.openapi.operations import OPERATIONS
from stepwell.server.settings import Settings
from stepwell.server.telemetry.metrics import Metrics
from tests.server.api_fakes import FakeEngine, new_ulid
from tests.server.cli_fakes import platform

EXAMPLES = 60 if os.environ.get("CI") == "true" else 12
checked.load_all_checks()
CHECKS = [
    checked.not_a_server_error,
    checked.CHECKS.get_one("status_code_conformance"),
    checked.CHECKS.get_one("content_type_conformance"),
    checked.CHECKS.get_one("response_schema_conformance"),
]
SCHEMA = schemathesis.openapi.from_dict(document())
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture(scope="module")
def base() -> Iterator[tuple[str, dict[str, list[str]]]]:
    """A real platform with an event, a run that is under way, and the ids of both."""
    with platform() as port, httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        event = {"name": "stepwell/cli.fetch", "data": {"url": "http://127.0.0.1:1/", "method": "GET", "headers": []}}
        (event_id,) = http.post("/e/x", json=event).json()["ids"]
        (run,) = http.get(f"/v1/events/{event_id}/runs").json()["data"]
        known = {"run_id": [run["run_id"]], "event_id": [event_id], "app": ["stepwell-cli"], "slug": [run["function"]]}
        yield str(http.base_url), known


def test_every_route_is_documented() -> None:
    api = create_app(FakeEngine(), Settings(), metrics=Metrics(NO_RULES))
    routes = api._rest.routes
    found = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) & METHODS
    }
    assert found == {(each.method.upper(), each.path) for each in OPERATIONS}
    names = [each.name for each in OPERATIONS]
    assert len(set(names)) == len(names)


async def test_the_document_is_served_to_anybody() -> None:
    api = create_app(FakeEngine(), Settings(kind="cloud", signing_key="00ff", event_keys=("e",)))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(api), base_url="http://stepwell") as http:
        answer = await http.get("/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document()
    assert answer.json()["openapi"] == "3.1.0"


def test_the_document_is_openapi() -> None:
    SCHEMA.validate()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_the_fuzzer_finds_nothing(operation: object, base: tuple[str, dict[str, list[str]]]) -> None:
    """Requests that are as the document wants them, and such that are not; ids that there are, and others."""
    url, known = base
    documented = SCHEMA[operation.path][operation.method]  # type: ignore[attr-defined]
    good, bad = (documented.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(good | bad, st.booleans())
    def ask(case: schemathesis.Case, real: bool) -> None:
        if real:
            case.path_parameters.update({name: ids[0] for name, ids in known.items() if name in case.path_parameters})
        case.validate_response(case.call(base_url=url), checks=CHECKS)

    ask()


@pytest.mark.parametrize("status", ["404", "200"])
def test_the_fuzzer_would_find_a_lie(status: str, base: tuple[str, dict[str, list[str]]]) -> None:
    """A status that is not documented, a member that is not there."""
    url, known = base
    told = msgspec.json.decode(msgspec.json.encode(document()))
    answers = told["paths"]["/v1/runs/{run_id}"]["get"]["responses"]
    if status == "404":
        del answers["404"]
    else:
        told["components"]["schemas"]["Run"]["required"].append("colour")
    operation = schemathesis.openapi.from_dict(told)["/v1/runs/{run_id}"]["get"]
    case = operation.Case(path_parameters={"run_id": known["run_id"][0] if status == "200" else new_ulid(5)})
    answer = case.call(base_url=url)
    assert str(answer.status_code) == status
    with pytest.raises(FailureGroup):
        case.validate_response(answer, checks=CHECKS)
