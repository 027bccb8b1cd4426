"""The loop's task factory and timers, taught to tell a run of what its code makes. Outside of runs: one context look-up."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

from stepwell.sdk.scope import SCOPE

_MARK = "_stepwell_hooks"


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Hook into ``loop``, once; a task factory that is there already stays in charge of making tasks."""
    if getattr(loop, _MARK, False):
        return
    setattr(loop, _MARK, True)
    loop.set_task_factory(_factory(loop.get_task_factory()))
    _wrap_timers(loop)


def _factory(previous: Any) -> Any:
    def create(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
        task = asyncio.Task(coro, loop=loop, **kwargs) if previous is None else previous(loop, coro, **kwargs)
        context: Context | None = kwargs.get("context")
        owner = SCOPE.get() if context is None else context.get(SCOPE)
        if owner is not None:
            owner.adopt(task)
        return task

    return create


def _wrap_timers(loop: asyncio.AbstractEventLoop) -> None:
    call_at, call_later = loop.call_at, loop.call_later
    inside = False  # call_later of asyncio goes through call_at, call_at of uvloop through call_later

    def hook(original: Callable[..., Any], given: float, when: float, callback: Any, args: Any, context: Any) -> Any:
        nonlocal inside
        owner = SCOPE.get()
        if owner is None or inside:
            return original(given, callback, *args, context=context)
        inside = True
        try:
            made = owner.timer(call_at, when, callback, args, context)
            return original(given, callback, *args, context=context) if made is None else made
        finally:
            inside = False

    def hooked_at(when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return hook(call_at, when, when, callback, args, context)

    def hooked_later(delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return hook(call_later, delay, loop.time() + delay, callback, args, context)

    setattr(loop, "call_at", hooked_at)  # noqa: B010 - one loop only, not its class
    setattr(loop, "call_later", hooked_later)  # noqa: B010
