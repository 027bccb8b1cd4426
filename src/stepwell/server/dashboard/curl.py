"""Requests as commands for a shell. Pure."""

import shlex

import msgspec

from stepwell.server.api.masks import mask_url


def of_info(info: bytes | None) -> str | None:
    """What is kept of a step's request: its method, and its URL without the query; None where the step is none."""
    try:
        found = msgspec.json.decode(info or b"", type=dict[str, object])
    except msgspec.MsgspecError:
        return None
    url, method = found.get("url"), found.get("method")
    if not isinstance(url, str) or not isinstance(method, str):
        return None
    return shlex.join(["curl", "-X", method, mask_url(url)])


def of_event(address: str, name: str, data: object) -> str:
    """An event sent once more; the key is a placeholder, and a dev platform takes any."""
    body = msgspec.json.encode({"name": name, "data": data}).decode()
    headers = ["-H", "content-type: application/json"]
    return shlex.join(["curl", "-X", "POST", f"{address}/e/EVENT_KEY", *headers, "--data-raw", body])
