"""How each URL is doing at which this process looks for an app, and what that means for the apps that are known."""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from stepwell.server.store.base import AppRecord
from stepwell.wire.app_urls import normalise_url


@dataclass(slots=True)
class AppState:
    """What is known of one URL. ``error`` is one sentence while it can not be synced, ``mode`` how it was last."""

    url: str
    found: bool = False
    """Whether it was probed for, rather than asked for: such a one is forgotten when it goes away and was no app yet."""
    connected: bool = False
    error: str | None = None
    mode: str | None = None
    app: str | None = None
    fingerprint: str | None = None


class Syncs:
    """The states by URL. Whoever looks for apps writes them."""

    def __init__(self) -> None:
        self.states: dict[str, AppState] = {}

    def seen(self, apps: Iterable[AppRecord]) -> list[AppRecord]:
        """The apps, each with what keeps it from being synced now."""
        return [replace(app, error=self._error(app) or app.error) for app in apps]

    def strangers(self, apps: Iterable[AppRecord]) -> list[AppState]:
        """The URLs that no app was synced from, and that say why: by URL."""
        known = list(apps)
        found = (one for one in self.states.values() if one.error and not any(_is(one, app) for app in known))
        return sorted(found, key=lambda one: one.url)

    def _error(self, app: AppRecord) -> str | None:
        states = [one for one in self.states.values() if _is(one, app)]
        if any(one.connected for one in states):
            return None
        return next((one.error for one in states if one.error), None)


def _is(state: AppState, app: AppRecord) -> bool:
    if state.app is not None:
        return state.app == app.app_id
    try:
        return normalise_url(state.url) == app.url
    except ValueError:
        return False
