"""The laws by which the tests of clusters judge notice what breaks them."""

from tests.clusters.laws import most_at_once, too_many


def test_the_most_at_once() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(0, 1), (1, 2), (2, 3)]) == 1
    assert most_at_once([(0, 10), (1, 2), (3, 4), (3.5, 5)]) == 3


def test_a_rate_that_three_have_each_for_themselves_is_too_many() -> None:
    one = [n / 2 for n in range(20)]
    assert too_many(one, 2, 1) <= 0
    assert too_many(one * 2, 2, 1) > 0
    assert too_many([0.0] * 4, 2, 1, late_s=1.0) > 0
    assert too_many([], 2, 1) == 0
