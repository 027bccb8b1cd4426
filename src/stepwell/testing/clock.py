"""A clock that moves only when it is told to: sleeps, timers and retries of a tested run take no real time."""

from datetime import UTC, datetime, timedelta

from stepwell.wire.durations import to_ms


class FakeClock:
    """Milliseconds since the epoch, as the engine wants them.

    Args:
        start: where it begins, with a zone; default: the machine's time now, in whole milliseconds.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError(f"{start.isoformat()} has no zone: say which, such as datetime(2030, 1, 1, tzinfo=UTC)")
        self._start = round((start or datetime.now(UTC)).timestamp() * 1000)
        self._now = self._start

    def now(self) -> int:
        """The time now."""
        return self._now

    @property
    def elapsed(self) -> timedelta:
        """How far it has moved."""
        return timedelta(milliseconds=self._now - self._start)

    def advance(self, by: float | timedelta | str) -> None:
        """Move on by seconds, a ``timedelta`` or a text such as ``"1h30m"``."""
        self._now += to_ms(by)

    def jump(self, to: int) -> None:
        """Move on to a moment, in milliseconds since the epoch; one in the past changes nothing."""
        self._now = max(self._now, to)
