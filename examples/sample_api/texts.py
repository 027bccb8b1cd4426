"""The texts of the sample files."""

import random

STEPWELL = """\
A stepwell is a well with stairs. You go down to the water step by step, and each step is still there
when you come back. In a dry year the water is low and there are more steps; in a wet year there are few.
Nobody starts again at the top because of rain. The step you stand on is the step you keep.
"""
WORDS = ("water", "step", "well", "stone", "stair", "rain", "river", "bucket")
WORDS += ("rope", "shade", "light", "noon", "evening", "traveller", "market", "song")


def text_of(name: str) -> str:
    """The text of a file: ``stepwell.txt`` is a small story, any other name gets words of its own, always the same."""
    if name == "stepwell.txt":
        return STEPWELL
    choose = random.Random(name)
    lines = [" ".join(choose.choices(WORDS, k=12)) for _ in range(choose.randint(5, 15))]
    return "\n".join([f"{name}:", *lines, ""])
