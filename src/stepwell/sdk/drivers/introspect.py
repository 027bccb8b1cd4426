"""What a task waits for. Every private attribute of asyncio that the SDK reads is read here."""

import asyncio
import gc
from contextvars import Context
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, cast

AnyFuture = asyncio.Future[Any]
AnyTask = asyncio.Task[Any]
Frames = list[tuple[CodeType, FrameType | None]]
_GATHERS = "gather.<locals>._done_callback"
_MANY = 16


def waiter(task: AnyTask) -> AnyFuture | None:
    """The future that the task awaits; None when it is about to run."""
    return getattr(task, "_fut_waiter", None)


def children(future: AnyFuture) -> list[AnyFuture] | None:
    """What a ``gather`` gathers; None when the future is none of gather's."""
    return getattr(future, "_children", None)


def gatherer(task: AnyTask) -> AnyFuture | None:
    """The future of the ``gather`` that is all that watches the task; None when something else watches it, or nothing."""
    callbacks = _callbacks(task)
    if len(callbacks) != 1 or not gathers(callbacks[0]):
        return None
    return _closure(callbacks[0], "outer")


def gathers(callback: object) -> bool:
    """Whether it is what a ``gather`` has its members call when they end."""
    return getattr(callback, "__qualname__", "") == _GATHERS


def returned(task: AnyTask) -> bool:
    """Whether the task has ended, with a result. Its exception is looked at without being counted as retrieved."""
    return task.done() and not task.cancelled() and getattr(task, "_exception", task) is None


def queued(loop: asyncio.AbstractEventLoop) -> list[tuple[object, Context]] | None:
    """What the loop calls in its next turn, and in which contexts; None where it does not show that, or it is a lot."""
    ready = getattr(loop, "_ready", None)
    if ready is None or len(ready) > _MANY:
        return None
    handles: list[Any] = list(ready)  # a copy at once: threads add to it
    return [(handle._callback, handle._context) for handle in handles]  # noqa: SLF001


def shielded(future: AnyFuture) -> AnyFuture | None:
    """What a ``shield`` shields; None when the future is none of shield's."""
    for callback in _callbacks(future):
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            return _closure(callback, "inner")
    return None


def from_thread(future: AnyFuture) -> bool:
    """Whether a thread or an executor will resolve the future (``run_in_executor``, ``to_thread``, ``wrap_future``)."""
    names = (getattr(callback, "__qualname__", "") for callback in _callbacks(future))
    return any(name == "_chain_future.<locals>._call_check_cancel" for name in names)


def for_thread(task: AnyTask) -> bool:
    """Whether a thread waits for the task (``run_coroutine_threadsafe``, anyio's ``from_thread``)."""
    names = (getattr(callback, "__qualname__", "") for callback in _callbacks(task))
    return any(name == "_chain_future.<locals>._call_set_state" for name in names)


def frames(task: AnyTask) -> Frames:
    """Code and frame of every coroutine and generator from the task's own down to the one that awaits the future."""
    found: Frames = []
    current: Any = task.get_coro()
    while current is not None and len(found) < 200:
        if isinstance(current, CoroutineType):
            found.append((current.cr_code, current.cr_frame))
            current = cast(Any, current.cr_await)
        elif isinstance(current, AsyncGeneratorType):
            found.append((current.ag_code, current.ag_frame))
            current = cast(Any, current.ag_await)
        elif isinstance(current, GeneratorType):
            found.append((current.gi_code, current.gi_frame))
            current = cast(Any, current.gi_yieldfrom)
        else:
            current = _behind(current)
    return found


def local(frame: FrameType | None, name: str) -> Any:
    """The value of a local variable in a frame; None when there is none."""
    return None if frame is None else frame.f_locals.get(name)


def disown(task: AnyTask) -> None:
    """Have the loop's shutdown not wait for the task, nor complain of it (``asyncio._unregister_task`` is documented)."""
    asyncio._unregister_task(task)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    setattr(task, "_log_destroy_pending", False)  # noqa: B010 - not a name that type stubs know


def _callbacks(future: AnyFuture) -> list[object]:
    listed: list[tuple[object, object]] = getattr(future, "_callbacks", None) or []
    return [callback for callback, _ in listed]


def _closure(function: Any, name: str) -> Any:
    names = function.__code__.co_freevars
    return function.__closure__[names.index(name)].cell_contents if name in names else None


def _behind(awaitable: Any) -> Any:
    """The generator or coroutine inside of the wrappers that ``async for`` and ``__await__`` make, which have no name."""
    if isinstance(awaitable, asyncio.Future) or type(awaitable).__name__ == "FutureIter":
        return None
    for inner in gc.get_referents(awaitable):
        if isinstance(inner, AsyncGeneratorType | CoroutineType | GeneratorType):
            return cast(Any, inner)
    return None
