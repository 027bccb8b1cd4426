"""What the one-liners for the OpenAI and Anthropic SDKs share: both SDKs are of one make."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import httpx2

from stepwell.errors import StepUsageError
from stepwell.sdk.fetching import Retry
from stepwell.transports._httpx_family import AsyncDurable, SyncDurable
from stepwell.transports._policy import Plain

if TYPE_CHECKING:
    import httpx

C = TypeVar("C")


class Options(TypedDict, total=False):
    """The arguments of the durable transports; each may be left out."""

    fallback: (
        httpx2.AsyncBaseTransport | httpx2.BaseTransport | httpx.AsyncBaseTransport | httpx.BaseTransport | Plain | None
    )
    retry: Retry | int | None
    deadline: float | timedelta | str | None
    at_most_once: bool


class _Async(AsyncDurable[Any, Any]):
    """Says what can not be durable in a ``refusal``, which is an error of the SDK's too: it would wrap any other."""

    refusal: type[StepUsageError]

    async def handle_async_request(self, request: Any) -> Any:
        try:
            return await super().handle_async_request(request)
        except StepUsageError as error:
            raise self.refusal(str(error)) from error


class _Sync(SyncDurable[Any, Any]):
    """The same for sync clients."""

    refusal: type[StepUsageError]

    def handle_request(self, request: Any) -> Any:
        try:
            return super().handle_request(request)
        except StepUsageError as error:
            raise self.refusal(str(error)) from error


def durable(client: C, sdk: ModuleType, theirs: type[Exception], **options: Unpack[Options]) -> C:
    """A copy of the client with a durable ``http_client`` of the SDK's own defaults, and without retries of its own.

    ``theirs``: the class of all errors of the SDK.
    """
    plain: Any = client
    if not hasattr(plain, "with_options"):
        raise TypeError(f"a client of the {sdk.__name__} SDK is needed, not {type(plain).__name__}")
    is_async = hasattr(plain, "__aenter__")
    http: Any = sdk.DefaultAsyncHttpxClient if is_async else sdk.DefaultHttpxClient
    library = _transports(http)
    bases = (_Async, library.AsyncDurableTransport) if is_async else (_Sync, library.DurableTransport)
    refusal = type("StepUsageError", (StepUsageError, theirs), {})
    transport: Any = type("DurableTransport", bases, {"refusal": refusal})
    made: Any = plain.with_options(http_client=http(transport=transport(**options)), max_retries=0)
    _settle_platform(made, sdk.__name__)
    return made


def _transports(http: type) -> ModuleType:
    """Those of the library that the SDK's clients are made with. Older releases, and what stands on them, have httpx."""
    library = "httpx2" if issubclass(http, (httpx2.AsyncClient, httpx2.Client)) else "httpx"
    return import_module(f"stepwell.transports.{library}")


def _settle_platform(client: Any, package: str) -> None:
    """Look the platform's name up now; an async client does it in a thread at its first request.

    Parallel first requests would come out of those threads in an order of chance, and so would their step ids.
    """
    find = getattr(sys.modules.get(f"{package}._base_client"), "get_platform", None)
    if find is not None and getattr(client, "_platform", "") is None:
        client._platform = find()  # noqa: SLF001 - the SDK keeps it there
