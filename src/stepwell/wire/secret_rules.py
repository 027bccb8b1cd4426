"""Host binding: which secret may go to which host, and into which part of a request. Decided here, for both sides."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import msgspec

from stepwell.wire.fetch_urls import place
from stepwell.wire.hosts import canonical, literal
from stepwell.wire.secrets import HEADER, PLACES, URL, BadSecret, reference

_PATTERN = re.compile(r"(?:(http|https)://)?(\*|(?:\*\.)?[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")

WELL_KNOWN: Mapping[str, tuple[str, ...]] = {
    "ANTHROPIC_API_KEY": ("api.anthropic.com",),
    "DEEPSEEK_API_KEY": ("api.deepseek.com",),
    "GEMINI_API_KEY": ("generativelanguage.googleapis.com",),
    "GITHUB_TOKEN": ("api.github.com",),
    "MISTRAL_API_KEY": ("api.mistral.ai",),
    "OPENAI_API_KEY": ("api.openai.com",),
    "SLACK_BOT_TOKEN": ("slack.com",),
    "STRIPE_API_KEY": ("api.stripe.com",),
    "XAI_API_KEY": ("api.x.ai",),
}
"""Hosts of secrets that everybody calls the same; a rule of one's own takes their place."""


class SecretRule(msgspec.Struct, frozen=True):
    """Where one secret may go.

    ``hosts``: ``api.example.com`` (any port), ``api.example.com:8443``, ``*.example.com`` (its subdomains), ``*`` (any host).
    Over https only, but for loopback addresses and hosts written ``http://host``. ``places``: "header", "url", "body"; not
    the body by default, where text of strangers often goes: it could name a secret and have a server repeat it.
    """

    hosts: tuple[str, ...]
    places: frozenset[str] = frozenset({HEADER, URL})


def make_rule(name: str, hosts: Collection[str], places: Collection[str] | None = None) -> SecretRule:
    """A checked rule. Raises :class:`BadSecret`."""
    reference(name)
    if not hosts:
        raise BadSecret(f"the secret {name!r} is bound to no host: name the hosts that it may go to")
    for host in hosts:
        if not _readable(host):
            raise BadSecret(f"the secret {name!r} can not be bound to {host[:80]!r}: write a host like api.example.com")
    wrong = set(places or ()) - PLACES
    if wrong:
        raise BadSecret(f"the secret {name!r} can not go into {min(wrong)!r}: there are header, url and body")
    return SecretRule(tuple(hosts)) if places is None else SecretRule(tuple(hosts), frozenset(places))


def _readable(pattern: str) -> bool:
    found = _PATTERN.fullmatch(pattern)
    try:
        return found is not None and bool(canonical(found[2].removeprefix("*.")))
    except ValueError:
        return False


def parse_rules(text: str) -> dict[str, SecretRule]:
    """Rules from a setting: ``NAME=host,host; NAME+body=host``. Raises :class:`BadSecret`."""
    rules: dict[str, SecretRule] = {}
    for part in filter(None, re.split(r"[;\s]+", text)):
        name, equals, hosts = part.partition("=")
        name, plus, extra = name.partition("+")
        if not equals:
            raise BadSecret(f"{part[:80]!r} binds no secret: write NAME=host, or NAME=host,host; NAME=host")
        places = [HEADER, URL, *extra.split("+")] if plus else None
        rules[name] = make_rule(name, [host for host in hosts.split(",") if host], places)
    return rules


def rule_for(name: str, rules: Mapping[str, SecretRule]) -> SecretRule | None:
    """The rule of a secret: its own, or the one of its well-known name."""
    known = WELL_KNOWN.get(name)
    return rules.get(name) or (SecretRule(known) if known else None)


def refusal(name: str, rule: SecretRule | None, url: str, places: Collection[str]) -> str | None:
    """Why the secret may not go into these places of a request to this URL; None when it may."""
    if rule is None:
        return (
            f"the secret {name!r} is bound to no host, so it can not be sent: set STEPWELL_SECRETS_HOSTS={name}=host on the "
            "platform"
        )
    if not any(_admits(pattern, url) for pattern in rule.hosts):
        return f"the secret {name!r} is bound to {', '.join(rule.hosts)} and may not go to {place(url)}"
    extra = sorted(set(places) - rule.places)
    if extra:
        return (
            f"the secret {name!r} may not be in the {extra[0]} of a request: STEPWELL_SECRETS_HOSTS={name}+{extra[0]}=host "
            "admits it"
        )
    return None


def private_way(url: str) -> bool:
    """Whether nobody on the way can read a request to this URL: https, or an address of this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _loopback(parts.hostname or "")


def _admits(pattern: str, url: str) -> bool:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        return False
    scheme, name, port = found.groups()
    try:
        parts = urlsplit(url)
        host, actual = canonical(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    if parts.scheme != (scheme or "https") and not (scheme is None and _loopback(host)):
        return False
    return (port is None or int(port) == actual) and _names(name, host)


def _names(pattern: str, host: str) -> bool:
    if pattern == "*":
        return bool(host)
    if pattern.startswith("*."):
        return host.endswith("." + canonical(pattern[2:]))
    return host == canonical(pattern)


def _loopback(host: str) -> bool:
    address = literal(host)
    return host == "localhost" if address is None else address.is_loopback
