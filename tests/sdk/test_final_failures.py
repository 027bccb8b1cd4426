"""Which exceptions end a run at once."""

from itertools import pairwise

import pytest

from stepwell.errors import FetchError, NonRetriableError, RetryAfterError, StepError
from stepwell.sdk.failures import answer, is_final


def chained(*errors: BaseException) -> BaseException:
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def test_an_error_made_of_a_recorded_failure_is_final() -> None:
    assert is_final(chained(ConnectionError("no"), FetchError("no", "connect")))
    assert is_final(chained(ValueError("wrapped"), OSError("again"), FetchError("no", "dns")))
    assert answer(chained(ValueError("wrapped"), FetchError("no"))).no_retry


@pytest.mark.parametrize("error", [NonRetriableError("x"), StepError("x"), FetchError("x")])
def test_our_own_words_are_final(error: Exception) -> None:
    assert is_final(error)


def test_all_else_is_tried_again() -> None:
    assert not is_final(ValueError("x"))
    assert not is_final(chained(ValueError("x"), OSError("y")))
    assert not is_final(chained(ValueError("x"), StepError("caught, and made into another")))
    assert not is_final(chained(RetryAfterError("later", 5), FetchError("no")))


def test_a_chain_without_an_end_is_no_endless_loop() -> None:
    first, second = ValueError("x"), ValueError("y")
    first.__cause__, second.__cause__ = second, first
    assert not is_final(first)
