"""The dashboard as an ASGI application beside the API: who may see it, what every answer carries, errors as pages."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.server.api.body import read_body
from stepwell.server.api.problems import Problem, unavailable
from stepwell.server.api.strangers import refuse_strangers
from stepwell.server.clock import SystemClock
from stepwell.server.dashboard.events import EventsPages
from stepwell.server.dashboard.facade import WatchedEngine
from stepwell.server.dashboard.live import Live
from stepwell.server.dashboard.pages import SECURE, page, redirect, root, static
from stepwell.server.dashboard.pausing import PausingForms
from stepwell.server.dashboard.places import Places
from stepwell.server.dashboard.run import RunPage
from stepwell.server.dashboard.runs import RunsPage
from stepwell.server.dashboard.session import COOKIE, LASTS_S, Sessions
from stepwell.server.dashboard.workers import WorkersPage
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError

_log = logging.getLogger("stepwell.dashboard")
View = Callable[[Request], Awaitable[Response]]
Action = Callable[[Request, Mapping[str, str]], Awaitable[Response]]

PATHS = frozenset(
    {"", "runs", "events", "functions", "apps", "limits", "workers", "start", "static", "live", "login", "logout"}
)
"""First segments of the paths that are the dashboard's; all others are the API's."""
_MAX_FORM = 4 << 20
_SLOWLY_S = 0.3
"""How long a login with a wrong key takes at least."""


def with_dashboard(
    api: ASGIApp, engine: WatchedEngine, settings: Settings, now: Callable[[], int] | None = None
) -> ASGIApp:
    """``api`` and, at ``/`` and below, the dashboard. ``now``: ms since the epoch (default: the system's clock)."""
    pages = _headed(_Dashboard(engine, settings, now or SystemClock().now).app)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and str(scope["path"]).split("/", 2)[1:2] in [[name] for name in PATHS]
        await (pages if ours and scope["method"] != "OPTIONS" else api)(scope, receive, send)

    return either


def _headed(app: ASGIApp) -> ASGIApp:
    """The headers of every answer, errors too."""
    extra = [(name.lower().encode(), value.encode()) for name, value in SECURE.items()]

    async def headed(scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await app(scope, receive, marked)

    return headed


class _Dashboard:
    def __init__(self, engine: WatchedEngine, settings: Settings, now: Callable[[], int]) -> None:
        self._settings = settings
        self._sessions = Sessions(settings)
        runs, run = RunsPage(engine, now), RunPage(engine, now)
        events, places = EventsPages(engine, now), Places(engine, now)
        pausing = PausingForms(engine)
        one = "/runs/{run_id:str}"
        handlers = {HTTPException: _failed, Problem: _failed, StoreError: _failed, Exception: _failed}
        self.app = Starlette(
            routes=[
                Route("/", self._view(runs.get)),
                Route("/runs", _to_runs),
                Route("/runs/many", self._action(runs.many), methods=["POST"]),
                Route(one, self._view(run.get)),
                Route(f"{one}/cancel", self._action(run.cancel), methods=["POST"]),
                Route(f"{one}/rerun", self._action(run.rerun), methods=["POST"]),
                Route(f"{one}/steps/{{step:str}}/image", self._view(run.image)),
                Route("/events", self._view(events.newest)),
                Route("/events/send", self._view(events.form), methods=["GET"]),
                Route("/events/send", self._action(events.send), methods=["POST"]),
                Route("/events/{event_id:str}", self._view(events.show)),
                Route("/functions", self._view(places.functions)),
                Route("/functions/invoke", self._action(events.invoke), methods=["POST"]),
                Route("/functions/pause", self._action(pausing.pause), methods=["POST"]),
                Route("/functions/resume", self._action(pausing.resume), methods=["POST"]),
                Route("/apps", self._view(places.apps)),
                Route("/limits", self._view(places.limits)),
                Route("/workers", self._view(WorkersPage(engine, now).get)),
                Route("/start", self._view(places.start)),
                Route("/live", self._view(Live(engine).get)),
                Route("/login", self._login_form, methods=["GET"]),
                Route("/login", self._login, methods=["POST"]),
                Route("/logout", self._action(self._logout), methods=["POST"]),
                Route("/static/{name:str}", _static),
            ],
            exception_handlers=handlers,
        )
        self.app.router.redirect_slashes = False

    def _session(self, request: Request) -> str | None:
        refuse_strangers(self._settings, request.scope)
        request.state.public_url = self._settings.public_url
        session = self._sessions.known(request.cookies.get(COOKIE), int(time.time()))
        if session is not None:
            request.state.token = self._sessions.token(session)
            request.state.login = not self._settings.dev
        return session

    def _view(self, view: View) -> View:
        async def seen(request: Request) -> Response:
            if self._session(request) is None:
                query = f"?{request.url.query}" if request.url.query else ""
                there = _inside(request.url.path.removeprefix("/") + query)
                return redirect(f"{root(request)}/login" + (f"?next={quote(there)}" if there else ""))
            return await view(request)

        return seen

    def _action(self, action: Action) -> View:
        async def done(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                raise Problem(401, "Your login has ended: log in again, then send the form once more.")
            form = await _form(request)
            if _foreign(request) or not self._sessions.is_token(session, form.get("token", "")):
                raise Problem(403, "This form did not come from this dashboard, or is too old: load its page again.")
            return await action(request, form)

        return done

    async def _login_form(self, request: Request) -> Response:
        return self._login_page(request, request.query_params.get("next", ""))

    async def _login(self, request: Request) -> Response:
        form = await _form(request)
        if _foreign(request):
            raise Problem(403, "This form did not come from this dashboard: load its page again.")
        if not self._sessions.possible or not self._sessions.admits(form.get("key", "")):
            await asyncio.sleep(_SLOWLY_S)
            return self._login_page(request, form.get("next", ""), 401, "That is not the key of this platform.")
        answer = redirect("./" + _inside(form.get("next", "")))
        if not self._settings.dev:
            # without a path: the cookie is for where the login page is, behind any prefix
            secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
            made = f"{COOKIE}={self._sessions.made(int(time.time()))}; Max-Age={LASTS_S}; HttpOnly; SameSite=Lax"
            answer.headers["set-cookie"] = made + ("; Secure" if secure else "")
        return answer

    def _login_page(self, request: Request, there: str, status: int = 200, problem: str = "") -> Response:
        named = "password" if self._settings.dashboard_password else "signing key"
        values = {"next": _inside(there), "problem": problem, "named": named, "possible": self._sessions.possible}
        return page(request, "login", values, status)

    async def _logout(self, _request: Request, _form: Mapping[str, str]) -> Response:
        answer = redirect("./login")
        answer.headers["set-cookie"] = f"{COOKIE}=; Max-Age=0; HttpOnly; SameSite=Lax"
        return answer


async def _to_runs(request: Request) -> Response:
    return redirect("./" + (f"?{request.url.query}" if request.url.query else ""))


async def _static(request: Request) -> Response:
    found = static(str(request.path_params["name"]), request.query_params.get("v", ""))
    if found is None:
        raise Problem(404, "There is no such file.")
    return found


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises :class:`Problem` for one that is too large or no form."""
    body = await read_body(request.scope, request.receive, _MAX_FORM)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Problem(400, "This is not a form.") from None


def _foreign(request: Request) -> bool:
    """Whether the browser says that another site sent this."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return origin is not None and urlsplit(origin).netloc not in hosts


def _inside(there: str) -> str:
    """A way to one of our pages, from the first one; empty for anything else."""
    first = there.partition("?")[0].partition("/")[0]
    plain = there.isascii() and there.isprintable() and there[:1] != "/" and "\\" not in there and " " not in there
    return there if plain and first in PATHS and len(there) < 500 else ""


async def _failed(request: Request, error: Exception) -> Response:
    """The error as a page, with one sentence."""
    headers: Mapping[str, str] = {}
    if isinstance(error, StoreError):
        error = unavailable(error)
    if isinstance(error, Problem):
        status, message, headers = error.status, error.message, error.headers
    elif isinstance(error, HTTPException):
        status = error.status_code
        message = f"There is nothing at {request.url.path}." if status == 404 else error.detail
    else:
        _log.exception("The page %s failed", request.url.path, exc_info=error)
        status, message = 500, "This page failed; the platform's log says why."
    shown = page(request, "problem", {"status": status, "message": message}, status)
    shown.headers.update(headers)
    return shown
