"""What the settings say about secrets: the hosts setting, the file, the environment."""

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from stepwell.server.clock import Clock
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.secrets.oauth2 import ClientCredentials, OAuth2Secrets
from stepwell.server.secrets.plugged import load_provider
from stepwell.server.secrets.providers import EnvironmentSecrets, GivenSecrets, SecretFiles
from stepwell.server.secrets.vault import Vault
from stepwell.server.settings import Settings, SettingsError
from stepwell.wire.fetch_urls import clean_url
from stepwell.wire.secret_rules import SecretRule, make_rule, parse_rules, private_way
from stepwell.wire.secrets import BadSecret


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret in the file. At most one of ``value``, ``env`` (a variable), ``file`` and ``oauth2`` says where it is.

    With none of them, it is taken from the environment. Without ``hosts`` it may go nowhere: a client secret of OAuth2.
    """

    hosts: tuple[str, ...] = ()
    places: tuple[str, ...] | None = msgspec.field(default=None, name="in")
    value: str | None = None
    env: str | None = None
    file: str | None = None
    oauth2: ClientCredentials | None = None


def load_entries(path: Path) -> dict[str, Entry]:
    """The secrets that a TOML or JSON file describes. Raises :class:`SettingsError`, which shows nothing of the file."""
    read: Callable[[str], object] = msgspec.json.decode if path.suffix == ".json" else tomllib.loads
    try:
        found = msgspec.convert(read(path.read_text(encoding="utf-8")), dict[str, Entry])
    except OSError as error:
        raise SettingsError(f"{path}: the secrets file can not be read ({error.strerror}).") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: the secrets file can not be understood: {error}.") from None
    except ValueError:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SettingsError(f"{path}: the secrets file is not valid {kind}.") from None
    for name, entry in found.items():
        _check(path, name, entry)
        if entry.oauth2 is not None and (nested := found.get(entry.oauth2.client_secret)) and nested.oauth2 is not None:
            raise SettingsError(f"{path}: the client_secret of {name!r} is a token itself; name a secret with a value.")
    return found


def _check(path: Path, name: str, entry: Entry) -> None:
    sources = (entry.value, entry.env, entry.file, entry.oauth2)
    if sum(source is not None for source in sources) > 1:
        raise SettingsError(f"{path}: the secret {name!r} has more than one of value, env, file and oauth2.")
    if entry.oauth2 is not None:
        try:
            clean_url(entry.oauth2.token_url)
        except ValueError as error:
            raise SettingsError(f"{path}: the token_url of the secret {name!r} can not be used: {error}.") from None
        if not private_way(entry.oauth2.token_url):
            raise SettingsError(f"{path}: the token_url of the secret {name!r} must begin with https://.")


def load_rules(settings: Settings, entries: Mapping[str, Entry]) -> dict[str, SecretRule]:
    """Rules of the file, and over them those of the setting. Raises :class:`SettingsError`."""
    try:
        rules = {name: make_rule(name, entry.hosts, entry.places) for name, entry in entries.items() if entry.hosts}
        return rules | parse_rules(settings.secrets_hosts)
    except BadSecret as problem:
        raise SettingsError(f"A setting about secrets makes no sense: {problem}.") from None


def build_vault(settings: Settings, fetcher: Fetcher, clock: Clock, env: Mapping[str, str] = os.environ) -> Vault:
    """The secrets of a platform; tokens are fetched with ``fetcher``. Raises :class:`SettingsError`."""
    path = Path(settings.secrets_file) if settings.secrets_file else None
    entries = load_entries(path) if path else {}
    folder = path.absolute().parent if path else Path()
    given = {name: entry.value for name, entry in entries.items() if entry.value is not None}
    given |= {name: env.get(entry.env, "") for name, entry in entries.items() if entry.env is not None}
    files = {name: folder / entry.file for name, entry in entries.items() if entry.file is not None}
    plans = {name: entry.oauth2 for name, entry in entries.items() if entry.oauth2 is not None}
    vault = Vault(load_rules(settings, entries), [GivenSecrets(given), SecretFiles(files), EnvironmentSecrets(env)])
    if settings.secrets_provider:
        vault.add(load_provider(settings.secrets_provider))
    if plans:
        vault.add(OAuth2Secrets(plans, vault.value, fetcher, clock))
    return vault
