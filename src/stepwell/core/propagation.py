"""Which trace context goes out with calls of apps, and with the events that runs send. Pure."""

from collections.abc import Mapping

from stepwell.core.model import Item, Run
from stepwell.core.outputs import SystemEvent
from stepwell.core.spans import call_context, run_context, step_context
from stepwell.wire.traces import read_context


class PassedOn:
    """Where the platform makes no spans: what the event of a run came with goes on as it is, if there is anything."""

    def call(self, run: Run, item: Item) -> Mapping[str, str]:
        """Headers of a call of the app."""
        del item
        given = read_context(run.trace) if run.trace else None
        return given.headers if given is not None else {}

    def event(self, sent: SystemEvent, sender: Run) -> str:
        """The context of an event that a run sends, as ``TraceContext.text``; empty for none."""
        del sent
        return sender.trace


class Traced(PassedOn):
    """Where it makes them: what the app does goes below the call, a run that a step starts goes below that step."""

    def call(self, run: Run, item: Item) -> Mapping[str, str]:
        """Headers of a call of the app."""
        return call_context(run, item.key, item.claim).headers

    def event(self, sent: SystemEvent, sender: Run) -> str:
        """Below the step that waits for the outcome, else below the run."""
        run_id, _, step_id = (sent.correlation or "").partition(".")
        at = step_context(sender, step_id) if step_id and run_id == sender.run_id else run_context(sender)
        return at.text
