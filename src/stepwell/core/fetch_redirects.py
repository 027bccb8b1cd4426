"""Where a redirect leads, and what goes with it (RFC 9110, 15.4; the credentials' rules of the Fetch standard)."""

from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from msgspec.structs import replace

from stepwell.core.flow.hosts import host_of
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse, Header, Hop
from stepwell.wire.fetch_headers import find, is_sensitive, without
from stepwell.wire.fetch_urls import BadUrl, becomes_get, clean_url, origin, place
from stepwell.wire.secrets import uses

MAX_REDIRECTS = 20

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OF_THE_BODY = frozenset(
    {
        "content-type",
        "content-length",
        "content-encoding",
        "content-language",
        "content-location",
        "content-disposition",
    }
)


def next_hop(request: FetchRequest, response: FetchResponse) -> FetchRequest | FetchBroken | None:
    """The request that follows a redirect; None where ``response`` is the result; broken where it leads nowhere.

    ``response.history`` holds the hops made so far: at most 20 are followed. A 303, and a 301 or 302 to a POST, turn
    into a GET without body. Another origin gets no credentials and no secret; https never goes down to http.
    """
    if response.status not in _REDIRECTS or not request.policy.follow_redirects:
        return None
    location = find(response.headers, "location")
    if not location:
        return None
    if len(response.history) >= MAX_REDIRECTS:
        return _refused(request, f"more than {MAX_REDIRECTS} redirects")
    return _without_secrets(request, _refused_or(request, request.url, location, response.status))


def crosses(request: FetchRequest, following: FetchRequest) -> bool:
    """Whether a redirect ends this attempt: it leads to another host, whose limits come first; or each one does."""
    return request.single or (request.stay and host_of(request.url) != host_of(following.url))


def hop_to(request: FetchRequest, outcome: FetchResponse) -> FetchRequest | FetchBroken:
    """The request that an ``onward`` response leads to, from the one that the attempt began with."""
    made = request.history
    for hop in (*outcome.history[len(made) :], Hop(outcome.status, outcome.url, outcome.headers)):
        following = next_hop(request, FetchResponse(status=hop.status, url=hop.url, headers=hop.headers, history=made))
        if following is None:
            return _refused(request, "it redirects to a place that can not be found again")
        if isinstance(following, FetchBroken):
            return following
        made += (hop,)
        request = replace(following, history=made)
    return request


def see_other(request: FetchRequest, base: str, location: str) -> FetchRequest | FetchBroken:
    """The GET of a place that a response from ``base`` names, with what a redirect there would take along."""
    found = _refused_or(request, base, location, 303)
    if isinstance(found, FetchBroken):
        return found
    return _without_secrets(request, replace(found, method="GET", body=None))


def _refused_or(request: FetchRequest, base: str, location: str, status: int) -> FetchRequest | FetchBroken:
    try:
        url = _target(base, location)
    except ValueError as error:
        reason = str(error) if isinstance(error, BadUrl) else "the Location can not be read"
        return _refused(request, f"it redirects to a place that can not be used: {reason}")
    if origin(base)[0] == "https" and origin(url)[0] == "http":
        return _refused(request, f"it redirects from https down to {place(url)}, which would lose the encryption")
    return _follow(request, status, url)


def _target(base: str, location: str) -> str:
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode()
    url, _ = clean_url(urljoin(base, location.strip()))
    fragment = urlsplit(base).fragment
    return f"{url}#{fragment}" if fragment and not urlsplit(url).fragment else url


def _follow(request: FetchRequest, status: int, url: str) -> FetchRequest:
    headers, method, body = request.headers, request.method, request.body
    if origin(url) != origin(request.url):
        headers = tuple(pair for pair in headers if not is_sensitive(pair[0]) and pair[0].lower() != "host")
    if becomes_get(status, method):
        method, body = "GET", None
        headers = _without_body(headers, request.policy.idempotency_header.lower())
    return replace(request, url=url, method=method, headers=headers, body=body)


def _without_secrets(before: FetchRequest, after: FetchRequest | FetchBroken) -> FetchRequest | FetchBroken:
    """The next hop, which at another origin has no references to secrets left."""
    if isinstance(after, FetchBroken) or origin(before.url) == origin(after.url) or not uses(after):
        return after
    secret = frozenset(name.lower() for name, value in after.headers if uses(replace(_BARE, headers=((name, value),))))
    after = replace(after, headers=without(after.headers, secret))
    if uses(after):
        return _refused(before, f"it redirects to {place(after.url)}, which would get a secret")
    return after


_BARE = FetchRequest(url="")


def _without_body(headers: tuple[Header, ...], key_header: str) -> tuple[Header, ...]:
    return tuple(pair for pair in headers if pair[0].lower() not in _OF_THE_BODY and pair[0].lower() != key_header)


def _refused(request: FetchRequest, why: str) -> FetchBroken:
    message = f"{request.method} {place(request.url)}: {why}."
    return FetchBroken(kind="redirect", message=message, sent=True, final=True)
