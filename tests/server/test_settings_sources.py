"""Every setting can be given in each of its ways, the page about settings says so, and it is known where a value came from."""

import re
import runpy
from pathlib import Path

import msgspec
import pytest

from stepwell.server.settings import DEFAULT_FILE, FIELDS, Settings, SettingsError, load

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"
TEXTS = {
    "kind": "cloud",
    "host": "0.0.0.0",
    "port": "81",
    "db": "memory:",
    "db_listen": "postgresql://u@h/d",
    "app_urls": "http://a/x",
    "signing_key": "signkey-a-00",
    "signing_key_fallback": "signkey-a-01",
    "event_keys": "e",
    "public_url": "https://p",
    "call_timeout_s": "2m",
    "retry_interval_ms": "2s",
    "drain_s": "3",
    "keep_ms": "7d",
    "allow": "10.0.0.0/8",
    "hosts": '{"h": {"concurrency": 2}}',
    "networks": '{"h": {"ca": "ca.pem"}}',
    "discovery": "no",
    "fetch_function": "no",
    "encryption_keys": "00",
    "dashboard_password": "a long one",
    "secrets_file": "s.toml",
    "secrets_provider": "vault:Keys",
    "secrets_hosts": "A=h",
    "sensitive_headers": "x-a",
    "always_replay": "yes",
    "max_body": "1 GB",
    "body_memory": "1 GB",
    "log_format": "json",
    "otlp_endpoint": "http://c:4318",
}
"""A value for each, unlike its default."""


def test_every_member_is_a_setting() -> None:
    assert [field.name for field in msgspec.structs.fields(Settings)] == sorted(
        FIELDS, key=list(Settings.__struct_fields__).index
    )
    assert len({field.key for field in FIELDS.values()}) == len(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_flag_over_variable_over_file_over_default(name: str, tmp_path: Path) -> None:
    """Each way alone gives the same value, and the strongest of those that were used is the one that counts."""
    field, text = FIELDS[name], TEXTS[name]
    path = tmp_path / "a.toml"
    tables = {"hosts": "[hosts.h]\nconcurrency = 2", "networks": "[networks.h]\nca = 'ca.pem'"}
    value = tables.get(name, f"{field.key} = '{text}'")
    path.write_text(value.replace("'no'", "false").replace("'yes'", "true"))
    file, env = {"config": str(path)}, {field.variable: text}
    fallback = {field.variable.replace("STEPWELL_", "INNGEST_"): text}
    ways = [({name: text}, env), ({}, {**env, **fallback}), ({}, fallback), (file, {})]
    found = [load({**file, **flags}, env) for flags, env in ways]
    assert len({str(getattr(each.settings, name)) for each in found}) == 1
    assert getattr(found[0].settings, name) != getattr(Settings(), name)
    flag = field.flags[-1].partition("/")[0] if field.flags else "the command line"
    assert [each.sources[name] for each in found] == [flag, *env, *fallback, f"{field.key} in {path}"]
    assert name not in load({}, {}).sources


def test_the_page_has_every_setting() -> None:
    """`python scripts/settings_page.py` writes it anew."""
    page = runpy.run_path(str(PAGE.parent.parent / "scripts" / "settings_page.py"))
    text = PAGE.read_text(encoding="utf-8")
    assert page["written"](text) == text
    assert [name for name, field in FIELDS.items() if f"`{field.variable}`" not in text] == []


def test_the_pages_file_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / DEFAULT_FILE
    path.write_text(text)
    loaded = load({}, {}, default_file=str(path))
    assert loaded.file == str(path)
    assert set(loaded.sources) == {"port", "db", "app_urls", "call_timeout_s", "hosts"}
    assert loaded.settings.call_timeout_s == 600


def test_a_default_file_that_is_not_there(tmp_path: Path) -> None:
    assert load({}, {}, default_file=str(tmp_path / DEFAULT_FILE)).file is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "'prot', which is no setting; did you mean 'port'?"),
        ("call-timeout = 1", "did you mean 'call_timeout'?"),
        ("qqqq = 1", "there are allow"),
        ('port = "x"', "Port must be a whole number, not 'x' (port in "),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load({"config": str(path)}, {})
    assert said.replace("there are allow", "there are always_replay") in str(caught.value)


def test_a_variable_that_makes_no_sense_is_named() -> None:
    with pytest.raises(SettingsError, match=r"not 'x' \(INNGEST_PORT\)\."):
        load({}, {"INNGEST_PORT": "x"})


def test_secrets_have_no_flag() -> None:
    assert [name for name, field in FIELDS.items() if field.secret and field.flags] == []
