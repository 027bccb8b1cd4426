"""Rules of hosts in settings: the file, the variable, which of them wins, and what is wrong with them."""

from pathlib import Path

import pytest

from stepwell.core.flow.hosts import HostRule
from stepwell.server.settings import SettingsError, load_settings


def config(folder: Path, text: str) -> dict[str, object]:
    path = folder / "stepwell.toml"
    path.write_text(text)
    return {"config": str(path)}


def test_the_file_comes_last(tmp_path: Path) -> None:
    text = 'port = 1\ndb = "memory:"\nretry_interval = "2s"\ndiscovery = false\n[hosts.h]\nconcurrency = 2\n'
    settings = load_settings({"db": None, **config(tmp_path, text)}, {"STEPWELL_PORT": "5"})
    assert (settings.port, settings.db, settings.retry_interval_ms, settings.discovery) == (5, "memory:", 2000, False)
    assert settings.hosts == (HostRule(pattern="h", concurrency=2),)


def test_the_variable_takes_the_place_of_the_files_rules(tmp_path: Path) -> None:
    config(tmp_path, "[hosts.h]\nconcurrency = 2\n")
    env = {"STEPWELL_CONFIG": str(tmp_path / "stepwell.toml")}
    assert load_settings({}, env).hosts == (HostRule(pattern="h", concurrency=2),)
    env["STEPWELL_HOSTS"] = '{"g": {"rate": "5/s"}}'
    assert load_settings({}, env).hosts == (HostRule(pattern="g", limit=5),)


@pytest.mark.parametrize(
    ("text", "word"),
    [("x = ", "no TOML"), ("colour = 1", "'colour'"), ("[hosts.h]\nrate = 1", "rate"), ('port = "x"', "Port")],
)
def test_files_that_make_no_sense(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        load_settings(config(tmp_path, text), {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can not be read"):
        load_settings({"config": str(tmp_path / "none.toml")}, {})
    with pytest.raises(SettingsError, match="no JSON"):
        load_settings({}, {"STEPWELL_HOSTS": "{"})
