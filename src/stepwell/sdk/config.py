"""Settings of the user's side: arguments, then ``STEPWELL_*``, then the protocol's ``INNGEST_*`` variables."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from stepwell.errors import ConfigError
from stepwell.sdk.public_url import check_origin, check_path

DEV_URL = "http://127.0.0.1:8288"
DEV_KEY = "dev"
_FALSE = {"", "0", "false", "no", "off"}
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where the platform is, and the keys. ``dev``: signatures are neither made nor checked.

    ``in_band``: whether the app may be registered by its answer to the platform, rather than by a request of its own.
    ``serve_origin``, ``serve_path``: where the platform reaches the app, if that is not what the app's requests say.
    """

    dev: bool
    api_url: str
    event_url: str
    event_key: str
    signing_key: str | None = None
    signing_key_fallback: str | None = None
    env: str | None = None
    serve_origin: str | None = None
    serve_path: str | None = None
    in_band: bool = True
    timeout_s: float | None = None
    """For each request to the platform; None: what each of them has by default."""


_LEVELS = {"silent": logging.CRITICAL + 1, "fatal": logging.CRITICAL, "trace": logging.DEBUG}
"""Words for levels that Python has not, and the protocol's other SDKs have."""


def read_level(environ: Mapping[str, str] | None = None) -> int | None:
    """The level that ``STEPWELL_LOG_LEVEL`` names; None when it does not. Raises ``ConfigError``."""
    text = _variable(os.environ if environ is None else environ, "LOG_LEVEL")
    if text is None:
        return None
    level = _LEVELS.get(text.lower()) or logging.getLevelNamesMapping().get(text.upper())
    if level is None:
        raise ConfigError(f"STEPWELL_LOG_LEVEL is {text[:40]!r}: use debug, info, warning, error, fatal or silent")
    return level


def read_config(
    environ: Mapping[str, str] | None = None,
    *,
    is_production: bool | None = None,
    api_base_url: str | None = None,
    event_api_base_url: str | None = None,
    event_key: str | None = None,
    signing_key: str | None = None,
    env: str | None = None,
    request_timeout: int | timedelta | None = None,
) -> Config:
    """The settings in force. Raises ``ConfigError``: without dev mode, the platform's address must be given."""
    source = os.environ if environ is None else environ
    dev_text = _variable(source, "DEV") or ""
    dev_url = dev_text.rstrip("/") if "://" in dev_text else None
    if dev_url is None and dev_text.lower() not in _FALSE | _TRUE:
        raise ConfigError(f"STEPWELL_DEV is {dev_text!r}: set it to 1, 0 or the URL of the dev server")
    key = signing_key or _variable(source, "SIGNING_KEY")
    dev = _is_dev(is_production, dev_text, key)
    origin, path = _variable(source, "SERVE_ORIGIN"), _variable(source, "SERVE_PATH")
    base = _variable(source, "BASE_URL") or dev_url or DEV_URL
    return Config(
        dev=dev,
        api_url=_url(api_base_url or _variable(source, "API_BASE_URL") or base),
        event_url=_url(event_api_base_url or _variable(source, "EVENT_API_BASE_URL") or base),
        event_key=event_key or _variable(source, "EVENT_KEY") or DEV_KEY,
        signing_key=key,
        signing_key_fallback=_variable(source, "SIGNING_KEY_FALLBACK"),
        env=env or _variable(source, "ENV"),
        serve_origin=check_origin(origin) if origin else None,
        serve_path=check_path(path) if path else None,
        in_band=(_variable(source, "ALLOW_IN_BAND_SYNC") or "1").lower() not in _FALSE,
        timeout_s=_seconds(request_timeout),
    )


def _seconds(timeout: int | timedelta | None) -> float | None:
    """A number is milliseconds, as in the other SDKs of the protocol."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | timedelta | None):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise ConfigError(f"request_timeout is {timeout!r}: give milliseconds or a timedelta, more than 0")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout and timeout / 1000
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"request_timeout is {timeout!r}: give milliseconds or a timedelta, more than 0")
    return seconds


def _is_dev(is_production: bool | None, dev_text: str, key: str | None) -> bool:
    """Said by argument, else by variable, else: dev as long as there is no key to check signatures with."""
    if is_production is not None:
        if not isinstance(is_production, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
            raise ConfigError(f"is_production is {is_production!r}: say True or False")
        return not is_production
    if dev_text:
        return dev_text.lower() not in _FALSE
    return key is None


def _variable(source: Mapping[str, str], name: str) -> str | None:
    return source.get(f"STEPWELL_{name}") or source.get(f"INNGEST_{name}") or None


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ConfigError(f"{text!r} is not the URL of a platform: it begins with http:// or https://")
    return text.rstrip("/")
