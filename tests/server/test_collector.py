"""The garbage collector of a process with a platform: calmer, and the user's own settings stand."""

import gc
from collections.abc import Callable, Iterator

import pytest

from stepwell.server.host import calm_collector

calm = calm_collector.__wrapped__


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    yield
    gc.enable()
    gc.set_threshold(*thresholds)
    if not frozen:
        gc.unfreeze()


def test_the_usual_thresholds_are_raised_and_what_is_there_is_left_out() -> None:
    gc.set_threshold(700, 10, 10)
    calm()
    assert gc.get_threshold()[0] == 50_000
    assert gc.get_freeze_count() > 1_000


def test_larger_thresholds_stand() -> None:
    gc.set_threshold(90_000, 10, 10)
    calm()
    assert gc.get_threshold()[0] == 90_000


@pytest.mark.parametrize("switch_off", [gc.disable, lambda: gc.set_threshold(0)])
def test_a_collector_that_is_off_stays_off(switch_off: Callable[[], None]) -> None:
    gc.set_threshold(700, 10, 10)
    switch_off()
    before = gc.get_threshold()
    calm()
    assert gc.get_threshold() == before
