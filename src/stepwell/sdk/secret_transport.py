"""Plain httpx2 transports that fill in references, hop by hop, so that a redirect to another host never gets a secret."""

import httpx2

from stepwell.sdk.secrets import filled


class FillingTransport(httpx2.HTTPTransport):
    """The library's own, with references filled in."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it. Raises ``ConfigError`` for a secret that may not go there."""
        return super().handle_request(filled(request))


class AsyncFillingTransport(httpx2.AsyncHTTPTransport):
    """The same for async clients."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it. Raises ``ConfigError`` for a secret that may not go there."""
        return await super().handle_async_request(filled(request))
