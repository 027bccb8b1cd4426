"""Cassettes: real responses recorded to a file once, and played back offline."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from stepwell.testing.extras import platform_for
from stepwell.testing.http import UnexpectedRequest
from stepwell.testing.messages import sent
from stepwell.testing.tape import Entry, Tape, entry, first_hop, key_of, masked, outcome_of
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest
from stepwell.wire.masks import mask_url

if TYPE_CHECKING:
    from stepwell.server.fetcher.base import Fetcher

Mode = Literal["once", "replay", "record", "none"]
MODES: tuple[Mode, ...] = ("once", "replay", "record", "none")


class CassetteMiss(UnexpectedRequest):
    """A request that the cassette does not have."""


class Cassette:
    """Give it to ``run_function(http=...)``. Every attempt is recorded on its own, so that retries are played back too.

    A recording is found by method, URL and body, and each is played once, in the order recorded. Credentials in headers, in
    the URL's query and in the request's body are masked in the file, by their names; response bodies are kept as they are.

    Args:
        path: the JSON file; its folders are made.
        mode: ``once``: record where there is no file, else play it back; ``replay``: never use the network; ``record``:
            always record anew; ``none``: always use the network, and no file.
        mask: more header, parameter and member names whose values are credentials.
        fetcher: what performs requests while recording; default: the platform's own, with its secrets.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "once",
        *,
        mask: Iterable[str] = (),
        fetcher: Fetcher | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"there is no cassette mode {mode!r}: there are {', '.join(MODES)}")
        self.path = Path(path)
        self.mode: Mode = mode
        self.recording = mode == "record" or (mode == "once" and not self.path.exists())
        """Whether requests go to the network and to the file."""
        self.entries: list[Entry] = []
        self._mask = frozenset(name.lower() for name in mask)
        self._given = fetcher
        self._real: Fetcher | None = None
        self._played: set[int] = set()
        if not self.recording and mode != "none":
            self.entries = _load(self.path)

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """One attempt. Raises ``CassetteMiss`` for what was not recorded."""
        if not self.recording and self.mode != "none":
            return self._play(request)
        outcome = await self._fetcher().fetch(request, attempt)
        if self.recording:
            self.entries.append(entry(masked(request, self._mask), outcome, self._mask, len(request.history)))
        return outcome

    async def close(self) -> None:
        """Write what was recorded, and close the connections; the cassette can be used again."""
        real, self._real = self._real, None
        if real is not None:
            await real.close()
        self.save()

    def save(self) -> None:
        """Write what was recorded. Raises OSError."""
        if not self.recording or not self.entries:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(Tape(entries=self.entries)), indent=2)
        partial = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.part")
        partial.write_bytes(text + b"\n")
        partial.replace(self.path)

    @property
    def unused(self) -> list[Entry]:
        """The recordings that were not played; empty while recording."""
        return [] if self.recording else [each for at, each in enumerate(self.entries) if at not in self._played]

    def _play(self, request: FetchRequest) -> FetchOutcome:
        """Redirects are followed or not as the request says now, whatever the recorded one said."""
        from stepwell.core.fetch_redirects import crosses, hop_to, next_hop

        while True:
            outcome = self._recorded(request)
            if isinstance(outcome, FetchBroken):
                return outcome
            if outcome.history and not request.policy.follow_redirects:
                return first_hop(outcome)
            outcome = replace(outcome, history=(*request.history, *outcome.history))
            if next_hop(replace(request, url=outcome.url), outcome) is None:
                return outcome
            following = hop_to(request, outcome)
            if isinstance(following, FetchBroken):
                return following
            if crosses(request, following):
                return replace(outcome, body=b"", onward=True)
            request = following

    def _recorded(self, request: FetchRequest) -> FetchOutcome:
        wanted = key_of(masked(request, self._mask))
        alike = [at for at, each in enumerate(self.entries) if key_of(each.request) == wanted]
        for at in alike:
            if at not in self._played:
                self._played.add(at)
                return outcome_of(self.entries[at], request)
        raise CassetteMiss(self._explain(request, len(alike)))

    def _explain(self, request: FetchRequest, times: int) -> str:
        what = f"{self.path} has no recording of {sent(request, 0)}"
        if times:
            what = f"{self.path} has {times} recordings of {sent(request, 0)}, and all have been played"
        have = "".join(f"\n  {each.request.method} {mask_url(each.request.url)}" for each in self.unused) or " nothing"
        return f"{what}; record it anew with mode='record' or --stepwell-cassettes=record. Not played yet:{have}"

    def _fetcher(self) -> Fetcher:
        if self._given is not None:
            return self._given
        if self._real is None:
            self._real = _real_fetcher()
        return self._real


def _real_fetcher() -> Fetcher:
    """The platform's, which fills in the secrets that requests refer to: they pass the cassette as references."""
    with platform_for("recording"):
        from stepwell.server.clock import SystemClock
        from stepwell.server.fetcher.client import AiohttpFetcher
        from stepwell.server.fetcher.guard import Guard
        from stepwell.server.secrets.config import build_vault
        from stepwell.server.secrets.fetcher import SecretFetcher
        from stepwell.server.settings import load_settings
    fetcher = AiohttpFetcher(Guard(allow_private=True))
    return SecretFetcher(fetcher, build_vault(load_settings({"kind": "dev"}, os.environ), fetcher, SystemClock()))


def _load(path: Path) -> list[Entry]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tape).entries
    except FileNotFoundError:
        raise CassetteMiss(
            f"there is no cassette {path}: record it with mode='once' or --stepwell-cassettes=record"
        ) from None
    except msgspec.MsgspecError as problem:
        raise ValueError(f"{path} is no cassette: {problem}; delete it, and record it anew") from None
