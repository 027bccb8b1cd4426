"""Takes values out of a body while it arrives, byte for byte as they are taken out of the record."""

from collections.abc import Callable, Sequence
from typing import Any

from stepwell.wire.fetch import FetchResponse


class CleanTee:
    """Stands before a tee. ``wanted`` says of a response's head whether its body is the one to hand on, and cleans it.

    Bytes are held back only while they could be the beginning of a value; ``flush`` hands on the rest.
    """

    def __init__(
        self, tee: Any, needles: Sequence[bytes], wanted: Callable[[FetchResponse], FetchResponse | None]
    ) -> None:
        self._tee = tee
        self._needles = needles
        self._wanted = wanted
        self._held = b""
        self._open = False

    def begin(self, head: FetchResponse) -> None:
        """The first bytes are here."""
        clean = self._wanted(head)
        self._open = clean is not None
        if clean is not None:
            self._tee.begin(clean)

    def write(self, data: bytes) -> None:
        """Some of the body."""
        if not self._open:
            return
        data = self._held + data
        for needle in self._needles:
            data = data.replace(needle, b"*" * len(needle))
        keep = self._beginning(data)
        self._held = data[len(data) - keep :]
        if keep < len(data):
            self._tee.write(data[: len(data) - keep])

    def _beginning(self, data: bytes) -> int:
        """How many bytes at the end could be the beginning of a value."""
        longest = max(map(len, self._needles), default=1) - 1
        for size in range(min(longest, len(data)), 0, -1):
            if any(needle.startswith(data[-size:]) for needle in self._needles):
                return size
        return 0

    def flush(self) -> None:
        """Nothing more comes."""
        if self._open and self._held:
            self._tee.write(self._held)
        self._held = b""
