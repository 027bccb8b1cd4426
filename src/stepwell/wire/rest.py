"""The bodies of REST answers (protocol section 0)."""

import msgspec


def error_body(status: int, error: str, code: str | None = None) -> bytes:
    """``{"error", "status", "data": null}``, and a ``code`` where there is one."""
    members: dict[str, object] = {"error": error, "status": status, "data": None}
    if code is not None:
        members["code"] = code
    return msgspec.json.encode(members)


def success_body(data: bytes, fetched_at: str) -> bytes:
    """``{"data", "metadata"}`` around ``data``, which is JSON already. ``fetched_at`` is an RFC 3339 instant."""
    return (
        b'{"data":' + data + b',"metadata":{"fetched_at":' + msgspec.json.encode(fetched_at) + b',"cached_until":null}}'
    )
