"""What a function asks for when it is registered (protocol 1.3). Durations in milliseconds."""

from enum import StrEnum

import msgspec

from stepwell.wire.constants import DEFAULT_RETRIES


class Scope(StrEnum):
    """Who shares the slots of a concurrency entry: the function's runs, or those of all functions."""

    FN = "fn"
    ENV = "env"
    ACCOUNT = "account"


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """What starts a run: an ``event`` (a name or a pattern ending in ``/*`` or ``.*``), or a ``cron`` schedule."""

    event: str | None = None
    expression: str | None = None
    cron: str | None = None
    jitter_ms: int = 0


class Concurrency(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``limit`` at once for each value of ``key`` (an expression)."""

    limit: int
    key: str | None = None
    scope: Scope = Scope.FN


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """``limit`` in each period, evenly spread, and up to ``burst`` at once (0 as 1)."""

    limit: int
    period_ms: int
    burst: int = 0
    key: str | None = None


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """``limit`` runs in each period; what is above starts no run."""

    limit: int
    period_ms: int
    key: str | None = None


class Debounce(msgspec.Struct, frozen=True, kw_only=True):
    """A run starts when no event came for the period, ``timeout_ms`` after the first one at the latest."""

    period_ms: int
    key: str | None = None
    timeout_ms: int | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Up to ``max_size`` events start one run together, ``timeout_ms`` after the first one at the latest."""

    max_size: int
    timeout_ms: int
    key: str | None = None
    condition: str | None = None


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """An event that ends the run. ``timeout`` is a duration or an instant, as it was written."""

    event: str
    condition: str | None = None
    timeout: str | None = None


class RunTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run may wait for its start, and how long it may then take."""

    start_ms: int | None = None
    finish_ms: int | None = None


class SingletonMode(StrEnum):
    """What happens to a new run while one is active: it is skipped, or the active one is cancelled."""

    SKIP = "skip"
    CANCEL = "cancel"


class Singleton(msgspec.Struct, frozen=True, kw_only=True):
    """One run at a time for each value of ``key``."""

    mode: SingletonMode
    key: str | None = None


class FunctionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A registered function. ``id`` is its slug, with the app's prefix. ``url`` is where its steps run."""

    id: str
    name: str
    url: str = ""
    runtime: str = "http"
    triggers: tuple[Trigger, ...] = ()
    retries: int = DEFAULT_RETRIES
    concurrency: tuple[Concurrency, ...] = ()
    """Slots of executing steps: at most two entries."""
    run_concurrency: tuple[Concurrency, ...] = ()
    """Slots that a run holds from its start to its end."""
    throttle: Throttle | None = None
    fetch_throttle: Throttle | None = None
    rate_limit: RateLimit | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    priority: str | None = None
    cancel: tuple[Cancel, ...] = ()
    timeouts: RunTimeouts | None = None
    singleton: Singleton | None = None
    idempotency: str | None = None

    @property
    def max_attempts(self) -> int:
        """Attempts in all: the retries and the first one."""
        return self.retries + 1


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What an app says of itself in a sync. ``checksum`` is the same for the same content."""

    app_name: str
    url: str
    sdk: str = ""
    framework: str = ""
    platform: str = ""
    app_version: str = ""
    deploy_id: str = ""
    functions: tuple[FunctionConfig, ...] = ()
    checksum: str = ""
