"""The example functions against recordings of the sample API, offline.

Recorded anew while ``python -m examples.sample_api`` runs, with ``pytest --stepwell-cassettes=record`` of this file.
"""

from typing import Any

import pytest

from stepwell.testing import Cassette, run_function
from tests.examples.test_examples_unit import examples

__all__ = ["examples"]
pytestmark = pytest.mark.stepwell_cassette(mode="replay")


def test_a_text_file(examples: Any, stepwell_cassette: Cassette) -> None:
    outcome = run_function(examples.retrieve_text_file, http=stepwell_cassette).raise_for_error()
    assert (outcome.output["name"], outcome.output["word"]) == ("stepwell.txt", "step")
    assert outcome.output["count"] > 0
    assert stepwell_cassette.unused == []


@pytest.mark.parametrize("always_replay", [False, True])
@pytest.mark.stepwell_cassette("weather", mode="replay")
def test_a_model_that_asks_for_the_weather(examples: Any, stepwell_cassette: Cassette, *, always_replay: bool) -> None:
    data = {"question": "What is the weather in Oslo?"}
    outcome = run_function(
        examples.weather_function, data=data, http=stepwell_cassette, always_replay=always_replay
    ).raise_for_error()
    assert outcome.output["answer"].startswith("The weather: ")
    assert "Oslo" in outcome.output["answer"]
    assert [step.kind for step in outcome.steps] == ["fetch"] * 4
    assert stepwell_cassette.unused == []
