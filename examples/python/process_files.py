"""Example 2: one durable request for each file, all in parallel, and never more than ten in flight."""

import asyncio

import stepwell
from example_client import SAMPLE_API, client


def count_words(text: str) -> int:
    """How many words the text has."""
    return len(text.split())


@client.create_function(
    fn_id="process-files",
    trigger=stepwell.TriggerEvent(event="files.wanted"),
    concurrency=[stepwell.Concurrency(limit=10)],
)
async def process_files(ctx: stepwell.Context) -> dict[str, int]:
    """Event data: ``files``, the names. The limit counts every request in flight, those of other runs included."""
    files = [str(name) for name in ctx.event.data["files"]]

    responses = await asyncio.gather(*(ctx.step.fetch(f"{SAMPLE_API}/files/{name}") for name in files))

    texts = [response.raise_for_status().text for response in responses]
    counts = await asyncio.gather(
        *(ctx.step.run(f"count {name}", count_words, text) for name, text in zip(files, texts, strict=True))
    )
    return {"files": len(files), "words": sum(counts)}
