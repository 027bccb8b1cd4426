"""How long to wait between attempts of a request when the upstream does not say."""


def full_jitter(attempt: int, low_ms: int, high_ms: int, jitter: float) -> int:
    """The delay in ms after the ``attempt``-th try (from 0): from ``low_ms`` up to a ceiling that doubles each time.

    The first ceiling is twice ``low_ms``, the last ``high_ms``. ``jitter`` in [0, 1) picks the place.
    """
    ceiling = min(high_ms, max(low_ms, 1) * 2 ** min(attempt + 1, 40))
    return low_ms + int(jitter * max(0, ceiling - low_ms))
