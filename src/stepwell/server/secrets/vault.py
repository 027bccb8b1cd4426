"""Rules and sources of all secrets together."""

import asyncio
import logging
import traceback
from collections.abc import Mapping, Sequence

from stepwell.server.secrets.providers import SecretProvider, SecretUnavailable
from stepwell.wire.secret_rules import SecretRule, refusal, rule_for
from stepwell.wire.secrets import BadSecret, check_value

logger = logging.getLogger("stepwell")

_ASKED_S = 60.0
"""A source that says nothing for so long has failed; a token may take half of it."""


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
            found = await _asked(provider, name, fresh=fresh)
            if found:
                check_value(name, found)
                return found
        raise SecretUnavailable(
            f"the platform has no value for the secret {name!r}: set STEPWELL_SECRET_{name.replace('-', '_')} where it runs, "
            "or describe it in STEPWELL_SECRETS_FILE"
        )


async def _asked(provider: SecretProvider, name: str, *, fresh: bool) -> str | None:
    """What one source says. Others write them too, so whatever goes wrong there is an answer, and may pass."""
    try:
        async with asyncio.timeout(_ASKED_S):
            found = await provider.get(name, fresh=fresh)
    except (SecretUnavailable, BadSecret):
        raise
    except BaseException as error:  # whatever a source raises, sys.exit() too, the run gets an answer
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, asyncio.CancelledError) and _given_up()):
            raise
        where = "".join(traceback.format_tb(error.__traceback__))  # without its words, which may hold the secret
        logger.error("the source of the secret %r failed: %s\n%s", name, type(error).__name__, where)
        words = f"the source of the secret {name!r} failed ({type(error).__name__})"
        raise SecretUnavailable(words, "connect", final=False) from None
    if found is not None and not isinstance(found, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SecretUnavailable(f"the source of the secret {name!r} gave no text, but {type(found).__name__}")
    return found


def _given_up() -> bool:
    """Whether it is this task that was cancelled, and not something that the source has waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
