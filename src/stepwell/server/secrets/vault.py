"""Rules and sources of all secrets together."""

from collections.abc import Mapping, Sequence

from stepwell.server.secrets.providers import SecretProvider, SecretUnavailable
from stepwell.wire.secret_rules import SecretRule, refusal, rule_for
from stepwell.wire.secrets import check_value


class Vault:
    """``rules``: which secret may go where. ``providers``: asked in order; the first that has the secret gives it."""

    def __init__(self, rules: Mapping[str, SecretRule], providers: Sequence[SecretProvider]) -> None:
        self._rules = dict(rules)
        self._providers = list(providers)

    def add(self, provider: SecretProvider) -> None:
        """Ask this one first from now on."""
        self._providers.insert(0, provider)

    async def values(self, uses: Mapping[str, set[str]], url: str, *, fresh: bool = False) -> dict[str, str]:
        """The values of the secrets for a request to ``url``. Raises :class:`SecretUnavailable`, :class:`BadSecret`."""
        for name, places in sorted(uses.items()):
            reason = refusal(name, rule_for(name, self._rules), url, places)
            if reason is not None:
                raise SecretUnavailable(reason, "guard")
        return {name: await self.value(name, fresh=fresh) for name in sorted(uses)}

    async def value(self, name: str, *, fresh: bool = False) -> str:
        """One value, whoever may have it. Raises :class:`SecretUnavailable`, :class:`BadSecret`."""
        for provider in self._providers:
            found = await provider.get(name, fresh=fresh)
            if found:
                check_value(name, found)
                return found
        raise SecretUnavailable(
            f"the platform has no value for the secret {name!r}: set STEPWELL_SECRET_{name.replace('-', '_')} where it runs, "
            "or describe it in STEPWELL_SECRETS_FILE"
        )
