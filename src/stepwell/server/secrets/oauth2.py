"""OAuth2 client credentials (RFC 6749, 4.4): a token as a secret, fetched when it is needed and kept until it expires."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import quote_plus, urlencode

import msgspec

from stepwell.server.clock import Clock
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.secrets.providers import SecretUnavailable
from stepwell.wire.fetch import RETRY_STATUSES, FetchBroken, FetchPolicy, FetchRequest, FetchResponse, Header
from stepwell.wire.fetch_urls import place

_TIMEOUT_MS = 30_000
_EARLY_MS = 30_000
"""A token is replaced this long before it expires: a request takes a while to arrive."""
_LIFETIME_S = 300.0
"""What is assumed where the server does not say."""
_LONGEST_S = 366 * 24 * 3600.0
_FORM = "application/x-www-form-urlencoded"


class ClientCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a token is asked for.

    ``client_id`` as text; ``client_secret`` names another secret, whose value is sent to ``token_url`` alone. ``auth``: the
    credentials as HTTP Basic, or in the form. ``extra``: further members of the form, such as ``resource``.
    """

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None
    audience: str | None = None
    auth: Literal["basic", "form"] = "basic"
    extra: dict[str, str] = {}


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float | str | None = None


class _Token(msgspec.Struct, frozen=True):
    value: str
    until: int


class OAuth2Secrets:
    """Tokens by secret name. ``lookup`` gives the client secret; requests go through the guarded ``fetcher``."""

    def __init__(
        self,
        plans: dict[str, ClientCredentials],
        lookup: Callable[[str], Awaitable[str]],
        fetcher: Fetcher,
        clock: Clock,
    ) -> None:
        self._plans = plans
        self._lookup = lookup
        self._fetcher = fetcher
        self._clock = clock
        self._tokens: dict[str, _Token] = {}
        self._locks = {name: asyncio.Lock() for name in plans}

    async def get(self, name: str, *, fresh: bool = False) -> str | None:
        """See :meth:`SecretProvider.get`. However many ask at once, one request is made."""
        plan = self._plans.get(name)
        if plan is None:
            return None
        known = self._tokens.get(name)
        async with self._locks[name]:
            current = self._tokens.get(name)
            stale = current is None or current.until <= self._clock.now() or (fresh and current is known)
            if stale or current is None:
                current = self._tokens[name] = await self._ask(name, plan)
        return current.value

    async def _ask(self, name: str, plan: ClientCredentials) -> _Token:
        outcome = await self._fetcher.fetch(_request(plan, await self._lookup(plan.client_secret)))
        where = f"the token of the secret {name!r} could not be fetched from {place(plan.token_url)}"
        if isinstance(outcome, FetchBroken):
            raise SecretUnavailable(f"{where} ({outcome.kind})", outcome.kind, final=outcome.final)
        if outcome.status != 200:
            again = outcome.status in RETRY_STATUSES
            kind = "connect" if again else "invalid"
            raise SecretUnavailable(f"{where}: it answered {outcome.status}{_reason(outcome)}", kind, final=not again)
        try:
            answer = msgspec.json.decode(outcome.body, type=_Answer)
            said = _LIFETIME_S if answer.expires_in is None else float(answer.expires_in)
        except (msgspec.MsgspecError, ValueError):
            raise SecretUnavailable(f"{where}: its answer holds no token") from None
        if not answer.access_token:
            raise SecretUnavailable(f"{where}: its answer holds an empty token")
        lifetime = min(max(0.0, said), _LONGEST_S)  # of an endless one, and of none at all
        early = min(_EARLY_MS, int(lifetime * 500))
        return _Token(answer.access_token, self._clock.now() + int(lifetime * 1000) - early)


def _request(plan: ClientCredentials, secret: str) -> FetchRequest:
    form = {"grant_type": "client_credentials", "scope": plan.scope, "audience": plan.audience, **plan.extra}
    headers: list[Header] = [("Content-Type", _FORM), ("Accept", "application/json")]
    if plan.auth == "form":
        form |= {"client_id": plan.client_id, "client_secret": secret}
    else:
        pair = f"{quote_plus(plan.client_id)}:{quote_plus(secret)}"
        headers.append(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
    body = urlencode({key: value for key, value in form.items() if value is not None}).encode()
    policy = FetchPolicy(deadline_ms=_TIMEOUT_MS, follow_redirects=False, max_body=1024 * 1024)
    return FetchRequest(url=plan.token_url, method="POST", headers=tuple(headers), body=body, policy=policy)


class _Refusal(msgspec.Struct):
    error: str


def _reason(response: FetchResponse) -> str:
    """The error code of RFC 6749, 5.2, which is one of a few words; nothing else of the answer is shown."""
    try:
        word = msgspec.json.decode(response.body, type=_Refusal).error
    except msgspec.MsgspecError:
        return ""
    return f" ({word})" if word.replace("_", "").isalpha() and len(word) <= 40 else ""
