"""Runs a program of bench/ as others do: by its path, from another folder."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """What `bench/<name>.py folder --json FILE` writes."""
    file = folder.parent / f"{folder.name}.json"
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), str(folder), "--json", str(file), *options]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())
