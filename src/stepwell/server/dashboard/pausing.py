"""The forms of the functions page that pause and resume a function."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.functions import unknown_function
from stepwell.server.dashboard.pages import redirect


class PausingForms:
    """Both lead back to the list."""

    def __init__(self, engine: EngineFacade) -> None:
        self._engine = engine

    async def pause(self, _request: Request, form: Mapping[str, str]) -> Response:
        """Let a function start no runs; ``cancel``: end those that there are."""
        function_id = form.get("function", "")
        try:
            await self._engine.pausing.pause(function_id, cancel_running="cancel" in form)
        except LookupError:
            raise unknown_function(function_id) from None
        return redirect("../functions")

    async def resume(self, _request: Request, form: Mapping[str, str]) -> Response:
        """Let it start runs again."""
        await self._engine.pausing.resume(form.get("function", ""))
        return redirect("../functions")
