"""Step outputs and run results for subscribers: topics ``$step``, ``$run`` and the step's name, channel = run id."""

from collections.abc import Callable, Sequence

import msgspec

from stepwell.core.inputs import Input
from stepwell.core.model import Run, RunView, Step
from stepwell.core.outputs import Commit
from stepwell.server.api.render import memo_value
from stepwell.server.realtime.hub import Hub
from stepwell.server.telemetry.observers import Observer
from stepwell.wire.ids import stable_uuid
from stepwell.wire.realtime import MAX_MESSAGE, RESERVED, TOPIC_RUN, TOPIC_STEP, message

_NULL = msgspec.Raw(b"null")


class RunTopics(Observer):
    """Publishes what was stored of runs that somebody reads. ``now``: ms."""

    def __init__(self, hub: Hub, now: Callable[[], int]) -> None:
        self._hub = hub
        self._now = now

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        """Tell of the steps that have just ended, then of the run's end."""
        if not self._hub.watched(before.run.run_id):
            return
        for step in commit.steps:
            old = before.steps.get(step.step_id)
            if step.ended and (old is None or not old.ended):
                self._step(before.run, step)
        run = commit.run
        if run is not None and run.status.ended:
            self._send(run, "run", TOPIC_RUN, msgspec.Raw(run.output or b"null"), {"status": run.status.value})

    def _step(self, run: Run, step: Step) -> None:
        _, value = memo_value(step)
        facts: dict[str, object] = {"step": step.name, "step_id": step.step_id, "status": step.status.value}
        for topic in (TOPIC_STEP, step.name):
            if topic == TOPIC_STEP or topic not in RESERVED:
                self._send(run, "step", topic, value, facts)

    def _send(self, run: Run, kind: str, topic: str, data: msgspec.Raw, facts: dict[str, object]) -> None:
        """What is larger than a message may be is left out, and the metadata says so."""
        if len(bytes(data)) > MAX_MESSAGE:
            data, facts = _NULL, {**facts, "too_large": True}
        sent = message(
            kind,
            run.run_id,
            topic,
            data,
            self._now(),
            metadata=msgspec.Raw(msgspec.json.encode(facts)),
            fn_id=stable_uuid(run.app_id, run.function_id),
            fn_slug=run.function_id,
            run_id=run.run_id,
        )
        self._hub.publish(sent)
