"""Stores that carry messages from process to process: what that takes, and how neither names nor data can be read there."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, cast

import msgspec

from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store.base import Store

Got = Callable[[bytes], None]
Others = Callable[[Sequence[bytes] | None], None]
_PLACE = b"parcel"


class Parcel(msgspec.Struct, frozen=True):
    """``data`` for every process that listens to one of ``names``, which mean the same."""

    names: tuple[bytes, ...]
    data: bytes


class Carrier(Protocol):
    """What is sent is carried to those who listen then, in order, and forgotten. All methods may raise StoreError."""

    def begin(self, owner: str, got: Got, others: Others, lost: Callable[[], None]) -> None:
        """``got``: told of data that came; ``others``: of names that others listen to, None for more than can be told;
        ``lost``: some of it may not have come."""
        ...

    def names(self, key: str) -> tuple[bytes, ...]:
        """What a key is called there."""
        ...

    async def listen(self, names: Collection[bytes], now: int, until: int, *, quiet: bool = False) -> None:
        """Listen until a time (ms). When it returns what is sent from then on will come. ``quiet``: others know already."""
        ...

    async def leave(self, names: Collection[bytes]) -> None:
        """Listen no more."""
        ...

    async def heard(self, now: int) -> set[bytes]:
        """The names that others listen to."""
        ...

    async def send(self, parcels: Sequence[Parcel], now: int) -> None:
        """Carry these."""
        ...


def carrier_of(store: Store) -> Carrier | None:
    """That of a store which several processes share, where it has one."""
    return cast("Carrier | None", getattr(store, "carrier", None))


class SealedCarrier:
    """Seals data; names are keyed hashes, one for each of the keys that there are."""

    def __init__(self, inner: Carrier, keys: Sealer) -> None:
        self._inner = inner
        self._keys = keys

    def begin(self, owner: str, got: Got, others: Others, lost: Callable[[], None]) -> None:
        """See :meth:`Carrier.begin`. What was sealed with a key that is not known here counts as lost."""

        def opened(data: bytes) -> None:
            try:
                plain = self._keys.open(data, _PLACE)
            except CannotOpen:
                lost()
                return
            got(plain)

        self._inner.begin(owner, opened, others, lost)

    def names(self, key: str) -> tuple[bytes, ...]:
        """See :meth:`Carrier.names`."""
        return tuple(self._keys.digests(b"post\0" + key.encode("utf-8", "surrogatepass")))

    async def listen(self, names: Collection[bytes], now: int, until: int, *, quiet: bool = False) -> None:
        """See :meth:`Carrier.listen`."""
        await self._inner.listen(names, now, until, quiet=quiet)

    async def leave(self, names: Collection[bytes]) -> None:
        """See :meth:`Carrier.leave`."""
        await self._inner.leave(names)

    async def heard(self, now: int) -> set[bytes]:
        """See :meth:`Carrier.heard`."""
        return await self._inner.heard(now)

    async def send(self, parcels: Sequence[Parcel], now: int) -> None:
        """See :meth:`Carrier.send`."""
        await self._inner.send([Parcel(each.names, self._keys.seal(each.data, _PLACE)) for each in parcels], now)
