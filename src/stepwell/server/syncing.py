"""Asks one app for its functions: in-band when it can, else it is told to register itself (protocol 1.3)."""

import time
from dataclasses import dataclass
from typing import cast

import aiohttp
import msgspec

from stepwell.server.settings import Settings
from stepwell.wire.constants import H_HANDLED, H_SDK, H_SERVER_KIND, H_SIGNATURE, H_SYNC_KIND, MAX_ANSWER_BYTES
from stepwell.wire.functions import BadRegistration, Registration, parse_registration
from stepwell.wire.signing import sign, verify

IN_BAND = "in_band"
OUT_OF_BAND = "out_of_band"
SYNC_TIMEOUT_S = 15.0


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "The host of {url} is not known; check its name."),
    (aiohttp.ClientConnectorCertificateError, "The certificate at {url} is not one that is trusted here."),
    (aiohttp.ClientConnectorSSLError, "What answers at {url} does not speak TLS; is it http:// there?"),
    (aiohttp.ClientConnectorError, "Nothing answers at {url} yet; is the app running?"),
    (TimeoutError, "The app at {url} did not answer within {seconds} s."),
    (aiohttp.InvalidURL, "{url} is not a URL that an app can have."),
    (aiohttp.TooManyRedirects, "What answers at {url} redirects again and again; check the path."),
    (aiohttp.ClientPayloadError, "The answer at {url} broke off."),
    (aiohttp.ClientResponseError, "What answers at {url} does not speak HTTP; check the port."),
    (aiohttp.ServerConnectionError, "What answers at {url} hung up without an answer."),
    (aiohttp.ClientOSError, "What answers at {url} hung up without an answer."),
)
"""The first that fits holds: some are special cases of others."""


class NotAnApp(Exception):
    """Nothing at the URL can be synced. One sentence: what is there instead, what to do."""


@dataclass(slots=True, frozen=True)
class Synced:
    """How it went. ``registration`` is set in-band; out of band the app has registered itself by now."""

    mode: str
    registration: Registration | None = None
    modified: bool = False


@dataclass(slots=True, frozen=True)
class _Reply:
    status: int
    headers: dict[str, str]
    body: bytes


async def sync_app(session: aiohttp.ClientSession, url: str, settings: Settings, mode: str | None = None) -> Synced:
    """Sync the app at ``url``; ``mode`` is the one that worked before. Raises :class:`NotAnApp`.

    In-band is tried first: it works even where the app has been told nothing about this platform's address.
    """
    refused = False
    if mode != OUT_OF_BAND:
        reply = await _put(session, url, settings, IN_BAND, settings.signing_key)
        if reply.status == 401 and settings.signing_key_fallback:
            reply = await _put(session, url, settings, IN_BAND, settings.signing_key_fallback)
        if reply.status not in (400, 401, 403, 405, 500):
            _check(url, settings, reply)
            return _read(url, reply)
        refused = reply.status == 401
    try:
        return _read(url, await _put(session, url, settings, OUT_OF_BAND, settings.signing_key))
    except NotAnApp:
        if not refused:
            raise
        words = "could not register by itself either: both sides need the same signing key."
        raise NotAnApp(f"The app at {url} does not accept our signature (HTTP 401), and {words}") from None


async def ask_app(session: aiohttp.ClientSession, url: str, settings: Settings) -> Registration | None:
    """What the app at ``url`` would register, without having it do so; None when it is an app that does not say.

    Raises :class:`NotAnApp`.
    """
    reply = await _put(session, url, settings, IN_BAND, settings.signing_key)
    if H_SDK in reply.headers and reply.headers.get(H_SYNC_KIND) != IN_BAND:
        return None
    _check(url, settings, reply)
    return _read(url, reply).registration


async def _put(session: aiohttp.ClientSession, url: str, settings: Settings, mode: str, key: str | None) -> _Reply:
    body = msgspec.json.encode({"url": url}) if mode == IN_BAND else b""
    headers = {H_SERVER_KIND: settings.kind, H_SYNC_KIND: mode, "content-type": "application/json"}
    if key:
        headers[H_SIGNATURE] = sign(body, key, int(time.time()))
    timeout = aiohttp.ClientTimeout(total=SYNC_TIMEOUT_S)
    try:
        async with session.put(url, data=body, headers=headers, timeout=timeout) as response:
            content = await response.content.read(MAX_ANSWER_BYTES + 1)
            while len(content) <= MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
                content += more
            return _Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, content)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotAnApp(_unreachable(url, error)) from None


def _unreachable(url: str, error: Exception) -> str:
    """Why there was no answer that could be read."""
    for kind, sentence in _REASONS:
        if isinstance(error, kind):
            return sentence.format(url=url, seconds=f"{SYNC_TIMEOUT_S:g}")
    return f"The app at {url} can not be reached: {error or type(error).__name__}."


def _check(url: str, settings: Settings, reply: _Reply) -> None:
    """What an app signs must be signed with our key, or somebody else answers (protocol 0.1). Raises NotAnApp."""
    signature, keys = reply.headers.get(H_SIGNATURE), settings.signing_keys
    if keys and signature and not any(verify(reply.body, signature, key, int(time.time())) for key in keys):
        raise NotAnApp(f"What answers at {url} signed with another key; both sides need the same signing key.")


def _read(url: str, reply: _Reply) -> Synced:
    if H_SDK not in reply.headers and H_HANDLED in reply.headers and reply.status == 401:
        raise NotAnApp(f"The app at {url} could not sync (HTTP 401): both sides need the same signing key.")
    if H_SDK not in reply.headers and H_HANDLED not in reply.headers:
        page = ", a web page" if reply.headers.get("content-type", "").startswith("text/html") else ""
        raise NotAnApp(f"What answers at {url} (HTTP {reply.status}{page}) is not an app; check the path.")
    if not 200 <= reply.status < 300:
        raise NotAnApp(f"The app at {url} could not sync (HTTP {reply.status}): {_why(reply.body)}")
    if reply.headers.get(H_SYNC_KIND) == IN_BAND:
        return Synced(IN_BAND, in_band_registration(url, reply.body))
    said = _members(reply.body)
    if isinstance(said.get("error"), str):  # the official Python SDK answers 200 with the error that it got
        raise NotAnApp(f"The app at {url} could not sync: {_why(reply.body)}")
    return Synced(OUT_OF_BAND, modified=said.get("modified") is True)


def in_band_registration(url: str, body: bytes) -> Registration:
    """The registration in an in-band answer. ``url`` wins over the app's own idea of its URL. Raises NotAnApp."""
    shape = {key: value for key, value in _members(body).items() if key.lower() != "url"}
    try:
        return parse_registration(msgspec.json.encode({**shape, "url": url}))
    except BadRegistration as error:
        raise NotAnApp(f"The app at {url} was not accepted: {error}") from None


def _members(body: bytes) -> dict[str, object]:
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _why(body: bytes) -> str:
    said = _members(body)
    text = said.get("message") or said.get("error")
    return str(text)[:300] if text else "it gave no reason."
