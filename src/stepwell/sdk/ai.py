"""``step.ai``: requests to models as steps (protocol 4.6), and adapters that know the providers.

An adapter is any object with the five methods of :class:`Adapter`; those of the protocol's official Python SDK are ones too.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from stepwell.sdk import edits, values
from stepwell.sdk.secrets import secret
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.drivers.execution import Execution
    from stepwell.sdk.drivers.threads import SyncRun
    from stepwell.sdk.machine import Machine, StepCall

__all__ = ["AI", "AISync", "Adapter", "Anthropic", "DeepSeek", "Gemini", "Grok", "OpenAI"]


class Adapter(Protocol):
    """What ``step.ai.infer`` asks of an adapter."""

    def auth_key(self) -> str:
        """The key, or a reference to one; empty for none."""
        ...

    def format(self) -> str:
        """How the provider takes the key: "openai-chat", "anthropic", "gemini", "bedrock", ..."""
        ...

    def headers(self) -> dict[str, str]:
        """Headers beside those for the key."""
        ...

    def on_call(self, body: dict[str, Any]) -> None:
        """Put into the body what is missing, such as the model."""
        ...

    def url_infer(self) -> str:
        """Where the request goes."""
        ...


class _Provider:
    """A provider's adapter.

    Args:
        model: the model's name; a ``model`` in the body of a call wins.
        auth_key: the key; default: the secret of the provider's usual name, which the platform fills in as it sends.
        base_url: the API's address without the call's own path; default: the provider's.
        headers: further ones; ``stepwell-retries``, ``stepwell-timeout`` and the like steer the request.
    """

    SECRET: ClassVar[str]
    BASE: ClassVar[str]
    PATH: ClassVar[str]
    FORMAT: ClassVar[str] = "openai-chat"
    HEADERS: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        *,
        model: str,
        auth_key: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._model = model
        self._auth_key = secret(self.SECRET) if auth_key is None else auth_key
        self._base_url = (base_url or self.BASE).rstrip("/")
        self._headers = {**self.HEADERS, **(headers or {})}

    def auth_key(self) -> str:
        """See :meth:`Adapter.auth_key`."""
        return self._auth_key

    def format(self) -> str:
        """See :meth:`Adapter.format`."""
        return self.FORMAT

    def headers(self) -> dict[str, str]:
        """See :meth:`Adapter.headers`."""
        return dict(self._headers)

    def on_call(self, body: dict[str, Any]) -> None:
        """See :meth:`Adapter.on_call`."""
        body.setdefault("model", self._model)

    def url_infer(self) -> str:
        """See :meth:`Adapter.url_infer`."""
        return f"{self._base_url}{self.PATH}"


class OpenAI(_Provider):
    """Chat completions of OpenAI, and of whoever speaks that API."""

    SECRET = "OPENAI_API_KEY"  # noqa: S105 - the name of one
    BASE = "https://api.openai.com/v1"
    PATH = "/chat/completions"


class Grok(OpenAI):
    """Chat completions of xAI."""

    SECRET = "XAI_API_KEY"  # noqa: S105
    BASE = "https://api.x.ai/v1"


class DeepSeek(OpenAI):
    """Chat completions of DeepSeek."""

    SECRET = "DEEPSEEK_API_KEY"  # noqa: S105
    BASE = "https://api.deepseek.com/v1"


class Anthropic(_Provider):
    """Messages of Anthropic."""

    SECRET = "ANTHROPIC_API_KEY"  # noqa: S105
    BASE = "https://api.anthropic.com/v1"
    PATH = "/messages"
    FORMAT = "anthropic"
    HEADERS: ClassVar[Mapping[str, str]] = {"anthropic-version": "2023-06-01"}


class Gemini(_Provider):
    """``generateContent`` of Gemini; the model is in the URL."""

    SECRET = "GEMINI_API_KEY"  # noqa: S105
    BASE = "https://generativelanguage.googleapis.com/v1beta"
    PATH = "/models/{model}:generateContent"
    FORMAT = "gemini"

    def on_call(self, body: dict[str, Any]) -> None:
        """See :meth:`Adapter.on_call`."""

    def url_infer(self) -> str:
        """See :meth:`Adapter.url_infer`."""
        return f"{self._base_url}{self.PATH.format(model=self._model)}"


class AI:
    """``ctx.step.ai`` of an ``async def`` function."""

    def __init__(self, run: Execution) -> None:
        self._run = run

    def infer(self, step_id: str, *, adapter: Adapter, body: dict[str, Any]) -> Coroutine[Any, Any, dict[str, Any]]:
        """Ask a model: the platform makes the request, as durable as any; what the provider answered, as JSON.

        ``body``: what the provider's API takes, but for the model, which the adapter adds. Raises ``StepError`` called
        ``AIGatewayError`` when there was no answer or an unsuccessful one, whose body is in ``data``.
        """
        self._run.check()
        call = _call(self._run.machine, step_id, adapter, body)
        return self._run.made(call, self._run.wait(call))


class AISync:
    """``ctx.step.ai`` of a ``def`` function."""

    def __init__(self, run: SyncRun) -> None:
        self._run = run

    def infer(self, step_id: str, *, adapter: Adapter, body: dict[str, Any]) -> dict[str, Any]:
        """As :meth:`AI.infer`."""
        self._run.check()
        return self._run.wait(_call(self._run.machine, step_id, adapter, body))


def _call(machine: Machine, step_id: str, adapter: Adapter, body: Mapping[str, Any]) -> StepCall:
    call = machine.make(step_id, Opcode.AI_GATEWAY)
    if not all(hasattr(adapter, name) for name in ("auth_key", "format", "headers", "on_call", "url_infer")):
        raise TypeError(
            f"step {step_id!r} needs an adapter, such as stepwell.ai.OpenAI(model=...), not {adapter!r:.60}"
        )
    if not isinstance(body, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise TypeError(f"step {step_id!r} needs a body as the provider takes it, a dict, not {type(body).__name__}")
    asked = dict(body)
    adapter.on_call(asked)
    options = {
        "type": "step.ai.infer",
        "url": adapter.url_infer(),
        "headers": adapter.headers(),
        "auth_key": adapter.auth_key(),
        "format": adapter.format(),
        "body": asked,
    }
    call.opts = values.encode(options, f"the body for step {step_id!r} has")
    call.edit = edits.body
    return call
