"""``stepwell fetch --json``: the response, and how it came, as one JSON object."""

import base64
import io
import json
import sys
from typing import cast

from stepwell.cli.clock import span
from stepwell.cli.platform import Platform
from stepwell.cli.receive import write

Json = dict[str, object]


async def deliver_json(platform: Platform, run_id: str, steps: list[Json], *, file: str | None) -> int:
    """Print the object; its body goes to ``file`` where there is one. 0, or 1 when the status is 400 or above."""
    step = [step for step in steps if step["op"] == "Gateway" and step.get("output") is not None][-1]
    kept = io.BytesIO()
    response = await write(platform, step["output"], file, kept)
    said: Json = {
        "run_id": run_id,
        "status": response.status,
        "url": response.url,
        "http_version": response.http_version,
        "headers": response.headers,
        **(_body(kept.getvalue()) if file is None else {"file": file}),
        "redirects": [{"status": hop.status, "url": hop.url} for hop in response.history],
        "started_at": step["created_at"],
        "ended_at": step["ended_at"],
        "duration_ms": round(span(step["created_at"], step["ended_at"]) or 0),
        "attempts": cast("list[Json]", step["attempts"]),
    }
    print(json.dumps(said, ensure_ascii=False))
    sys.stdout.flush()
    return 1 if response.status >= 400 else 0


def _body(data: bytes) -> Json:
    """Text as it is, anything else in base64."""
    try:
        return {"body": data.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(data).decode()}
