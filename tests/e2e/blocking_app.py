"""Functions that hold on to everything: for tests of a platform that has to end all the same."""

import sys
import time

import stepwell

client = stepwell.Client("holding")


def say() -> None:
    """Tell the test that the code is at it."""
    sys.stdout.write("busy\n")
    sys.stdout.flush()


@client.create_function(fn_id="function", trigger=stepwell.TriggerEvent("function"))
async def function(ctx: stepwell.Context) -> None:
    """Blocks the loop, and never comes back."""
    say()
    while True:
        time.sleep(0.1)  # noqa: ASYNC251 - the mistake that this is about


@client.create_function(fn_id="step", trigger=stepwell.TriggerEvent("step"))
async def step(ctx: stepwell.Context) -> None:
    """Holds a thread, and never comes back."""

    def forever() -> None:
        say()
        while True:
            time.sleep(0.1)

    await ctx.step.run("forever", forever)


@client.create_function(fn_id="swallow", trigger=stepwell.TriggerEvent("swallow"))
async def swallow(ctx: stepwell.Context) -> None:
    """Swallows every end that it is given."""
    while True:
        try:
            say()
            await ctx.step.sleep("nap", "1h")
        except BaseException:
            continue
