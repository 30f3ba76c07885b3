"""The folders of the core build on one another in one direction, as docs/architecture.md has it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import postroom
import pytest

ROOT = Path(postroom.__file__).parent
UPWARDS = "leases credentials mailboxes questions outbox intake runner admin cli".split()
"""What is no folder of these (api, mail, store, plugins, errors …) lies below all of them."""


def _imported(path: Path) -> Iterator[str]:
    """Yield the first part, below `postroom`, of all that a module imports from the core."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "postroom":
            names = [f"postroom.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("postroom."))


def _height(name: str) -> int:
    return UPWARDS.index(name) + 1 if name in UPWARDS else 0


@pytest.mark.parametrize("folder", ["api", "mail", "store", "builtin", "", *UPWARDS])
def test_nothing_builds_on_what_is_above_it(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py") if folder else ROOT.glob("*.py"))
    files = [path for path in files if path.name != "__main__.py"]
    assert files
    above = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in _imported(path)
        if _height(name) > _height(folder)
    }
    assert not above


@pytest.mark.parametrize("folder", ["api", "mail", "store"])
def test_the_ground_floor_knows_nothing_of_the_rest(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    beside = {name for path in files for name in _imported(path)}

    assert beside <= {"api", "mail", "store", "errors", "clock"}
