"""Settings: flags over environment over defaults, and one sentence about what makes no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.server.settings import Settings, SettingsError, database_path, load_settings, require_keys


def test_defaults() -> None:
    settings = load_settings({}, {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.db_path) == ("127.0.0.1", 8288, ".stepwell/stepwell.db")
    assert (settings.drain_s, settings.retry_interval_ms, settings.discovery, settings.dev) == (30.0, None, True, True)


def test_flags_win_over_ours_over_the_protocols_environment() -> None:
    env = {"INNGEST_PORT": "1", "STEPWELL_PORT": "2", "INNGEST_SIGNING_KEY": "signkey-a-00", "INNGEST_EVENT_KEY": "e"}
    assert load_settings({"port": 3}, env).port == 3
    assert load_settings({"port": None}, env).port == 2
    settings = load_settings({}, env)
    assert (settings.signing_key, settings.event_keys) == ("signkey-a-00", ("e",))


def test_every_variable_is_read() -> None:
    env = {
        "STEPWELL_HOST": "0.0.0.0",
        "STEPWELL_DB": "memory:",
        "STEPWELL_RETRY_INTERVAL": "2s",
        "STEPWELL_DRAIN_SECONDS": "1.5",
        "STEPWELL_EVENT_KEYS": "a, b",
        "STEPWELL_DISCOVERY": "no",
        "STEPWELL_APP_URLS": "http://a/x,https://b/y",
        "STEPWELL_FETCH_ALLOW": "10.0.0.0/8 internal.example",
        "STEPWELL_SIGNING_KEY_FALLBACK": "00ff",
    }
    settings = load_settings({}, env)
    assert settings.db_path is None
    assert (settings.retry_interval_ms, settings.drain_s) == (2000, 1.5)
    assert settings.event_keys == ("a", "b")
    assert settings.discovery is False
    assert settings.app_urls == ("http://a/x", "https://b/y")
    assert settings.allow == ("10.0.0.0/8", "internal.example")
    assert settings.signing_keys == ("00ff",)
    assert settings.url == "http://127.0.0.1:8288"


@pytest.mark.parametrize(
    ("text", "millis"), [("1s", 1000), ("500ms", 500), ("2", 2000), ("0.5", 500), ("1m30s", 90_000)]
)
def test_retry_interval(text: str, millis: int) -> None:
    assert load_settings({"retry_interval_ms": text}, {}).retry_interval_ms == millis


@pytest.mark.parametrize(
    "flags",
    [
        {"port": 70_000},
        {"port": "x"},
        {"host": "a b"},
        {"db": "mysql://x"},
        {"db": "sqlite:///"},
        {"retry_interval_ms": "soon"},
        {"retry_interval_ms": ""},
        {"drain_s": "-1"},
        {"drain_s": "nan"},
        {"drain_s": "inf"},
        {"call_timeout_s": "0"},
        {"call_timeout_s": "nan"},
        {"always_replay": "maybe"},
        {"signing_key": "signkey-prod-xyz"},
        {"signing_key": "signkey-prod-123"},
        {"app_urls": ("localhost:3000",)},
        {"discovery": "maybe"},
        {"kind": "other"},
    ],
)
def test_nonsense_is_one_sentence(flags: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, {})
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_production_needs_keys() -> None:
    with pytest.raises(SettingsError, match="STEPWELL_SIGNING_KEY"):
        require_keys(load_settings({"kind": "cloud"}, {}))
    with pytest.raises(SettingsError, match="STEPWELL_EVENT_KEY"):
        require_keys(load_settings({"kind": "cloud", "signing_key": "00ff"}, {}))
    kept = load_settings({"kind": "cloud", "signing_key": "00ff", "event_keys": ("e",)}, {})
    assert require_keys(kept) is kept


@given(st.text(min_size=1, alphabet=st.characters(exclude_characters="\x00")))
def test_a_path_is_taken_as_it_is(path: str) -> None:
    if path != ":memory:":
        assert database_path(f"sqlite:///{path}") == path


@pytest.mark.parametrize(
    ("host", "url"), [("::", "http://[::1]:8288"), ("::1", "http://[::1]:8288"), ("h", "http://h:8288")]
)
def test_the_url_can_be_reached(host: str, url: str) -> None:
    assert Settings(host=host).url == url
