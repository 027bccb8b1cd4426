"""Which frames of a traceback a page shows."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.sdk.failures import info
from stepwell.server.dashboard.stacks import folded

PYTHON = """Traceback (most recent call last):
  File "/venv/lib/python3.13/site-packages/stepwell/sdk/drivers/aio.py", line 7, in call
    return await body()
           ^^^^^^^^^^^^
  File "/app/shop.py", line 30, in pay
    await charge(
    ...<2 lines>...
    )
  File "/usr/lib/python3.13/asyncio/tasks.py", line 1, in wait_for
    return await fut
  [Previous line repeated 3 more times]
KeyError: 'card'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "<frozen importlib._bootstrap>", line 1, in _load
  File "/app/src/stepwell/sdk/steps.py", line 2, in run
    raise error
  File "C:\\shop\\refund.py", line 9, in refund
    raise Refused("no")
  File "C:\\Python313\\Lib\\json\\decoder.py", line 9, in decode
    raise
shop.Refused: no
"""
PYTHON_OWN = """Traceback (most recent call last):
  File "/app/shop.py", line 30, in pay
    await charge(
    ...<2 lines>...
    )
KeyError: 'card'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "C:\\shop\\refund.py", line 9, in refund
    raise Refused("no")
shop.Refused: no
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/usr/lib/python3.13/asyncio/runners.py", line 195, in run
  |     return runner.run(main)
  |   File "/app/shop.py", line 9, in pay
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/.venv/lib/python3.13/site-packages/httpx/_client.py", line 3, in get
    |     raise error
    | ValueError: no
    +------------------------------------
"""
GROUP_OWN = """  + Exception Group Traceback (most recent call last):
  |   File "/app/shop.py", line 9, in pay
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    | ValueError: no
    +------------------------------------
"""
NODE = """TypeError: no card
    at charge (/app/src/shop.ts:7:11)
    at new Promise (<anonymous>)
    at async Promise.all (index 0)
    at async file:///app/src/internal/pay.ts:9:3
    at async Step.run (/app/node_modules/inngest/components/InngestStepTools.js:1:2)
    at C:\\app\\node_modules\\p-map\\index.js:3:1
    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)
    at node:internal/main:1:1 {
  [cause]: Error: expired
      at check (webpack-internal:///(rsc)/./src/card.ts:1:1)
}"""
NODE_OWN = """TypeError: no card
    at charge (/app/src/shop.ts:7:11)
    at async file:///app/src/internal/pay.ts:9:3
  [cause]: Error: expired
      at check (webpack-internal:///(rsc)/./src/card.ts:1:1)
}"""


@pytest.mark.parametrize(
    ("whole", "own", "left"), [(PYTHON, PYTHON_OWN, 5), (GROUP, GROUP_OWN, 2), (NODE, NODE_OWN, 6)]
)
def test_the_frames_of_libraries_are_left_out(whole: str, own: str, left: int) -> None:
    found = folded(whole)
    assert found.own == own
    assert found.whole == whole
    assert found.left == left


@pytest.mark.parametrize(
    "whole",
    [
        'Traceback (most recent call last):\n  File "/usr/lib/python3.13/json/decoder.py", line 1, in decode\nValueError: x\n',
        "Error: x\n    at node:internal/main:1:1",
        "panic: runtime error\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\n",
        "no frames at all",
        "",
    ],
)
def test_a_stack_without_frames_of_ones_own_is_shown_whole(whole: str) -> None:
    found = folded(whole)
    assert (found.own, found.left) == (whole, 0)


def test_the_frames_of_a_program_that_is_called_as_the_sdk_are_its_own() -> None:
    whole = 'Traceback:\n  File "/app/stepwell/server/shop.py", line 1, in pay\nValueError: x\n'
    assert folded(whole).left == 0


async def _refuse() -> None:
    raise ValueError("no card")


async def test_what_python_and_the_sdk_write_is_read() -> None:
    """A real exception through a library: only this file's frames are left."""
    with pytest.raises(ValueError, match="no card") as caught:
        await asyncio.wait_for(_refuse(), 30)
    stack = info(caught.value).stack or ""
    found = folded(stack)
    assert found.left >= 1
    assert "asyncio" not in found.own.replace("await asyncio.wait_for(_refuse(), 30)", "")
    assert found.own.count("test_dashboard_stacks.py") == 2
    assert found.own.endswith("ValueError: no card\n")


@given(st.lists(st.sampled_from([*PYTHON.splitlines(True), *GROUP.splitlines(True), *NODE.splitlines(True)])))
def test_what_is_shown_is_some_lines_of_the_whole_in_their_order(lines: list[str]) -> None:
    found = folded("".join(lines))
    rest = iter("".join(lines).splitlines(keepends=True))
    assert all(line in rest for line in found.own.splitlines(keepends=True))
    assert bool(found.left) == (found.own != found.whole)
