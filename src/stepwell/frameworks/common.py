"""What all adapters share: where the endpoint is, and the answers that need no handler."""

from stepwell.sdk.public_url import check_path
from stepwell.sdk.serve import Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES

PATH = "/api/stepwell"
"""Where the endpoint is, unless said otherwise."""
METHODS = ("GET", "POST", "PUT")
"""What it takes; HEAD and OPTIONS are the framework's."""
TOO_LARGE: Reply = (
    413,
    {"content-type": "text/plain"},
    f"the request's body is too large: {MAX_REQUEST_BYTES} bytes are allowed".encode(),
)
NOT_FOUND: Reply = (404, {"content-type": "text/plain"}, b"not found")


def mounted(path: str | None, serve_path: str | None) -> str:
    """Where an adapter listens: at ``path``, else where the platform is told to call, else at ``PATH``."""
    return check_path(path or serve_path or PATH)
