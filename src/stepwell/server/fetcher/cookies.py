"""Cookies that redirects set, for the hops that follow: by the rules of the standard library's jar, as in httpx and requests.

They are made out of the hops' own records, so they last as long as the one request, over its attempts and over restarts.
"""

from collections.abc import Sequence
from email.message import Message
from http.cookiejar import CookieJar
from typing import Any, cast
from urllib.request import Request

from stepwell.wire.fetch import Hop

_SETS = "set-cookie"


def cookies_of(history: Sequence[Hop], url: str) -> str | None:
    """The value of the ``Cookie`` header that the hops so far have made for a request to ``url``; None for no header.

    What they set for a domain, a path, https only or a time goes by that.
    """
    setting = [hop for hop in history if any(name.lower() == _SETS for name, _ in hop.headers)]
    if not setting:
        return None
    jar = CookieJar()
    for hop in setting:
        jar.extract_cookies(cast(Any, _Response(hop)), Request(hop.url))  # noqa: S310 - nothing is opened
    asked = Request(url)  # noqa: S310
    jar.add_cookie_header(asked)
    return asked.get_header("Cookie")


class _Response:
    """As much of a response as the jar looks at."""

    def __init__(self, hop: Hop) -> None:
        self._message = Message()
        for name, value in hop.headers:
            if name.lower() == _SETS:
                self._message[name] = value

    def info(self) -> Message:
        return self._message
