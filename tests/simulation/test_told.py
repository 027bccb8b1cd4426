"""What `make simulate` prints of a seed that fails: the least that fails still, as a line that can be kept and tested."""

import msgspec
import pytest
from click.testing import CliRunner

from stepwell.server.store import memory_items
from stepwell.testing.platform.simulation.__main__ import main
from stepwell.testing.platform.simulation.generate import script
from stepwell.testing.platform.simulation.world import simulate
from tests.simulation.test_sabotage import first_failing, size
from tests.simulation.test_simulation import Failed


def test_a_failing_seed_is_told_with_a_script_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(memory_items, "shut_by", lambda *_: None)
        seed = first_failing()[0].seed
        told = CliRunner().invoke(main, ["--seeds", "1", "--first", str(seed), "--jobs", "1"])
        (line,) = [each for each in told.output.splitlines() if each.startswith('{"found"')]
        kept = msgspec.json.decode(line, type=Failed)
        assert simulate(kept.script).problems, "what is printed fails as well"
    assert told.exit_code == 1
    assert f"seed {seed} fails" in told.output
    assert "  ! " in told.output
    assert kept.script.seed == seed
    assert size(kept.script) < size(script(seed))
    assert simulate(kept.script).problems == [], "and passes once it is mended"


def test_seeds_that_are_well_are_counted() -> None:
    told = CliRunner().invoke(main, ["--seeds", "3", "--jobs", "1"])
    assert told.exit_code == 0
    assert "3 of 3 seeds, 0 failed" in told.output
