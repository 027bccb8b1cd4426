"""Apps and their functions: read when the store is opened, taken over when one is synced."""

import logging

import msgspec

from stepwell.core.triggers import problems
from stepwell.server.caller.base import Caller
from stepwell.server.clock import Clock
from stepwell.server.runtime.crons import Crons
from stepwell.server.runtime.registry import Registry
from stepwell.server.store.base import AppRecord, Store
from stepwell.wire.function_render import render_function
from stepwell.wire.functions import BadRegistration, Registration
from stepwell.wire.ids import stable_uuid

logger = logging.getLogger("stepwell.engine")


class Apps:
    """Keeps the registry and the schedules at what is stored."""

    def __init__(self, store: Store, registry: Registry, crons: Crons, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._crons = crons
        self._clock = clock

    async def load(self) -> None:
        """Take over what is stored. Raises StoreError."""
        for record in await self._store.load_apps():
            if record == self._registry.get(record.app_id):
                continue
            try:
                self._registry.put(record, None)
            except ValueError as problem:
                logger.error("the app %s is left out until it is synced again: %s", record.app_id, problem)
            self._crons.refresh()

    async def register(self, registration: Registration, caller: Caller | None = None) -> tuple[bool, str]:
        """Take over an app's functions; whether anything changed, and the app's UUID.

        Raises BadRegistration when an expression of a function can not be read, StoreError.
        """
        for config in registration.functions:
            for sentence in problems(config):
                raise BadRegistration(sentence)
        app_id = registration.app_name
        old = self._registry.get(app_id)
        record = AppRecord(
            app_id=app_id,
            url=registration.url,
            sdk=registration.sdk,
            checksum=registration.checksum,
            functions=msgspec.json.encode([render_function(config) for config in registration.functions]),
            synced_at=self._clock.now(),
        )
        modified = old is None or old.checksum != record.checksum or old.url != record.url
        if modified:
            await self._store.save_app(record)  # first: what could not be saved must count as modified the next time
        self._registry.put(record, caller)
        self._crons.refresh()
        return modified, stable_uuid(app_id)
