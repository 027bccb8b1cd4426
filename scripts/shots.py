"""Takes the pictures of the dashboard that README.md and docs/dashboard.md show, as the tests do, and keeps them."""

import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.shots import FOLDER, take  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path in asyncio.run(take(ROOT / FOLDER, Path(folder))):
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
