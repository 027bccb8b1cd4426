"""When a cron schedule comes: five fields or a word such as ``@daily``, in a time zone (protocol 1.3, 5.10). Times in ms.

Over a change of the clocks it goes as in Debian's cron: a time that is skipped comes when the clock has jumped, a time that is
there twice comes once; what comes every hour or more often goes by the time that passes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from stepwell.core.outputs import SystemEvent
from stepwell.wire.function_config import FunctionConfig

SCHEDULED: Final = "inngest/scheduled.timer"
LATE_MS: Final = 60_000
"""A tick that is noticed this late still counts (the process was busy, or started anew); a later one is missed."""

_JITTER_FROM_MS: Final = 1_000
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_HELP: Final = (
    "write minute, hour, day, month and weekday, such as '0 9 * * MON-FRI', after 'TZ=Europe/Berlin ' if need be"
)


class BadCron(ValueError):
    """The schedule can not be read. One sentence."""


class Cron(msgspec.Struct, frozen=True):
    """A cron trigger of a function. ``jitter_ms``: each tick is put off by some time below that; 0 for none."""

    function_id: str
    cron: str
    jitter_ms: int = 0


class Tick(NamedTuple):
    """The schedule says ``scheduled_at``; with the jitter, the run starts ``fires_at``."""

    scheduled_at: int
    fires_at: int


def crons_of(function: FunctionConfig) -> list[Cron]:
    """The cron triggers of a function, each once; without those that can not be read."""
    found = [Cron(function.id, one.cron, one.jitter_ms) for one in function.triggers if one.cron is not None]
    return [cron for cron in dict.fromkeys(found) if problem(cron.cron) is None]


def problem(text: str) -> str | None:
    """What is wrong with a schedule; None when it is well."""
    try:
        expression, zone = _parse(text)
        first = next(_ticks(expression, zone, 0), None)
    except BadCron as bad:
        return str(bad)
    return f"cron {text!r} never comes: {_HELP}" if first is None else None


def next_tick(cron: Cron, after: int) -> Tick | None:
    """The first tick that fires after that time; None when there is none within fifty years."""
    best: Tick | None = None
    for tick in _from(cron, after):
        if tick.fires_at > after and (best is None or tick.fires_at < best.fires_at):
            best = tick
        if best is not None and tick.scheduled_at + min(cron.jitter_ms, _JITTER_FROM_MS) >= best.fires_at:
            break
    return best


def next_runs(cron: Cron, after: int, count: int) -> list[Tick]:
    """The next ticks, as people ask for them."""
    found: list[Tick] = []
    while len(found) < count and (tick := next_tick(cron, after)) is not None:
        found.append(tick)
        after = tick.fires_at
    return found


def tick_event(cron: Cron, tick: Tick) -> SystemEvent:
    """The event of a tick (protocol 5.7). Its id is the scheduled time, so that a function has one run for it."""
    scheduled, fires = _instant(tick.scheduled_at), _instant(tick.fires_at)
    data = msgspec.json.encode({"cron": cron.cron, "scheduledAt": scheduled, "fireAt": fires})
    return SystemEvent(name=SCHEDULED, data=data, event_id=scheduled, function_id=cron.function_id)


class Agenda:
    """Which ticks are due. Remembers for each cron up to when its ticks have been seen to."""

    def __init__(self) -> None:
        self._seen: dict[Cron, int] = {}

    def update(self, crons: Mapping[Cron, int]) -> None:
        """These crons, no others, from here on; a new one from the time (ms) it comes with."""
        self._seen = {cron: self._seen.get(cron, since) for cron, since in crons.items()}

    def due(self, now: int) -> list[tuple[Cron, Tick]]:
        """The ticks that have come and not been seen to, oldest first; those of long ago are missed."""
        found = [
            (cron, tick)
            for cron, seen in self._seen.items()
            for tick in _between(cron, max(min(seen, now), now - LATE_MS), now)
        ]
        return sorted(found, key=lambda pair: pair[1].fires_at)

    def passed(self, now: int) -> None:
        """What was due ``now`` has been seen to. A clock that was set back is believed."""
        self._seen = dict.fromkeys(self._seen, now)

    def next_at(self) -> int | None:
        """When the next tick fires; it may be in the past."""
        ticks = (next_tick(cron, seen) for cron, seen in self._seen.items())
        return min((tick.fires_at for tick in ticks if tick is not None), default=None)


def _between(cron: Cron, after: int, until: int) -> Iterable[Tick]:
    for tick in _from(cron, after):
        if tick.scheduled_at > until:
            return
        if after < tick.fires_at <= until:
            yield tick


def _from(cron: Cron, after: int) -> Iterator[Tick]:
    """The ticks that may fire after that time, as they are scheduled."""
    for scheduled_at in _ticks(*_parse(cron.cron), after - cron.jitter_ms):
        yield Tick(scheduled_at, scheduled_at + _jitter(cron, scheduled_at))


def _jitter(cron: Cron, scheduled_at: int) -> int:
    """From a second up to the jitter; the same in every process."""
    if not cron.jitter_ms:
        return 0
    seed = hashlib.sha256(f"{cron.function_id}\n{cron.cron}\n{scheduled_at}".encode()).digest()
    return _JITTER_FROM_MS + int.from_bytes(seed[:8], "big") % max(1, cron.jitter_ms - _JITTER_FROM_MS)


@lru_cache(maxsize=4_096)
def _parse(text: str) -> tuple[str, tzinfo]:
    """The five fields and the zone. Raises BadCron."""
    words = text.split()
    zone: tzinfo = UTC
    if words and words[0].startswith(("TZ=", "CRON_TZ=")):
        zone = _zone(text, words.pop(0).partition("=")[2])
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() not in _WORDS:
            raise BadCron(f"cron {text!r}: {words[0]!r} is none of {', '.join(_WORDS)}")
        return _WORDS[words[0].lower()], zone
    if len(words) != 5:
        raise BadCron(f"cron {text!r} has {len(words)} fields, not five: {_HELP}")
    expression = " ".join("*" if word == "?" else word for word in words)
    try:
        CronSim(expression, datetime.fromtimestamp(0, zone))
    except CronSimError as bad:
        raise BadCron(f"cron {text!r} can not be read ({str(bad).lower()}): {_HELP}") from None
    return expression, zone


def _zone(text: str, name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadCron(f"cron {text!r}: there is no time zone {name!r}: write one such as 'Europe/Berlin'") from None


def _ticks(expression: str, zone: tzinfo, after: int) -> Iterator[int]:
    """Strictly after that time, each later than the one before: in an hour that comes twice, schedules look back."""
    last = after
    for moment in CronSim(expression, datetime.fromtimestamp(after // 1000, zone)):
        found = int(moment.timestamp()) * 1000
        if found > last:
            yield found
            last = found


def _instant(millis: int) -> str:
    whole = millis % 1000 == 0
    shown = datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="seconds" if whole else "milliseconds")
    return shown.replace("+00:00", "Z")
