"""``stepwell.secret``: a reference that the platform fills in at the moment of sending."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from stepwell.errors import ConfigError
from stepwell.wire.fetch import FetchRequest
from stepwell.wire.secret_rules import parse_rules, refusal, rule_for
from stepwell.wire.secrets import MARK, BadSecret, fill, reference, uses

R = TypeVar("R")

_asked: set[str] = set()
"""Names that code of this process has asked for: nothing else is ever filled in here, whatever a text says."""


class Secret(str):
    """The reference, as text: it goes wherever text goes. Its value is with the platform, and not in here."""

    __slots__ = ("name",)

    name: str

    def __repr__(self) -> str:
        return f"secret({self.name!r})"

    def reveal(self) -> str:
        """The value as this process's environment has it, for what is no request. Raises ``ConfigError``."""
        return _value(self.name)


def secret(name: str) -> Secret:
    """A reference to a secret of the platform, for headers and URLs of durable requests, and for ``api_key=`` of clients.

    ``headers={"Authorization": f"Bearer {stepwell.secret('OPENAI_API_KEY')}"}``. The platform sends the value to the hosts
    that the secret is bound to, and to no others. In plain requests of ``stepwell.fetch`` and of the durable transports
    (outside of a run, and inside ``step.run``) the SDK itself fills in what its environment has, under the same rules.
    Raises ``ConfigError`` for a name that no secret can have.
    """
    try:
        made = Secret(reference(name))
    except BadSecret as problem:
        raise ConfigError(str(problem)) from None
    made.name = name
    _asked.add(name)
    return made


def mentioned(*parts: object) -> bool:
    """Whether a request of these parts may hold a reference; of what can not be looked into, it is assumed."""
    return bool(_asked) and any(_mentions(part) for part in parts)


def _mentions(part: object) -> bool:
    if isinstance(part, str):
        return MARK in part
    if isinstance(part, bytes):
        return MARK.encode() in part
    if isinstance(part, dict):
        part = list(cast("dict[object, object]", part).values())
    if isinstance(part, (list, tuple)):
        return any(map(_mentions, cast("list[object]", part)))
    return part is not None and not isinstance(part, (bool, int, float))


def filled(request: R) -> R:
    """A plain request of httpx's family with the references filled in; the same object when it holds none.

    Raises ``ConfigError`` for a secret that is not there, or may not go to that host.
    """
    if not _asked:
        return request
    given: Any = request
    body = _body(given)
    plain = FetchRequest(url=str(given.url), method=given.method, headers=_pairs(given.headers.raw), body=body)
    made = filled_in(plain)
    if made is plain:
        return request
    content: dict[str, Any] = {"stream": given.stream} if body is None else {"content": made.body}
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in made.headers]
    return type(given)(made.method, made.url, headers=headers, extensions=dict(given.extensions), **content)


def filled_in(plain: FetchRequest) -> FetchRequest:
    """The same for a plain request of any client, as the wire has it."""
    wanted = {name: places for name, places in uses(plain).items() if name in _asked} if _asked else None
    if not wanted:
        return plain
    try:
        rules = parse_rules(os.environ.get("STEPWELL_SECRETS_HOSTS", ""))
        for name, places in wanted.items():
            reason = refusal(name, rule_for(name, rules), plain.url, places)
            if reason is not None:
                raise ConfigError(f"a plain request was not sent: {reason}")
        return fill(plain, {name: _value(name) for name in wanted})
    except BadSecret as problem:
        raise ConfigError(f"a plain request was not sent: {problem}") from None


def _value(name: str) -> str:
    plain = name.replace("-", "_")
    value = os.environ.get(f"STEPWELL_SECRET_{plain}") or os.environ.get(plain)
    if not value:
        raise ConfigError(
            f"there is no secret {name!r} in this process's environment: set STEPWELL_SECRET_{plain}, or make the request a "
            "step of a run, where the platform fills it in"
        )
    return value


def _body(request: Any) -> bytes | None:
    """The body, when it is in memory; that of a stream is left alone."""
    try:
        return request.content
    except Exception:  # noqa: BLE001 - each library has an exception of its own for a body that was not read
        return None


def _pairs(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)
