"""What ``stepwell doctor`` looks at: keys, port, database, apps. Each check is one sentence; none of them changes an app."""

import asyncio
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import aiohttp
import msgspec

from stepwell.cli.errors import CliError
from stepwell.cli.platform import is_running, remote
from stepwell.server.build import open_store
from stepwell.server.host import HostError, bind
from stepwell.server.settings import Settings, SettingsError, require_keys
from stepwell.server.settings.shown import misspelt
from stepwell.server.store.base import StoreError
from stepwell.server.syncing import NotAnApp, ask_app
from stepwell.wire.constants import IN_PROCESS_URL
from stepwell.wire.masks import mask_text


class Verdict(StrEnum):
    """How a check went. A warning fails nothing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True):
    """One check. ``message``: one sentence: what is, and what to do about it."""

    name: str
    verdict: Verdict
    message: str


class Known(msgspec.Struct, frozen=True):
    """An app as a platform or a database knows it."""

    name: str
    url: str
    functions: frozenset[str]


async def examine(settings: Settings, env: Mapping[str, str]) -> list[Check]:
    """Every check, in the order in which a start would come to them."""
    checks = [Check("environment", Verdict.WARNING, sentence) for sentence in misspelt(env)]
    checks.append(_keys(settings))
    running = await is_running(settings)
    checks.append(_port(settings, running))
    database, known = await (_platform(settings) if running else _database(settings))
    return [*checks, database, *await _apps(settings, known, running)]


def _keys(settings: Settings) -> Check:
    if settings.dev:
        return Check("keys", Verdict.OK, "A development platform asks for no keys.")
    try:
        require_keys(settings)
    except SettingsError as problem:
        return Check("keys", Verdict.FAILED, str(problem))
    return Check("keys", Verdict.OK, "There are a signing key and an event key.")


def _port(settings: Settings, running: bool) -> Check:
    if running:
        return Check("port", Verdict.OK, f"A platform runs at {settings.url}.")
    try:
        bind(settings.host, settings.port).close()
    except (HostError, OSError) as problem:
        return Check("port", Verdict.FAILED, str(problem))
    return Check("port", Verdict.OK, f"Port {settings.port} of {settings.host} is free.")


async def _platform(settings: Settings) -> tuple[Check, list[Known]]:
    try:
        async with remote(settings, settings.url) as platform:
            apps = await platform.apps()
            known = [
                Known(str(app["name"]), str(app["url"]), frozenset(await platform.functions(str(app["name"]))))
                for app in apps
            ]
    except CliError as problem:
        return Check("database", Verdict.FAILED, f"The platform at {settings.url} refuses to say: {problem}"), []
    return Check("database", Verdict.OK, f"The platform at {settings.url} has the database open."), known


async def _database(settings: Settings) -> tuple[Check, list[Known]]:
    path = settings.db_path
    if path is None and not settings.postgres:
        return Check(
            "database", Verdict.WARNING, "The state is kept in memory: it is gone when the platform stops."
        ), []
    if path is not None and not await asyncio.to_thread(os.path.exists, path):
        return await asyncio.to_thread(_missing, Path(path)), []
    store = open_store(settings.db, keys=settings.encryption_keys, listen=settings.db_listen, seals=False)
    try:
        await store.open()
        apps = await store.load_apps()
        await store.close()
    except StoreError as problem:
        return Check("database", Verdict.FAILED, str(problem)), []
    return Check("database", Verdict.OK, f"{path or 'The PostgreSQL database'} opens."), [
        Known(app.app_id, app.url, _ids(app.functions)) for app in apps
    ]


def _ids(functions: bytes) -> frozenset[str]:
    return frozenset(str(each["id"]) for each in msgspec.json.decode(functions, type=list[dict[str, object]]))


def _missing(path: Path) -> Check:
    folder = next((each for each in path.absolute().parents if each.exists()), path)
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check("database", Verdict.FAILED, f"{path} can not be made: {folder} can not be written to.")
    return Check("database", Verdict.OK, f"{path} is made at the first start.")


async def _apps(settings: Settings, known: list[Known], running: bool) -> list[Check]:
    """Every app that the settings name or that is registered, but for those that live in a platform's process."""
    by_url = {app.url: app for app in known if not app.url.startswith(IN_PROCESS_URL)}
    urls = [*settings.app_urls, *(url for url in by_url if url not in settings.app_urls)]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        found = [await _app(session, settings, url, known, running) for url in urls]
    return [msgspec.structs.replace(check, message=mask_text(check.message)) for check in found]


async def _app(
    session: aiohttp.ClientSession, settings: Settings, url: str, known: list[Known], running: bool
) -> Check:
    try:
        told = await ask_app(session, url, settings)
    except NotAnApp as problem:
        return Check("app", Verdict.FAILED, str(problem))
    if told is None:
        return Check("app", Verdict.WARNING, f"The app at {url} answers, and does not say what functions it has.")
    app = next((each for each in known if each.name == told.app_name), None)
    registered = app.functions if app is not None else frozenset[str]()
    wrong = registered ^ {function.id for function in told.functions}
    count, verb = ("1 function", "is") if len(told.functions) == 1 else (f"{len(told.functions)} functions", "are")
    if not wrong:
        return Check("app", Verdict.OK, f"The app {told.app_name} at {url} answers; its {count} {verb} in sync.")
    where = f"`curl -X PUT {url}` syncs it" if running else "a platform syncs it at its start"
    names = ", ".join(sorted(wrong)[:5])
    return Check("app", Verdict.WARNING, f"The app {told.app_name} at {url} is not in sync ({names}); {where}.")
