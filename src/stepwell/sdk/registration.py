"""What an app tells of itself: to the platform when it is synced, to people and tools on GET (protocol 1.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stepwell.sdk.config import Config
from stepwell.wire.constants import SDK_NAME, VERSION
from stepwell.wire.signing import hashed_key

if TYPE_CHECKING:
    from stepwell.sdk.client import Client
    from stepwell.sdk.functions import Function

_SDK = f"{SDK_NAME}:v{VERSION}"
_CAPABILITIES = {"in_band_sync": "v1", "trust_probe": "v1"}


def out_of_band(client: Client, functions: Sequence[Function], url: str, framework: str) -> dict[str, Any]:
    """The body that registers the app at the platform."""
    return {
        "url": url,
        "deployType": "ping",
        "appName": client.app_id,
        "appVersion": client.app_version,
        "sdk": _SDK,
        "v": "0.1",
        "framework": framework,
        "capabilities": _CAPABILITIES,
        "functions": [function.config(url) for function in functions],
    }


def in_band(
    client: Client, functions: Sequence[Function], url: str, framework: str, trusted: bool | None
) -> dict[str, Any]:
    """The answer to a platform that asks for the registration itself. ``trusted``: as of :func:`inspection`."""
    return {
        "app_id": client.app_id,
        "appVersion": client.app_version,
        "env": client.config.env,
        "framework": framework,
        "functions": [function.config(url) for function in functions],
        "inspection": inspection(client, functions, url, framework, trusted),
        "platform": None,
        "sdk": _SDK,
        "sdk_author": "stepwell",
        "sdk_language": "py",
        "sdk_version": VERSION,
        "url": url,
        "capabilities": _CAPABILITIES,
    }


def inspection(
    client: Client, functions: Sequence[Function], url: str, framework: str, trusted: bool | None
) -> dict[str, Any]:
    """What GET shows. ``trusted``: whether the asker signed; None in dev mode, where nobody has to."""
    config = client.config
    shown: dict[str, Any] = {
        "schema_version": "2024-05-24",
        "function_count": len(functions) - sum(len(function.hooks) for function in functions),
        "has_event_key": bool(config.event_key),
        "has_signing_key": config.signing_key is not None,
        "has_signing_key_fallback": config.signing_key_fallback is not None,
        "mode": "dev" if config.dev else "cloud",
        "app_id": client.app_id,
        "sdk_language": "py",
        "sdk_version": VERSION,
        "extra": {"sdk": SDK_NAME},
        "functions": [{"id": function.id, "name": function.name} for function in functions],
    }
    return shown | _trusted(config, url, framework) if trusted else shown


def _trusted(config: Config, url: str, framework: str) -> dict[str, Any]:
    """What only who has the key may know. Keys are shown by their hashes."""
    at = urlsplit(url)
    return {
        "api_origin": config.api_url,
        "authentication_succeeded": True,
        "capabilities": _CAPABILITIES,
        "env": config.env,
        "event_api_origin": config.event_url,
        "event_key_hash": hashlib.sha256(config.event_key.encode()).hexdigest(),
        "framework": framework,
        "serve_origin": f"{at.scheme}://{at.netloc}",
        "serve_path": at.path,
        "signing_key_fallback_hash": _hash(config.signing_key_fallback),
        "signing_key_hash": _hash(config.signing_key),
    }


def _hash(key: str | None) -> str | None:
    """The hash of a signing key without its prefix; None for none, and for one that is not hex."""
    try:
        return None if key is None else hashed_key(key).rpartition("-")[2]
    except ValueError:
        return None
