"""The shapes that a user's functions have, for type checkers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from stepwell.errors import ConfigError
from stepwell.sdk.generics import D

if TYPE_CHECKING:
    from stepwell.sdk.context import Context, ContextSync
    from stepwell.sdk.functions import Function
    from stepwell.sdk.steps import Step
    from stepwell.sdk.steps_sync import StepSync

    T = TypeVar("T")

    class Declare(Protocol[D]):  # pyright: ignore[reportInvalidTypeVarUse]
        """What ``create_function(...)`` returns: it makes a handler whose context fits the triggers into a function."""

        @overload
        def __call__(self, handler: Callable[[Context[D]], Awaitable[T]], /) -> Function[T]: ...
        @overload
        def __call__(self, handler: Callable[[Context[D], Step], Awaitable[T]], /) -> Function[T]: ...
        @overload
        def __call__(self, handler: Callable[[ContextSync[D]], T], /) -> Function[T]: ...
        @overload
        def __call__(self, handler: Callable[[ContextSync[D], StepSync], T], /) -> Function[T]: ...
        def __call__(self, handler: Any, /) -> Function[Any]:
            """Declare the function."""
            ...


_MOST_ARGUMENTS = 2
Handler = Callable[..., Any]
"""``async def f(ctx)`` or ``def f(ctx)``; with a second argument, it gets ``ctx.step`` there."""


def check_handler(fn_id: str, handler: object) -> None:
    """A function of one or two arguments, which does not yield. Raises ``ConfigError``."""
    if not callable(handler):
        raise ConfigError(
            f"function {fn_id!r}: create_function(...) decorates a function, as does on_failure, and {handler!r:.60} is none"
        )
    other: object = getattr(handler, "fn_id", None)
    if other is not None:
        raise ConfigError(
            f"function {fn_id!r} decorates {other!r}, which has been declared: give both the plain function"
        )
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise ConfigError(f"function {fn_id!r} has a yield: it returns its result, once")
    if positionals(handler) > _MOST_ARGUMENTS:
        raise ConfigError(f"function {fn_id!r} takes more than ctx and step: declare it as {_name(handler)}(ctx)")


def positionals(handler: Handler) -> int:
    """How many arguments it has to be given. Raises ``ConfigError`` where it takes none."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(handler).parameters.values()
    if not any(each.kind in (*kinds, inspect.Parameter.VAR_POSITIONAL) for each in parameters):
        raise ConfigError(f"the function {_name(handler)} takes no argument: declare it as {_name(handler)}(ctx)")
    return sum(1 for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty)


def _name(handler: Handler) -> str:
    return getattr(handler, "__name__", type(handler).__name__)
