"""The time, and nothing else, so that tests and simulations can bring their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since the epoch."""

    def now(self) -> int:
        """The time now."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """The time now, in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000
