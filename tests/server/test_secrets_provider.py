"""A source of secrets of one's own: the one of the documentation, in a platform; and those that do not work."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import stepwell
from stepwell import Client, Context, TriggerEvent, embedded
from stepwell.server.secrets import vault
from stepwell.server.secrets.plugged import load_provider
from stepwell.server.secrets.providers import SecretProvider, SecretUnavailable
from stepwell.server.secrets.vault import Vault
from stepwell.server.settings import SettingsError
from stepwell.wire.secret_rules import parse_rules
from stepwell.wire.secrets import HEADER
from tests.server.hostile_server import hostile, plain

PAGE = Path(__file__).parents[2] / "docs" / "secrets.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a platform that is started there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


async def test_the_documented_one_gives_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n# vault\.py.*?\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "vault.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("STEPWELL_SECRETS_PROVIDER", "vault:Keys")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "CRM_KEY=127.0.0.1; OTHER=127.0.0.1")
    monkeypatch.setenv("OTHER", "of the environment")
    client = Client(app_id="own")
    names = ("CRM_KEY", "OTHER")

    async with hostile(plain()) as server:

        @client.create_function(fn_id="f", trigger=TriggerEvent(event="go"))
        async def f(ctx: Context) -> None:
            await ctx.step.fetch(server.url, headers={f"X-{name}": stepwell.secret(name) for name in names})

        async with embedded(client, db="memory:") as platform:
            (result,) = await platform.send_and_wait("go", timeout=30)
        assert result.status == "completed"
        (seen,) = server.seen
        assert [seen.header(f"x-{name.lower()}".encode()) for name in names] == [[b"k-123456"], [b"of the environment"]]


class Broken:
    """Raises, or gives what is no text."""

    def __init__(self, found: object) -> None:
        self.found = found

    async def get(self, name: str, *, fresh: bool = False) -> Any:
        """See :meth:`SecretProvider.get`."""
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "final", "words"),
    [
        (OSError("no way to it, password hunter2"), False, "the source of the secret 'A' failed (OSError)"),
        (asyncio.CancelledError("hunter2"), False, "the source of the secret 'A' failed (CancelledError)"),
        (SystemExit("hunter2"), False, "the source of the secret 'A' failed (SystemExit)"),
        (b"hunter2", True, "the source of the secret 'A' gave no text, but bytes"),
    ],
)
async def test_one_that_fails_is_an_answer(
    found: object, final: bool, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    vault = Vault(parse_rules("A=h.test"), [cast("SecretProvider", Broken(found))])
    with pytest.raises(SecretUnavailable) as caught:
        await vault.values({"A": {HEADER}}, "https://h.test/")
    assert (str(caught.value), caught.value.final) == (words, final)
    assert "hunter2" not in caplog.text
    assert not isinstance(found, BaseException) or f"failed: {type(found).__name__}" in caplog.text


class Silent:
    """Never answers."""

    async def get(self, name: str, *, fresh: bool = False) -> str | None:
        await asyncio.Event().wait()
        return None


async def test_who_gives_up_while_one_is_asked_is_let_go() -> None:
    asking = asyncio.create_task(Vault({}, [Silent()]).value("KEY"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, 20)


async def test_one_that_says_nothing_is_an_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_ASKED_S", 0.01)
    async with asyncio.timeout(20):
        with pytest.raises(SecretUnavailable, match="failed"):
            await Vault({}, [Silent()]).value("KEY")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere_at_all:Keys", "No module named 'nowhere_at_all'"),
        ("mine:Nothing", "has no attribute 'Nothing'"),
        ("mine", "write module:name"),
        (":Keys", "write module:name"),
        ("mine:raises", "it raised RuntimeError."),
        ("mine:dict", "has no attribute 'dict'"),
        ("mine:object_", "has no method get"),
    ],
)
def test_one_that_can_not_be_made_is_said_at_the_start(folder: Path, target: str, words: str) -> None:
    code = "object_ = object\n\n\ndef raises():\n    raise RuntimeError('hunter2')\n"
    (folder / "mine.py").write_text(code, encoding="utf-8")
    with pytest.raises(SettingsError, match=re.escape(words)) as caught:
        load_provider(target)
    assert "hunter2" not in str(caught.value)
