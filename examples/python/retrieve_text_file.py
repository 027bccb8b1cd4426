"""Example 1: fetch a text file durably, then count a word in a step."""

import stepwell
from example_client import SAMPLE_API, client


def count_word(text: str, word: str) -> int:
    """How often the word occurs, in either case."""
    return text.lower().count(word.lower())


@client.create_function(fn_id="retrieve-text-file", trigger=stepwell.TriggerEvent(event="file.wanted"))
async def retrieve_text_file(ctx: stepwell.Context) -> dict[str, object]:
    """Event data: ``name`` of the file and ``word`` to count, both optional."""
    name = str(ctx.event.data.get("name", "stepwell.txt"))
    word = str(ctx.event.data.get("word", "step"))

    response = await ctx.step.fetch(f"{SAMPLE_API}/files/{name}")
    response.raise_for_status()

    count = await ctx.step.run("count-word", count_word, response.text, word)
    return {"name": name, "word": word, "count": count}
