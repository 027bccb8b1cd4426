"""The execution machine of one run, without IO: ids, memos, which steps are found, reported, ended. Protocol 3.3.

A step call gets its id when it is *made*, in the order of the code; it is *found* when it is awaited and has no memo.
"""

import logging
from collections.abc import Callable
from contextvars import Context
from enum import Enum
from typing import Any

import msgspec

from stepwell.errors import StepUsageError
from stepwell.wire.ids import step_hash
from stepwell.wire.ops import Op, Opcode, Userland

_log = logging.getLogger("stepwell")
_RACE = b'"parallelMode":"race"'
_warned: set[tuple[str, str]] = set()


class State(Enum):
    """Where a step call is. FAILED: its attempt failed, and it shall be tried again."""

    MADE = "made"
    FOUND = "found"
    REPORTED = "reported"
    FAILED = "failed"
    ENDED = "ended"
    ABANDONED = "abandoned"


class StepCall:
    """One call of a step. ``body``: the callable with its arguments bound, for steps that run in the app."""

    __slots__ = (
        "bare",
        "body",
        "context",
        "edit",
        "hashed",
        "index",
        "kind",
        "live",
        "name",
        "number",
        "op",
        "opts",
        "preview",
        "state",
        "user_id",
        "waiter",
    )

    def __init__(self, user_id: str, index: int, number: int, op: Opcode) -> None:
        self.user_id = user_id
        self.index = index
        self.number = number
        self.hashed = step_hash(user_id, index)
        self.op = op
        self.name: str | None = None
        self.opts: bytes = b"{}"
        self.body: Callable[[], object] | None = None
        self.context: Context | None = None
        self.edit: Callable[[StepCall, list[msgspec.Raw]], None] | None = None
        """Takes other input in place of the code's own."""
        self.kind: Any = None
        self.live = False
        """Whether its caller can take a response whose body still arrives; ``preview`` is that response then."""
        self.preview: Any = None
        self.state = State.MADE
        self.bare = False
        """Whether the task that waits for it does that alone: none of the user's code follows in it."""
        self.waiter: Any = None
        """What the driver resumes: a future, or a timer."""

    @property
    def label(self) -> str:
        """What people read: the id, with the index of a repeat."""
        return f"{self.user_id}:{self.index}" if self.index else self.user_id

    def report(self, race: bool) -> Op:
        """The op that tells the platform of the step."""
        opts = self.opts
        if race:
            opts = b"{" + _RACE + (b"}" if opts == b"{}" else b"," + opts[1:])
        code = Opcode.STEP_PLANNED if self.op is Opcode.STEP_RUN else self.op
        return Op(
            op=code,
            id=self.hashed,
            name=self.name,
            display_name=self.user_id,
            opts=msgspec.Raw(opts) if opts != b"{}" else None,
            userland=Userland(self.user_id, self.index or None),
        )

    def outcome(self, code: Opcode, data: bytes | None = None, error: bytes | None = None) -> Op:
        """The op that tells how the step's callable ended."""
        return Op(
            op=code,
            id=self.hashed,
            display_name=self.user_id,
            data=None if data is None else msgspec.Raw(data),
            error=None if error is None else msgspec.Raw(error),
            userland=Userland(self.user_id, self.index or None),
        )


