"""Names of the functions that the platform hosts by itself, and of the events that start them."""

from typing import Final

FETCH_EVENT: Final = "stepwell/cli.fetch"
FETCH_FUNCTION: Final = "stepwell-cli-fetch"
