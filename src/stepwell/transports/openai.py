"""Durable clients of the OpenAI SDK (``openai`` 2 and later): ``gpt = durable_openai(AsyncOpenAI())``."""

from typing import TypeVar, Unpack

import openai

from stepwell.transports._stainless import Options, durable

__all__ = ["Options", "durable_openai"]

C = TypeVar("C")


def durable_openai(client: C, **options: Unpack[Options]) -> C:
    """A copy of ``client`` whose requests are durable steps inside of a run, and plain ones elsewhere.

    Takes sync clients (for ``def`` functions) and async ones. The client's own retries are off in the copy: there is one
    layer of retries, the platform's. Options: those of the durable transports (``fallback``, ``retry``, ``deadline``,
    ``at_most_once``). Raises ``TypeError`` for anything but a client of this SDK.
    """
    return durable(client, openai, openai.OpenAIError, **options)