class Machine:
    """The step calls of one execution of a run. ``function_id`` names it in warnings."""

    def __init__(self, function_id: str = "") -> None:
        self.function_id = function_id
        self.pending: dict[str, StepCall] = {}
        """Found and not ended, by hashed id, in the order of finding."""
        self.parallel = False
        """Whether more than one step is or was pending at once: steps are reported as racing from then on."""
        self.made = 0
        self.closed = False
        """Whether the execution has been given up: no warnings any longer."""
        self._unseen: dict[str, StepCall] = {}
        self._counts: dict[str, int] = {}
        self._labels: set[str] = set()
        self._open: dict[str, int] = {}
        self._early: dict[str, bytes] = {}
        self._abandoned: dict[str, StepCall] = {}
        self._failed: list[StepCall] = []

    def make(self, user_id: str, op: Opcode, *, explicit: bool = True) -> StepCall:
        """A call of the step ``user_id``; repeats get the index 1, 2, ... in the order of the calls.

        An index is passed over where its label is a step's own id. Raises ``StepUsageError`` for what is no id.
        """
        if type(user_id) is not str:
            user_id = _exactly(user_id)
        index = self._counts.get(user_id, 0) if user_id in self._counts else _check(user_id)
        while (label := f"{user_id}:{index}" if index else user_id) in self._labels:
            index += 1
        self._labels.add(label)
        self._counts[user_id] = index + 1
        running = self._open.get(user_id, 0)
        if running and explicit and not self.closed:
            self._warn(user_id)
        self._open[user_id] = running + 1
        call = StepCall(user_id, index, self.made, op)
        self.made += 1
        return call

    def find(self, call: StepCall) -> bytes | None:
        """The call is awaited: its memo when there is one already, else it is found now."""
        memo = self._early.pop(call.hashed, None)
        if memo is not None:
            self._end(call, State.ENDED)
            return memo
        call.state = State.FOUND
        self.pending[call.hashed] = call
        self._unseen[call.hashed] = call
        if len(self.pending) > 1:
            self.parallel = True
        return None

    def feed(self, hashed: str, memo: bytes) -> StepCall | None:
        """A step has ended. The call that waits for it; None when nobody does (yet)."""
        call = self.pending.get(hashed)
        if call is not None:
            self._end(call, State.ENDED)
        elif hashed not in self._abandoned:
            self._early[hashed] = memo
        return call

    def abandon(self, call: StepCall) -> None:
        """Nobody waits for the call any longer: its completion will be ignored."""
        if call.state not in (State.ENDED, State.ABANDONED):
            self._abandoned[call.hashed] = call
            self._end(call, State.ABANDONED)

    def known(self, hashed: str) -> StepCall | None:
        """The call of that id which is pending or was abandoned."""
        return self.pending.get(hashed) or self._abandoned.get(hashed)

    def failed(self, call: StepCall) -> None:
        """An attempt of the step failed, and the same call of the platform will try it again."""
        if call.state is State.FOUND or call.state is State.REPORTED:
            call.state = State.FAILED
            self._failed.append(call)

    @property
    def unasked(self) -> int:
        """How many completions were fed that no call has asked for."""
        return len(self._early)

    @property
    def has_news(self) -> bool:
        """Whether steps were found that have not been reported."""
        return bool(self._unseen)

    def news(self) -> list[StepCall]:
        """Found and not reported, in the order of creation."""
        return sorted(self._unseen.values(), key=_number)

    def everything(self) -> list[StepCall]:
        """All that is pending, reported or not, in the order of creation."""
        return sorted(self.pending.values(), key=_number)

    def reported(self, calls: list[StepCall]) -> None:
        """The calls have been put into an answer."""
        for call in calls:
            self._unseen.pop(call.hashed, None)
            if call.state is not State.FAILED:
                call.state = State.REPORTED

    def retry(self) -> None:
        """The platform comes back: what failed counts as found again."""
        for call in self._failed:
            if call.state is State.FAILED:
                call.state = State.FOUND
                self._unseen[call.hashed] = call
        self._failed.clear()

    def forget(self) -> None:
        """The execution is over: hold none of its calls any longer."""
        for calls in (self.pending, self._unseen, self._early, self._abandoned):
            calls.clear()
        self._failed.clear()

    def _end(self, call: StepCall, state: State) -> None:
        call.state = state
        self.pending.pop(call.hashed, None)
        self._unseen.pop(call.hashed, None)
        self._open[call.user_id] -= 1

    def _warn(self, user_id: str) -> None:
        key = (self.function_id, user_id)
        if key not in _warned and len(_warned) < 10_000:
            _warned.add(key)
            _log.warning(
                "%s: the step id %r is used again while an earlier step of that id has not ended; repeats are told apart "
                "by the order in which they are called. Give parallel steps ids of their own.",
                self.function_id,
                user_id,
            )


def _exactly(user_id: object) -> str:
    """The text of an id of a class of its own, such as a member of an enumeration. Raises ``StepUsageError``."""
    if isinstance(user_id, str):
        return str.__str__(user_id)
    raise _no_id(user_id)


def _check(user_id: str) -> int:
    """The index of a first call. Raises ``StepUsageError``."""
    try:
        user_id.encode()
    except UnicodeEncodeError:
        raise _no_id(user_id) from None
    if not user_id.strip():
        raise _no_id(user_id)
    return 0


def _no_id(user_id: object) -> StepUsageError:
    return StepUsageError(f"a step needs an id, a text such as 'charge card', and {user_id!r} is none")


def _number(call: StepCall) -> int:
    return call.number
