"""Recorded bodies that the platform keeps beside the run's state: read part by part, or put together without a second copy."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from io import BytesIO

from stepwell.errors import StepUsageError

PART_BYTES = 2 * 1024 * 1024
LoadBody = Callable[[str, int, int], Awaitable[bytes]]
"""Loads bytes ``start:end`` of the body with a ref. May give less, but not nothing."""


def loader(load: LoadBody | None) -> LoadBody:
    """What loads bodies. Raises ``StepUsageError`` where there is nothing."""
    if load is None:
        raise StepUsageError("the response's body is kept by the platform, and this executor has no way to load it")
    return load


async def parts(load: LoadBody, ref: str, size: int, start: int = 0) -> AsyncGenerator[bytes, None]:
    """The body from ``start`` on. Raises ``LookupError`` when it is gone, or cut short."""
    while start < size:
        part = await load(ref, start, min(size, start + PART_BYTES))
        if not part:
            raise LookupError(
                f"the recorded body {ref} ends after {start} of its {size} bytes: it was pruned or damaged"
            )
        yield part
        start += len(part)


async def whole(load: LoadBody, ref: str, size: int) -> bytes:
    """All of the body."""
    found = BytesIO()
    async for part in parts(load, ref, size):
        found.write(part)
    return found.getvalue()  # the buffer itself
