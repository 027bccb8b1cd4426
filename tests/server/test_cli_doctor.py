"""`stepwell doctor`: what it says of settings, keys, port, database and apps, and how it exits."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest

from stepwell import Client, Context, TriggerEvent
from stepwell.cli.main import run
from stepwell.server.settings import SettingsError, load
from stepwell.server.settings.shown import misspelt, show
from tests.e2e.ugly import sdk_app
from tests.ports import free_port
from tests.server.cli_fakes import platform

pytestmark = pytest.mark.usefixtures("own_folder")

KEY = "signkey-prod-" + "ab" * 32


def doctor(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what it said as JSON."""
    code = run(["doctor", "--json", *args])
    said = json.loads(capfd.readouterr().out)
    said["checks"] = [check for check in said["checks"] if "in.process" not in check["message"]]  # the fakes' own app
    return code, said


def verdicts(said: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in said["checks"]}


@contextmanager
def an_app(names: list[str]) -> Iterator[str]:
    """An app of our SDK behind HTTP, in a thread; its URL."""
    client = Client("shop", is_production=False)
    for name in names:
        client.create_function(fn_id=name, trigger=TriggerEvent(name))(_nothing)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = sdk_app(client)
    try:
        yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


async def _nothing(ctx: Context) -> None:
    pass


