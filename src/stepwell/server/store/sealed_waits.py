"""Waits as a store sees them that may not read them: found by keyed hashes of what an event must have, and where.

And cancellations, whose expressions are sealed alike.
"""

from base64 import b64decode, b64encode

import msgspec
from msgspec.structs import replace

from stepwell.core.model import Cancellation, Wait
from stepwell.server.crypto.seal import Sealer, sealed_with

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str | None, str, bytes]).decode


def seal_wait(keys: Sealer, wait: Wait) -> Wait:
    """The expression holds values of the run's own event. Its seal is text, as the field is; that of a wait that is found
    by a value has path and value in it too."""
    place = wait.run_id.encode()
    event = None if wait.event is None else keys.seal(wait.event, place)
    if wait.path is None:
        text = wait.expression
        return replace(wait, event=event, expression=text and _seal(keys, text.encode(), place))
    path, value = places(keys, wait.path, wait.value)[0]
    inside = _seal(keys, _pack((wait.expression, wait.path, wait.value)), place)
    return replace(wait, event=event, expression=inside, path=path, value=value)


def open_wait(keys: Sealer, wait: Wait) -> Wait:
    """The wait as it was. Raises :class:`CannotOpen`."""
    place = wait.run_id.encode()
    event = None if wait.event is None else keys.open(wait.event, place)
    if wait.expression is None:
        return wait
    inside = keys.open(b64decode(wait.expression), place)
    if wait.path is None:
        return replace(wait, event=event, expression=inside.decode())
    expression, path, value = _unpack(inside)
    return replace(wait, event=event, expression=expression, path=path, value=value)


def places(keys: Sealer, path: str, value: bytes) -> list[tuple[str, bytes]]:
    """What stands for a path and a value there under each of the keys, the newest first."""
    name = path.encode("utf-8", "surrogatepass")
    paths, values = keys.digests(b"path\0" + name), keys.digests(b"value\0" + name + b"\0" + value)
    return [(digest.hex(), value) for digest, value in zip(paths, values, strict=True)]


def seal_cancellation(keys: Sealer, cancellation: Cancellation) -> Cancellation:
    """Its expression may name people."""
    text, place = cancellation.condition, cancellation.cancellation_id.encode()
    return replace(cancellation, condition=text and _seal(keys, text.encode(), place))


def open_cancellation(keys: Sealer, cancellation: Cancellation) -> Cancellation:
    """As it was. Raises :class:`CannotOpen`."""
    text, place = cancellation.condition, cancellation.cancellation_id.encode()
    return replace(cancellation, condition=text and keys.open(b64decode(text), place).decode())


def _seal(keys: Sealer, data: bytes, place: bytes) -> str:
    return b64encode(keys.seal(data, place)).decode()


def wait_keys(wait: Wait) -> list[str | None]:
    """The ids of the keys that its values are sealed with."""
    values = [] if wait.event is None else [wait.event]
    if wait.expression is not None:
        values.append(b64decode(wait.expression))
    return [sealed_with(value) for value in values]
