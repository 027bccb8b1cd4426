"""Write both lock files: constraints.txt from the packages in .venv, each package-lock.json from npm.

Neither may name a host: an install takes its packages from wherever the machine is set up to take them from.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NPM = [ROOT / "examples" / "typescript", ROOT / "tests" / "conformance" / "sdks" / "npm"]
KEPT = ("version", "integrity", "dependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta")
KEPT += ("bin", "bundleDependencies", "cpu", "dev", "devDependencies", "devOptional", "engines", "inBundle", "libc")
KEPT += ("license", "link", "name", "optional", "os", "peer", "hasInstallScript", "hasShrinkwrap", "deprecated")


def freeze() -> str:
    run = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    pins = sorted((line for line in lines if "==" in line), key=str.lower)
    return "\n".join(["# The versions that the tests run with. Written by `make lock`.", *pins, ""])


def strip(package: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in package.items() if key in KEPT and "://" not in str(value)}


def npm_lock(text: str) -> str:
    lock = json.loads(text)
    lock["packages"] = {name: strip(package) for name, package in lock["packages"].items()}
    return json.dumps(lock, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    (ROOT / "constraints.txt").write_text(freeze(), encoding="utf-8")
    if "--python-only" in sys.argv:
        return
    for folder in NPM:
        subprocess.run(["npm", "install", "--package-lock-only", "--ignore-scripts"], cwd=folder, check=True)
        path = folder / "package-lock.json"
        path.write_text(npm_lock(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