def test_a_fresh_folder_is_well(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = doctor(capfd, "--port", str(free_port()))
    assert (code, said["ok"], said["file"]) == (0, True, None)
    assert verdicts(said) == {"keys": "ok", "port": "ok", "database": "ok"}
    assert not Path(".stepwell").exists(), "nothing is made"


def test_production_without_keys_and_with_them(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_port())
    code, said = doctor(capfd, "--serve", "--port", port)
    assert (code, verdicts(said)["keys"]) == (1, "failed")
    monkeypatch.setenv("STEPWELL_SIGNING_KEY", KEY)
    monkeypatch.setenv("STEPWELL_EVENT_KEYS", "event-key-1 event-key-2")
    code, said = doctor(capfd, "--serve", "--port", port)
    assert (code, verdicts(said)["keys"]) == (0, "ok")
    settings = {each["name"]: (each["value"], each["source"]) for each in said["settings"]}
    assert settings["signing_key"] == ("***", "STEPWELL_SIGNING_KEY")
    assert settings["event_keys"] == ("*** (2)", "STEPWELL_EVENT_KEYS")
    assert settings["port"] == (port, "--port")
    assert settings["fetch_function"] == ("false", "default")
    assert KEY not in json.dumps(said)
    assert "event-key" not in json.dumps(said)


def test_a_file_in_the_folder_is_read(capfd: pytest.CaptureFixture[str]) -> None:
    Path("stepwell.toml").write_text(f'port = {free_port()}\ndb = "memory:"\n')
    code, said = doctor(capfd)
    assert (code, said["file"]) == (0, "stepwell.toml")
    assert verdicts(said)["database"] == "warning"
    Path("stepwell.toml").write_text("prot = 1\n")
    assert run(["doctor"]) == 2
    assert "did you mean 'port'" in capfd.readouterr().err


def test_a_port_that_is_taken_and_a_database_that_can_not_be(capfd: pytest.CaptureFixture[str]) -> None:
    Path("folder.db").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = doctor(capfd, "--port", str(port), "--db", "sqlite:///folder.db")
    assert (code, said["ok"]) == (1, False)
    assert verdicts(said) == {"keys": "ok", "port": "failed", "database": "failed"}
    assert str(port) in said["checks"][1]["message"]


def test_a_database_of_something_else_or_whose_key_is_gone(capfd: pytest.CaptureFixture[str]) -> None:
    with platform(Path("s.db")):
        pass
    port = str(free_port())
    assert verdicts(doctor(capfd, "--port", port, "--db", "sqlite:///s.db")[1])["database"] == "ok"
    Path("s.db.key").unlink()
    code, said = doctor(capfd, "--port", port, "--db", "sqlite:///s.db")
    assert (code, verdicts(said)["database"]) == (1, "failed")
    assert "encrypted" in said["checks"][-1]["message"]


def test_apps_in_sync_out_of_sync_and_away(capfd: pytest.CaptureFixture[str]) -> None:
    """With a platform that runs, and with its database alone."""
    with an_app(["a", "b"]) as url, platform(Path("s.db")) as port:
        where = ["--port", str(port), "--db", "sqlite:///s.db"]
        code, said = doctor(capfd, *where, "-u", url, "-u", f"http://127.0.0.1:{free_port()}/api")
        assert [check["verdict"] for check in said["checks"]] == ["ok", "ok", "ok", "warning", "failed", "ok"]
        assert "not in sync (shop-a, shop-b)" in said["checks"][3]["message"]
        assert "Nothing answers" in said["checks"][4]["message"]
        assert code == 1
        functions = httpx2.put(url, headers={"x-inngest-sync-kind": "in_band"}, json={"url": url}).json()["functions"]
        body = {"appName": "shop", "url": url, "sdk": "py", "functions": functions}
        assert httpx2.post(f"http://127.0.0.1:{port}/fn/register", json=body).status_code == 200
        _, said = doctor(capfd, *where)
        assert "2 functions are in sync" in said["checks"][-2]["message"]
        assert "has the database open" in said["checks"][2]["message"]
    _, said = doctor(capfd, "--port", str(free_port()), "--db", "sqlite:///s.db")
    assert "Nothing answers" in said["checks"][-2]["message"]


def test_what_is_no_app(capfd: pytest.CaptureFixture[str]) -> None:
    with platform() as port:
        code, said = doctor(capfd, "--port", str(free_port()), "-u", f"http://127.0.0.1:{port}/api")
    assert code == 1
    assert "is not an app" in said["checks"][-1]["message"]


def test_for_people(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_PROT", "1")
    assert run(["doctor", "--port", str(free_port())]) == 0
    out = capfd.readouterr().out
    assert "did you mean STEPWELL_PORT?" in out
    assert "sqlite:///.stepwell/stepwell.db" in out
    assert "\nok       keys: A development platform asks for no keys.\n" in out


def test_nothing_secret_is_shown() -> None:
    env = {
        "STEPWELL_APP_URLS": "http://user:hunter2@a/x?token=hunter2",
        "STEPWELL_PUBLIC_URL": "https://hunter2@b",
        "STEPWELL_ENCRYPTION_KEY": "ab" * 32,
        "STEPWELL_DB": "postgresql://user@h/x?password=hunter2",
    }
    shown = {each.name: each.value for each in show(load({}, env))}
    assert (shown["app_urls"], shown["public_url"]) == ("http://***@a/x?token=***", "https://***@b")
    assert shown["db"] == "postgresql://***@h/x?password=***"
    assert shown["encryption_keys"] == "***"


def test_an_app_that_does_not_answer_is_named_without_its_password(capfd: pytest.CaptureFixture[str]) -> None:
    place = f"127.0.0.1:{free_port()}/api"
    assert run(["doctor", "--port", str(free_port()), "-u", f"http://me:hunter2@{place}?token=hunter2"]) == 1
    out = capfd.readouterr().out
    assert f"Nothing answers at http://***@{place}?token=*** yet" in out
    assert "hunter2" not in out


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hunt/er2@h/x", "must be percent-encoded"),
        ("postgresql://me:hunter2@h:port/x", "no port"),
        ("postgresql:me:hunter2@h/x", "is not understood"),
        ("mysql://me:hunter2@h/x", "is not understood"),
    ],
)
def test_a_database_that_can_not_be_understood_is_one_sentence_without_its_password(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        load({"db": url}, {})
    assert "hunt" not in str(caught.value)


def test_places_of_databases_are_understood() -> None:
    for place in ("", "h", "u:p@a,b:2,[::1]:3", "u:%2Fp@h", "%2Ftmp%2Frun:5433", "u@h:5432"):
        load({"db": f"postgresql://{place}/x"}, {})


def test_variables_that_look_like_settings() -> None:
    fine = [
        "STEPWELL_PORT",
        "STEPWELL_DEV",
        "STEPWELL_SECRET_A",
        "STEPWELL_TEST_POSTGRES",
        "PATH",
        "STEPWELL_EVENT_KEY",
    ]
    assert misspelt(fine) == []
    assert misspelt(["STEPWELL_SIGNINGKEY", "STEPWELL_RETRY_INTERVALL"]) == [
        "The variable STEPWELL_RETRY_INTERVALL is not known; did you mean STEPWELL_RETRY_INTERVAL?",
        "The variable STEPWELL_SIGNINGKEY is not known; did you mean STEPWELL_SIGNING_KEY?",
    ]
