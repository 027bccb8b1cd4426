"""What an app tells of itself: to the platform when it is synced, to people and tools on GET (protocol 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stepwell.wire.constants import SDK_NAME, VERSION

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


def in_band(client: Client, functions: Sequence[Function], url: str, framework: str) -> dict[str, Any]:
    """The answer to a platform that asks for the registration itself."""
    return {
        "app_id": client.app_id,
        "appVersion": client.app_version,
        "env": client.config.env,
        "framework": framework,
        "functions": [function.config(url) for function in functions],
        "inspection": inspection(client, functions),
        "platform": None,
        "sdk": _SDK,
        "sdk_author": "stepwell",
        "sdk_language": "py",
        "sdk_version": VERSION,
        "url": url,
        "capabilities": _CAPABILITIES,
    }


def inspection(client: Client, functions: Sequence[Function], trusted: bool | None = None) -> dict[str, Any]:
    """What GET shows. ``trusted``: whether the asker signed; None in dev mode, where nobody has to."""
    config = client.config
    shown: dict[str, Any] = {
        "schema_version": "2024-05-24",
        "function_count": len(functions),
        "has_event_key": bool(config.event_key),
        "has_signing_key": config.signing_key is not None,
        "mode": "dev" if config.dev else "cloud",
        "authentication_succeeded": trusted,
    }
    if trusted is not False:
        shown |= {"app_id": client.app_id, "sdk_language": "py", "sdk_version": VERSION, "extra": {"sdk": SDK_NAME}}
        shown["functions"] = [{"id": function.id, "name": function.name} for function in functions]
    return shown
