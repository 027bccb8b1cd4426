"""Whether an op asks to go on after each completion is read from its options, whatever they look like."""

import msgspec
import pytest

from stepwell.core.draft import Draft
from stepwell.core.groups import is_race
from stepwell.core.inputs import Env
from stepwell.core.model import RunView
from stepwell.testing.platform.store_conformance import a_run
from stepwell.wire.ops import Op

ESCAPED = b'{"parallel\\u004dode":"race"}'


@pytest.mark.parametrize(
    ("opts", "race"),
    [
        (None, False),
        (b"{}", False),
        (b'{"url":"http://h/"}', False),
        (b'{"parallelMode":"race"}', True),
        (b'{"parallelMode":"race","url":"http://h/"}', True),
        (b'{"url":"http://h/", "parallelMode" : "race"}', True),
        (ESCAPED, True),
        (b'{"parallelMode":"other"}', False),
        (b'{"parallelMode":null}', False),
        (b'{"body":"parallelMode"}', False),
        (b'{"inner":{"parallelMode":"race"}}', False),
        (b"[]", False),
    ],
)
def test_the_flag(opts: bytes | None, race: bool) -> None:
    draft = Draft(RunView(msgspec.structs.replace(a_run("R"), req_version=2), []), Env(0, 0.5))
    op = Op(op="Gateway", id="x", opts=None if opts is None else msgspec.Raw(opts))
    assert is_race(draft, op) is race
