"""What is not there when only the SDK is installed."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def platform_for(what: str) -> Generator[None]:
    """Around imports of the platform. Raises ``ImportError`` that says what to install where ``what`` lacks something."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{what} needs the platform, and {missing.name!r} is not installed: pip install 'stepwell[server]'"
        ) from missing
