"""The apps that are known, how they are reached, and which functions an event starts."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from stepwell.core.cron import Cron, crons_of
from stepwell.core.flow.starts import StartRules, rules_for
from stepwell.core.model import StoredEvent
from stepwell.core.triggers import TriggerIndex
from stepwell.server.caller.base import Caller
from stepwell.server.store.base import AppRecord
from stepwell.wire.constants import IN_PROCESS_URL
from stepwell.wire.functions import FunctionConfig, parse_function
from stepwell.wire.ids import stable_uuid


@dataclass(slots=True)
class App:
    """One app: its record, its functions by id, and its own caller when it lives in this process."""

    record: AppRecord
    functions: dict[str, FunctionConfig] = field(default_factory=dict[str, FunctionConfig])
    caller: Caller | None = None
    crons: tuple[Cron, ...] = ()
    uuids: dict[str, str] = field(default_factory=dict[str, str])

    def uuid(self, function_id: str) -> str:
        """The UUID of a function, the same at every sync."""
        found = self.uuids.get(function_id)
        if found is None:
            found = self.uuids[function_id] = stable_uuid(self.record.app_id, function_id)
        return found


@dataclass(slots=True, frozen=True)
class Match:
    """A function that an event starts, with the rules of the run."""

    app_id: str
    config: FunctionConfig
    rules: StartRules


class Registry:
    """Apps by id. ``http`` calls every app that has no caller of its own."""

    def __init__(self, http: Caller) -> None:
        self._http = http
        self._apps: dict[str, App] = {}
        self._owners: dict[str, str] = {}
        self._index = TriggerIndex([])

    def put(self, record: AppRecord, caller: Caller | None = None) -> None:
        """Insert or replace an app, with the functions of its record. Raises ValueError when they can not be read."""
        objects: list[object] = msgspec.json.decode(record.functions)
        functions = [parse_function(item, record.url) for item in objects]
        old = self._apps.get(record.app_id)
        kept = caller or (old.caller if old is not None else None)
        crons = tuple(cron for config in functions for cron in crons_of(config))
        self._apps[record.app_id] = App(record, {config.id: config for config in functions}, kept, crons)
        self._owners = {fn: app_id for app_id, app in self._apps.items() for fn in app.functions}
        self._index = TriggerIndex(self.functions())

    def apps(self) -> list[AppRecord]:
        """Every app, by id."""
        return [self._apps[app_id].record for app_id in sorted(self._apps)]

    def here(self) -> tuple[str, ...]:
        """Ids of the apps whose functions are in this process."""
        return tuple(sorted(app_id for app_id, app in self._apps.items() if app.caller is not None))

    def functions(self) -> list[FunctionConfig]:
        """Every function of every app."""
        return [config for app in self._apps.values() for config in app.functions.values()]

    def get(self, app_id: str) -> AppRecord | None:
        """One app."""
        app = self._apps.get(app_id)
        return app.record if app is not None else None

    def owner(self, function_id: str) -> str | None:
        """The app of a function."""
        return self._owners.get(function_id)

    def archived(self, app_id: str, function_id: str) -> bool:
        """Whether the app is known, and has no such function any more."""
        app = self._apps.get(app_id)
        return app is not None and function_id not in app.functions

    def route(self, app_id: str, function_id: str) -> tuple[Caller, str, str] | None:
        """How to call a function: caller, url, UUID. None while the app is not connected."""
        app = self._apps.get(app_id)
        if app is None:
            return None
        uuid = app.uuid(function_id)
        if app.caller is not None:
            return app.caller, app.record.url, uuid
        if app.record.url.startswith(IN_PROCESS_URL):
            return None
        config = app.functions.get(function_id)
        return self._http, config.url if config is not None else app.record.url, uuid

    def matches(self, event: StoredEvent) -> list[Match]:
        """What an event starts."""
        found = self._index.match(event.name, event.body, event.received_at)
        return [self._match(function_id, event) for function_id in found]

    def find(self, function_id: str, event: StoredEvent) -> Match | None:
        """One function by its id or its UUID, whatever it listens to (protocol 5.2); None when there is none."""
        if function_id in self._owners:
            return self._match(function_id, event)
        for slug, app_id in self._owners.items():
            if self._apps[app_id].uuid(slug) == function_id:
                return self._match(slug, event)
        return None

    def listens(self, names: Iterable[str]) -> bool:
        """Whether any function may be started by events of these names."""
        return any(self._index.listens(name) for name in names)

    def crons(self) -> dict[Cron, int]:
        """Every cron of every function, and since when (ms) its app has been as it is."""
        apps = self._apps.values()
        return {cron: app.record.synced_at for app in apps for cron in app.crons}

    def _match(self, function_id: str, event: StoredEvent) -> Match:
        app_id = self._owners[function_id]
        config = self._apps[app_id].functions[function_id]
        return Match(app_id, config, rules_for(config, event.body, now_ms=event.received_at))
