"""Templates to responses. All links are relative, so that the pages work behind any path prefix that a proxy takes off."""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

import jinja2
from starlette.requests import Request
from starlette.responses import Response

from stepwell.core.flow.words import passed
from stepwell.server.dashboard import words

_FOLDER = files(__package__ or "")
_KINDS: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
SECURE: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer."""
_HOST = re.compile(r"[\w.\[\]:-]+")


@cache
def environment() -> jinja2.Environment:
    """The templates; everything that is put into one is escaped, and a name that is not given is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("stepwell.server.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "duration": words.duration,
        "iso": words.iso,
        "clock": words.clock,
        "size": words.size,
        "kind": words.kind,
        "passed": passed,
        "capitalize_first": words.capitalised,
    }
    return made


def root(request: Request) -> str:
    """The way from this page to the first one: ``.``, ``..``, ``../..``."""
    depth = request.url.path.count("/") - request.scope.get("root_path", "").count("/") - 1
    return "/".join([".."] * depth) or "."


def address(request: Request) -> str:
    """Where the platform is, for commands on a page: what its settings say, else where this page was asked for.

    Proxies tell of that in ``x-forwarded-proto`` and ``x-forwarded-host``.
    """
    public: str | None = getattr(request.state, "public_url", None)
    if public:
        return public.rstrip("/")
    scheme, host = (
        request.headers.get(f"x-forwarded-{name}", "").partition(",")[0].strip() for name in ("proto", "host")
    )
    scheme = scheme if scheme in ("http", "https") else request.url.scheme
    return f"{scheme}://{host if _HOST.fullmatch(host) else request.url.netloc}"


def page(request: Request, name: str, values: Mapping[str, object], status: int = 200) -> Response:
    """A whole page. ``request.state`` has the session's form token."""
    theme = request.cookies.get("stepwell-theme", "")
    text = (
        environment()
        .get_template(f"{name}.html")
        .render(
            root=root(request),
            version=_version(),
            theme=theme if theme in ("light", "dark") else "",
            form_token=getattr(request.state, "token", ""),
            login=getattr(request.state, "login", False),
            here=request.url.path.split("/")[1] if request.url.path.count("/") else "",
            **values,
        )
    )
    return Response(text, status, {"Cache-Control": "no-store"}, "text/html")


def redirect(to: str) -> Response:
    """See other; ``to`` is relative, so that the prefix stays."""
    return Response(status_code=303, headers={"Location": to, "Cache-Control": "no-store"})


def static(name: str, asked_version: str) -> Response | None:
    """One of our static files; None when there is no such one. With its version in the URL it may be kept for ever."""
    found = _static().get(name)
    if found is None:
        return None
    keep = "public, max-age=31536000, immutable" if asked_version == _version() else "no-cache"
    return Response(found, 200, {"Cache-Control": keep}, _KINDS[name.rpartition(".")[2]])


@cache
def _static() -> dict[str, bytes]:
    folder = _FOLDER.joinpath("static")
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name.rpartition(".")[2] in _KINDS}


@cache
def _version() -> str:
    return sha256(b"".join(data for _, data in sorted(_static().items()))).hexdigest()[:12]
