"""A transition while it is being made: the header's new values and the writes collected so far."""

import msgspec
from msgspec.structs import replace

from stepwell.core.inputs import Env
from stepwell.core.invokes import outcome
from stepwell.core.model import (
    Body,
    Item,
    ItemRef,
    Limit,
    Pace,
    Run,
    RunStatus,
    RunView,
    Step,
    StepStatus,
    Wait,
    WorkKind,
)
from stepwell.core.outputs import Admission, Commit, Observed, Release, SystemEvent
from stepwell.core.waits import cancel_keys
from stepwell.wire.constants import DISCOVERY, MAX_STEP_OUTPUT
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Opcode

_WAITING = frozenset({Opcode.WAIT_FOR_EVENT, Opcode.WAIT_FOR_SIGNAL})


class Draft:
    """Collects what inputs change in one run, and comes to one commit. Reads through to the view it was made from."""

    def __init__(self, view: RunView, env: Env) -> None:
        self.env = env
        self.run: Run = view.run
        self._view = view
        self._expected = view.run.version
        self._steps: dict[str, Step] = {}
        self._ended: list[str] = []
        self._done: list[ItemRef] = []
        self._put: dict[str, Item] = {}
        self._touch: dict[str, int] = {}
        self._bodies: list[Body] = []
        self._keep: list[ItemRef] = []
        self._observed: list[Observed] = []
        self._drop = False
        self._emit: list[SystemEvent] = []
        self._waits: list[Wait] = []
        self._unwait: list[tuple[str, str]] = []
        self._more: list[Commit] = []
        self._admit: list[Admission] = []

    # reading

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.run.status.ended

    def step(self, step_id: str) -> Step | None:
        """The step as it is by now."""
        return self._steps.get(step_id) or self._view.steps.get(step_id)

    def stack_after(self, sent: int) -> list[Step]:
        """The steps that ended after the first ``sent``, in that order."""
        ids = self._view.stack[sent:] + self._ended[max(0, sent - len(self._view.stack)) :]
        return [step for step in map(self.step, ids) if step is not None]

    # writing

    def header(self, **changes: object) -> None:
        """Set fields of the run's header."""
        self.run = replace(self.run, **changes)

    def save(self, step: Step) -> None:
        """Insert or replace a step."""
        self._steps[step.step_id] = step

    def add_step(self, step_id: str, name: str, op: str, status: StepStatus) -> Step:
        """A step that was not known before."""
        step = Step(
            run_id=self.run.run_id,
            step_id=step_id,
            name=name,
            op=op,
            status=status,
            number=self.run.steps,
            created_at=self.env.now,
        )
        self.header(steps=self.run.steps + 1)
        self.save(step)
        return step

    def end_step(self, step: Step, memo: bytes, status: StepStatus) -> Step:
        """Record a step's one result: it takes the next place in the completion order."""
        run = self.run
        pending = run.pending - 1 if step.own_item else run.pending
        ended = replace(
            step,
            status=status,
            memo=memo,
            position=run.completed,
            ended_at=self.env.now,
            due_at=None,
            started_at=step.started_at if step.started_at is not None else step.created_at,
        )
        self.run = replace(run, completed=run.completed + 1, state_bytes=run.state_bytes + len(memo), pending=pending)
        self._ended.append(step.step_id)
        if step.op in _WAITING:
            self._unwait.append((step.run_id, step.step_id))
        self.save(ended)
        return ended

    def done(self, item: Item) -> None:
        """The item has been worked on."""
        self._done.append(ItemRef(item.run_id, item.key, item.claim))

    def put(self, item: Item) -> None:
        """A new item, or the next attempt of an old one."""
        self._put[item.key] = replace(item, passed=()) if item.passed else item

    def will_do(self, key: str) -> bool:
        """Whether this transition puts an item of that key."""
        return key in self._put

    def work_on(
        self,
        step: Step,
        kind: WorkKind,
        due_at: int,
        payload: bytes | None = None,
        limits: tuple[Limit, ...] | None = None,
        paces: tuple[Pace, ...] = (),
        expires_at: int | None = None,
        info: bytes | None = None,
    ) -> None:
        """Give the step a work item of its own. Calls and requests count against the run's limits, timers do not.

        ``limits`` take the place of the run's. ``info``: what people see of it.
        """
        self.save(replace(step, own_item=True, due_at=due_at, info=step.info if info is None else info))
        self.header(pending=self.run.pending + 1)
        if limits is None:
            limits = () if kind is WorkKind.TIMER else self.run.limits
        self.put(
            Item(
                run_id=step.run_id,
                key=step.step_id,
                kind=kind,
                due_at=due_at if kind is WorkKind.TIMER else self._early(due_at),
                limits=limits,
                paces=paces,
                expires_at=expires_at,
                payload=payload,
            )
        )

    def put_discovery(self) -> None:
        """Have the app called for the next steps, once."""
        if self.run.discovering or self.ended:
            return
        self.header(discovering=True, poked=False)
        run = self.run
        due_at = self._early(self.env.now)
        self.put(
            Item(run_id=run.run_id, key=DISCOVERY, kind=WorkKind.CALL, due_at=due_at, limits=run.limits),
        )

    def _early(self, due_at: int) -> int:
        """Work of a run with a priority goes as if it had been due before; what is not due yet waits for its time."""
        return due_at if due_at > self.env.now else due_at - self.run.priority_ms

    def touch(self, key: str, attempt: int) -> None:
        """Set the attempt number of an item in flight."""
        self._touch[key] = attempt

    def take_over(self, run: Run) -> None:
        """The header of a run that begins."""
        self.run = run

    def admit(self, admission: Admission) -> None:
        """Have this let the transition pass."""
        self._admit.append(admission)

    def observe(self, seen: Observed) -> None:
        """Tell a host's pace how a request went."""
        self._observed.append(seen)

    def emit(self, event: SystemEvent) -> None:
        """Have the platform send an event, in the same transaction."""
        self._emit.append(event)

    def wait(self, wait: Wait) -> None:
        """Have the step woken by an event."""
        self._waits.append(wait)

    def follow(self, commit: Commit) -> None:
        """Have this looked at too, in the same transaction, once the run's own commit has passed."""
        self._more.append(commit)

    @property
    def trigger(self) -> bytes:
        """The event that started the run."""
        return self._view.events[0] if self._view.events else b"{}"

    def body(self, body: Body) -> None:
        """Keep a body beside the state."""
        self._bodies.append(body)

    def keep_body(self, item: Item) -> str:
        """Keep the body that was stored while it arrived; its ref."""
        claim = ItemRef(item.run_id, item.key, item.claim)
        self._keep.append(claim)
        return claim.body

    def complete(self, output: bytes) -> None:
        """End the run with what the function returned, or with an error when that is too large."""
        if len(output) <= MAX_STEP_OUTPUT:
            self.finish(RunStatus.COMPLETED, output)
            return
        message = (
            f"the function returned {len(output)} bytes, more than the {MAX_STEP_OUTPUT} that it may return: "
            "store the data elsewhere and return a reference to it"
        )
        self.fail("OutputTooLarge", message)

    def fail(self, name: str, message: str) -> None:
        """End the run with an error of the platform's own."""
        self.finish(RunStatus.FAILED, msgspec.json.encode(ErrorInfo(name=name, message=message)))

    def finish(self, status: RunStatus, output: bytes) -> None:
        """End the run, and drop whatever it still had to do."""
        self.header(status=status, output=output, ended_at=self.env.now, discovering=False, error=None, retry_at=None)
        memo = outcome(self.run) if self.run.gathering else None
        self._admit.extend(Release(bucket, self.run.run_id, memo) for bucket in self.run.buckets)
        self.header(gathering=False)
        self._put.clear()
        self._drop = True
        self._waits.clear()
        self._more.clear()
        self._unwait.extend(cancel_keys(self.run))
        for step in self._view.steps.values():
            if step.op in _WAITING and not step.ended:
                self._unwait.append((step.run_id, step.step_id))

    # the end of it

    def commit(self) -> Commit:
        """All of it as one commit."""
        self.header(version=self._expected + 1)
        return Commit(
            now=self.env.now,
            run=self.run,
            expected=self._expected,
            steps=tuple(self._steps.values()),
            done=tuple(self._done),
            put=tuple(self._put.values()),
            drop=self._drop,
            touch=tuple(self._touch.items()),
            bodies=tuple(self._bodies),
            keep=tuple(self._keep),
            emit=tuple(self._emit),
            waits=tuple(self._waits),
            unwait=tuple(self._unwait),
            more=tuple(self._more),
            admit=tuple(self._admit),
            observed=tuple(self._observed),
        )
