"""The page of a run: waterfall, side panel, and what can be done about it."""

from collections.abc import Callable, Mapping
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from stepwell.core.model import RunView, Step
from stepwell.core.requestcopies import read_copy
from stepwell.core.reruns import CannotRerun
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem
from stepwell.server.api.queries import ulid_param
from stepwell.server.api.runs import unknown_run
from stepwell.server.api.waits import render_wait
from stepwell.server.dashboard.bodies import IMAGES, MAX_SHOWN
from stepwell.server.dashboard.children import children_of
from stepwell.server.dashboard.detail import body_ref, of_run, of_step
from stepwell.server.dashboard.pages import address, page, redirect
from stepwell.server.dashboard.timeline import timeline
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch_headers import find, find_all
from stepwell.wire.jsons import decode_as
from stepwell.wire.memos import BadMemo, parse_memo
from stepwell.wire.ops import Opcode, opcode

PAGE = 200
"""Steps on a page of the waterfall; the script fetches the next ones when they come into view."""
_MAX_IMAGE = 4 << 20


class RunPage:
    """``/runs/{id}`` and its forms."""

    def __init__(self, engine: EngineFacade, now: Callable[[], int]) -> None:
        self._engine = engine
        self._now = now

    async def get(self, request: Request) -> Response:
        """The run; ``step`` opens that step's panel, ``first`` says from which step on the waterfall goes."""
        view = await self._view(request)
        ordered = sorted(view.steps.values(), key=lambda step: step.number)
        chosen = view.steps.get(request.query_params.get("step", ""))
        first = _first(request, ordered, chosen)
        held = await self._held(view)
        children = await children_of(self._engine, view.run, ordered[first : first + PAGE])
        made = timeline(view.run, ordered, self._now(), held=held, children=children, first=first, count=PAGE)
        stored = beside = None
        if chosen is not None and (ref := body_ref(chosen)):
            stored = await self._engine.body(ref, 0, MAX_SHOWN)
        if chosen is not None and (copy := read_copy(chosen.info)) and copy.ref:
            beside = await self._engine.body(copy.ref, 0, None)
        values = {
            "run": view.run,
            "timeline": made,
            "panel": of_run(view, address(request)) if chosen is None else of_step(chosen, stored, beside),
            "chosen": "" if chosen is None else chosen.step_id,
            "total": len(ordered),
            "first": first,
            "count": PAGE,
            "held": held.get(DISCOVERY, ""),
            "now": self._now(),
            "problem": "",
            "invokable": self._invokable(view.run.function_id),
        }
        return page(request, "run", values)

    async def cancel(self, request: Request, _form: Mapping[str, str]) -> Response:
        """End the run; one that has ended stays as it is."""
        run_id = ulid_param(request, "run_id")
        if not await self._engine.cancel(run_id) and await self._engine.view(run_id) is None:
            raise unknown_run(run_id)
        return redirect(f"../{run_id}")

    async def rerun(self, request: Request, form: Mapping[str, str]) -> Response:
        """Begin anew, from the start or from ``step``, whose ``input`` may be given as a JSON array; to the new run."""
        run_id = ulid_param(request, "run_id")
        step = form.get("step") or None
        args = parse_args(form.get("input", "")) if step else None
        try:
            made = await self._engine.rerun(run_id, step, args)
        except CannotRerun as problem:
            raise Problem(409, str(problem)) from None
        if made is None:
            raise unknown_run(run_id)
        return redirect(f"../{made}")

    async def image(self, request: Request) -> Response:
        """A step's response body, when it is a picture."""
        view = await self._view(request)
        step = view.steps.get(str(request.path_params["step"]))
        if step is None or opcode(step.op) is not Opcode.GATEWAY:
            raise Problem(404, "There is no such picture.")
        try:
            response, ref = parse_memo(step.memo or b"null")
        except BadMemo:
            raise Problem(404, "The step has no response.") from None
        kind = (find(response.headers, "content-type") or "").partition(";")[0].strip().lower()
        body = response.body if ref is None else await self._engine.body(ref, 0, _MAX_IMAGE) or b""
        try:
            body = decode(body, find_all(response.headers, "content-encoding"), _MAX_IMAGE)
        except CannotDecode as problem:
            raise Problem(404, f"The picture can not be shown: {problem}.") from None
        if kind not in IMAGES:
            raise Problem(404, "The response is no picture that is shown.")
        return Response(body, 200, {"Cache-Control": "private, max-age=3600"}, kind)

    def _invokable(self, function_id: str) -> bool:
        """Whether the function is known, and not paused."""
        known = any(each.id == function_id for each in self._engine.functions())
        return known and self._engine.pausing.since(function_id) is None

    async def _view(self, request: Request) -> RunView:
        run_id = ulid_param(request, "run_id")
        view = await self._engine.view(run_id)
        if view is None:
            raise unknown_run(run_id)
        return view

    async def _held(self, view: RunView) -> dict[str, str]:
        """What holds work back, in words, by step id."""
        if view.run.status.ended:
            return {}
        found = {key: render_wait(shut) for key, shut in (await self._engine.waits(view.run.run_id)).items()}
        return {
            key: f"{each['for']}" + (f", until {each['until']}" if each["until"] else "") for key, each in found.items()
        }


def parse_args(text: str) -> list[object] | None:
    """The arguments of a form; None for the code's own. Raises :class:`Problem` 400."""
    if not text.strip():
        return None
    try:
        found = decode_as(text.encode(), object)
    except ValueError as error:
        message = f'The input can not be read: {error}; write an array of arguments such as [1, "two"].'
        raise Problem(400, message) from None
    if not isinstance(found, list):
        raise Problem(400, 'The input has to be an array of arguments, such as [{"id": 7}].')
    return cast("list[object]", found)


def _first(request: Request, ordered: list[Step], chosen: Step | None) -> int:
    text = request.query_params.get("first", "")
    if text.isascii() and text.isdecimal() and len(text) < 8:
        return min(int(text), max(0, len(ordered) - 1))
    if chosen is None:
        return 0
    return ordered.index(chosen) // PAGE * PAGE
