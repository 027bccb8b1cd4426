"""The middleware of one call: its instances, their hooks in order, and what goes wrong in them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from stepwell.errors import MiddlewareError, NonRetriableError, RetryAfterError
from stepwell.sdk.middleware import (
    NO_OUTPUT,
    AnyMiddleware,
    MakeMiddleware,
    Middleware,
    MiddlewareSync,
    SendEventsResult,
    StepMemo,
    StepMemos,
    TransformOutputResult,
    TransformOutputStepInfo,
)
from stepwell.sdk.scope import forget

if TYPE_CHECKING:
    from stepwell.sdk.client import Client
    from stepwell.sdk.context import Context, ContextSync
    from stepwell.sdk.events import Event
    from stepwell.sdk.functions import Function


class HookFailed(Exception):
    """The hook ``hook`` raised; ``error`` is what the call answers with. No step and no function may take it for its own."""

    def __init__(self, error: Exception, hook: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.hook = hook


class Chain:
    """The instances for one call.

    ``variables``: the context in which hooks run; what ``transform_input`` sets there, the function's code sees.
    """

    __slots__ = ("_began", "_instances", "_replays", "variables")

    def __init__(
        self, makers: Sequence[MakeMiddleware], client: Client, raw_request: object, variables: Variables
    ) -> None:
        self.variables = variables
        self._replays = False
        self._began = False
        self._instances: list[AnyMiddleware] = []
        for make in makers:
            self._instances.append(_made(make, client, raw_request))

    def detach(self) -> None:
        """From now on hooks run in a context of their own: the function's code has taken over theirs."""
        self.variables = self.variables.copy()
        self.variables.run(forget)

    def reads_input(self) -> bool:
        """Whether there is a hook that wants the input."""
        return any(_overrides(each, "transform_input") for each in self._instances)

    async def transform_input(
        self, context: Context[Any] | ContextSync[Any], function: Function, memos: dict[str, StepMemo]
    ) -> None:
        """The call's input, changed in place."""
        await self._run("transform_input", self._instances, context, function, StepMemos(memos))

    async def replay(self) -> None:
        """The function begins to run through what is on record; the first call of it counts."""
        if not self._replays:
            self._replays = True
            await self._run("before_memoization", self._instances)

    async def begin(self) -> None:
        """New code begins; the first call of it counts."""
        if self._began:
            return
        self._began = True
        await self._run("after_memoization", self._instances)
        await self._run("before_execution", self._instances)

    async def after_execution(self) -> None:
        """New code has run."""
        await self._run("after_execution", self._instances[::-1])

    async def transform_output(
        self, output: Any, error: BaseException | None = None, step: TransformOutputStepInfo | None = None
    ) -> TransformOutputResult:
        """What a step or the function came to, after all hooks."""
        if step is None and error is not None:
            output = NO_OUTPUT
        result = TransformOutputResult(error, output, step)
        await self._run("transform_output", self._instances[::-1], result)
        return result

    async def before_response(self) -> None:
        """The answer is ready."""
        await self._run("before_response", self._instances)

    async def before_send_events(self, events: list[Event[Any]]) -> None:
        """Events are about to be sent."""
        await self._run("before_send_events", self._instances, events)

    async def after_send_events(self, result: SendEventsResult) -> None:
        """Events have been sent."""
        await self._run("after_send_events", self._instances[::-1], result)

    async def _run(self, hook: str, instances: Sequence[AnyMiddleware], *args: object) -> None:
        hooked = [each for each in instances if _overrides(each, hook)]
        if hooked:
            # A task of its own: the only way to run a coroutine in a given context.
            await asyncio.get_running_loop().create_task(_each(hook, hooked, args), context=self.variables)


def sending_chain(makers: Sequence[MakeMiddleware], client: Client) -> Chain | None:
    """The chain of a send outside of a run; None without middleware. Raises ``HookFailed``."""
    if not makers:
        return None
    variables = copy_context()
    variables.run(forget)
    return Chain(makers, client, None, variables)


def hook_error(problem: Exception, name: str, hook: str) -> HookFailed:
    """What a call answers when middleware raised; what the user said about trying again stays."""
    if isinstance(problem, NonRetriableError | RetryAfterError):
        return HookFailed(problem, hook)
    error = MiddlewareError(f"the middleware {name} failed in {hook}: {type(problem).__name__}: {problem}")
    error.__cause__ = problem
    return HookFailed(error, hook)


async def _each(hook: str, instances: Sequence[AnyMiddleware], args: Sequence[object]) -> None:
    for instance in instances:
        try:
            found = getattr(instance, hook)(*args)
            if inspect.isawaitable(found):
                await found
        except Exception as problem:
            raise hook_error(problem, type(instance).__name__, hook) from problem


def _made(make: MakeMiddleware, client: Client, raw_request: object) -> AnyMiddleware:
    name = getattr(make, "__name__", type(make).__name__)
    try:
        made = make(client, raw_request)
        if not isinstance(made, Middleware | MiddlewareSync):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"it made a {type(made).__name__}, which is neither a Middleware nor a MiddlewareSync")
    except Exception as problem:
        raise hook_error(problem, name, "its constructor") from problem
    return made


def _overrides(instance: AnyMiddleware, hook: str) -> bool:
    base = Middleware if isinstance(instance, Middleware) else MiddlewareSync
    return getattr(type(instance), hook) is not getattr(base, hook) or hook in vars(instance)
