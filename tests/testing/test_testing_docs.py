"""The tests in docs/testing.md are tests: they run as a suite of their own."""

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"
RECORDING = {
    "entries": [
        {
            "request": {"method": "GET", "url": "https://api.example.com/price?item=lamp"},
            "response": {
                "status": 200,
                "url": "https://api.example.com/price?item=lamp",
                "headers": [["content-type", "application/json"]],
                "body": {"text": '{"price":5}'},
            },
        }
    ]
}


def test_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    cassette = tmp_path / "cassettes" / "test_page" / "test_with_a_recording.json"
    cassette.parent.mkdir(parents=True)
    cassette.write_text(json.dumps(RECORDING))
    loops = "asyncio_default_fixture_loop_scope=function"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    command += ["--asyncio-mode=auto", "-o", loops]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    count = sum(block.count("def test_") for block in blocks)
    assert f"{count} passed" in done.stdout, done.stdout
    assert count == 6
