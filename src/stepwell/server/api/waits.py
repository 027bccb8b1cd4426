"""What a run waits for, in words. Pure."""

from collections.abc import Sequence

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.words import in_words
from stepwell.core.model import Item, WorkKind
from stepwell.server.api.render import Json, instant


def render_wait(shut: Shut) -> Json:
    """``for``: what holds the work back; ``until``: when that ends, null where it depends on other work."""
    return {"for": in_words(shut.by.bucket, shut.reason), "until": instant(shut.until)}


def render_gathering(items: Sequence[Item]) -> Json:
    """The same of a run that has not begun and waits for more events (debounce, batch)."""
    due = next((item.due_at for item in items if item.kind is WorkKind.START), None)
    return {"for": "next events of its debounce or batch", "until": instant(due)}
