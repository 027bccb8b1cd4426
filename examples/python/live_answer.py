"""An AI answer that a page shows while it arrives, and still has after a reload: see ``examples/sample_api/live.html``."""

import stepwell
from example_client import SAMPLE_API, client


@client.create_function(fn_id="live-answer", trigger=stepwell.TriggerEvent(event="answer.wanted"))
async def live_answer(ctx: stepwell.Context) -> int:
    """Event data: ``question``. The page reads the body of the step ``answer`` along; the record is what it reads later."""
    response = await ctx.step.fetch(
        f"{SAMPLE_API}/v1/chat/completions",
        id="answer",
        method="POST",
        headers={"authorization": "Bearer sample"},
        json={
            "model": "sample",
            "stream": True,
            "messages": [{"role": "user", "content": str(ctx.event.data["question"])}],
        },
    )
    return len(response.raise_for_status().content)
