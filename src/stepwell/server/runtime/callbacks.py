"""Takes the requests that steps wait for: no bombs, and none of the secrets that an upstream may repeat."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from stepwell.core.inputs import CalledBack
from stepwell.core.model import RunView
from stepwell.core.requestcopies import read_copy
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.runtime.telling import Telling
from stepwell.wire.constants import MAX_FETCH_BODY
from stepwell.wire.encodings import check_decoded
from stepwell.wire.fetch import FetchResponse, Header
from stepwell.wire.fetch_headers import find_all


@runtime_checkable
class Cleaning(Protocol):
    """A fetcher that knows secrets."""

    async def cleaned(
        self, response: FetchResponse, secrets: tuple[str, ...], headers: tuple[Header, ...]
    ) -> FetchResponse:
        """The response without the values of these secrets, which a request with ``headers`` had. Raises ``DecodesToMore``."""
        ...


class CallBacks:
    """``view`` reads a run; ``fetcher`` cleans, where it can."""

    def __init__(self, view: Callable[[str], Awaitable[RunView | None]], telling: Telling, fetcher: Fetcher) -> None:
        self._view = view
        self._telling = telling
        self._cleaning = fetcher if isinstance(fetcher, Cleaning) else None

    async def take(self, run_id: str, step_id: str, response: FetchResponse) -> bool:
        """Whether it was recorded; False when it came too late. Raises ``StoreError``, ``DecodesToMore``."""
        codings = find_all(response.headers, "content-encoding")
        if codings:
            await asyncio.to_thread(check_decoded, response.body, codings, MAX_FETCH_BODY)
        view = await self._view(run_id)
        step = None if view is None else view.steps.get(step_id)
        if step is not None and step.callback is not None and step.callback.secrets and self._cleaning is not None:
            copy = read_copy(step.info)
            response = await self._cleaning.cleaned(
                response, step.callback.secrets, () if copy is None else copy.headers
            )
        return await self._telling.tell(run_id, CalledBack(step_id, response))
