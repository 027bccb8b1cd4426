"""Which runs the newest events started: who sends an event asks for its runs next, and need not ask the store."""

from collections import OrderedDict
from collections.abc import Sequence

from stepwell.core.model import RunView

_KEEP = 10_000


class Recent:
    """The runs of the newest events, by internal event id; all that an event starts is started when it comes in."""

    def __init__(self, keep: int = _KEEP) -> None:
        self._keep = keep
        self._runs: OrderedDict[str, list[str]] = OrderedDict()

    def note(self, event_ids: Sequence[str], started: Sequence[RunView]) -> None:
        """These events came in for the first time, and started these runs."""
        for event_id in event_ids:
            self._runs[event_id] = []
        for view in started:
            for event_id in view.run.event_ids:
                self._runs[event_id].append(view.run.run_id)
        while len(self._runs) > self._keep:
            self._runs.popitem(last=False)

    def runs_of(self, event_id: str) -> list[str] | None:
        """The runs, or None when the event is not among the newest."""
        found = self._runs.get(event_id)
        return list(found) if found is not None else None
