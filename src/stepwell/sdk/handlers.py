"""The shapes that a user's functions have, for type checkers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from stepwell.sdk.generics import D

if TYPE_CHECKING:
    from stepwell.sdk.context import Context, ContextSync
    from stepwell.sdk.functions import Function
    from stepwell.sdk.steps import Step, StepSync

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


Handler = Callable[..., Any]
"""``async def f(ctx)`` or ``def f(ctx)``; with a second argument, it gets ``ctx.step`` there."""
