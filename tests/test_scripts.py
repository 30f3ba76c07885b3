"""What a newcomer runs first is in order."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_SCRIPTS = [
    path
    for folder in ("scripts", ".ci")
    for path in sorted((_ROOT / folder).iterdir())
    if path.is_file() and path.suffix != ".py"
]


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        env=environment or None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_script_is_executable_bash_that_stops_at_errors(script: Path) -> None:
    text = script.read_text(encoding="utf-8")

    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert _run("bash", "-n", script).stderr == ""


def test_install_says_what_is_missing_where_there_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "clone" / "scripts").mkdir(parents=True)
    script = shutil.copy(_ROOT / "scripts" / "install", tmp_path / "clone" / "scripts")

    done = _run(script, PATH=str(tmp_path / "bin"), HOME=str(tmp_path))

    assert done.returncode == 1
    assert "postroom needs Python 3.11 or newer" in done.stderr
    assert "apt install python3" in done.stderr


def test_every_distribution_carries_the_licence() -> None:
    licence = (_ROOT / "LICENSE").read_text(encoding="utf-8")
    projects = [_ROOT / "core", *sorted((_ROOT / "plugins").iterdir())]

    assert [
        p.name for p in projects if (p / "LICENSE").read_text(encoding="utf-8") != licence
    ] == []
