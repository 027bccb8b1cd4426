"""The blocks of docs/serving.md run: what each of them makes serves the page's function."""

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from tests.frameworks.servers import PATH, on_aiohttp_app, on_asgi, on_tornado_app, on_wsgi

PAGE = Path(__file__).parent.parent.parent / "docs" / "serving.md"
FIRST, *BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
ADAPTER = re.compile(r"from stepwell\.frameworks import (\w+)")
BY_NAME = {ADAPTER.findall(block)[0]: block for block in BLOCKS}
SERVER: dict[str, Any] = {"aiohttp": on_aiohttp_app, "flask": on_wsgi, "tornado": on_tornado_app, "wsgi": on_wsgi}


def made(name: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(FIRST + BY_NAME[name], PAGE.name, "exec"), names)
    return names


def test_every_adapter_has_its_block() -> None:
    import stepwell.frameworks

    files = Path(next(iter(stepwell.frameworks.__path__))).glob("[a-z]*.py")
    adapters = {path.stem for path in files if "\ndef serve(" in path.read_text(encoding="utf-8")}
    assert adapters == set(BY_NAME)


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - {"aws_lambda", "django"}))
def test_what_a_block_makes_serves(name: str) -> None:
    names = made(name)
    with SERVER.get(name, on_asgi)(names.get("app") or names["application"]) as origin:
        assert [each["id"] for each in httpx2.get(origin + PATH).json()["functions"]] == ["shop-order"]


def test_django() -> None:
    with override_settings(ROOT_URLCONF=tuple(made("django")["urlpatterns"])), on_wsgi(WSGIHandler()) as origin:
        assert httpx2.get(origin + PATH).json()["app_id"] == "shop"


def test_aws_lambda() -> None:
    event = {"rawPath": PATH, "headers": {}, "requestContext": {"http": {"method": "GET"}}}
    assert '"shop-order"' in made("aws_lambda")["handler"](event, None)["body"]
