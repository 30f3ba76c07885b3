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
MAIL: dict[str, set[str]] = {
    "decoding": set(),
    "header": {"decoding"},
    "body": {"decoding", "header"},
    "machines": {"header"},
    "quoting": set(),
    "compose": set(),
}
"""The folders of mail, and which others each builds on."""
MAIL_BELOW = {"message", "search", "text", "html", "domains"}
"""The modules of mail that its folders build on; the others build on the folders."""


def _imported(path: Path, below: str = "postroom") -> Iterator[str]:
    """Yield the first part, below a package, of all that a module imports from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        start = f"{below}."
        yield from (
            name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)
        )


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


@pytest.mark.parametrize("folder", MAIL)
def test_the_folders_of_mail_build_on_one_another_in_one_direction(folder: str) -> None:
    files = sorted((ROOT / "mail" / folder).glob("*.py"))
    beside = {name for path in files for name in _imported(path, "postroom.mail")}

    assert files
    assert beside <= MAIL[folder] | MAIL_BELOW | {folder}


def test_every_folder_of_mail_is_one_that_the_test_knows() -> None:
    assert {path.parent.name for path in (ROOT / "mail").glob("*/__init__.py")} == set(MAIL)
    below = {
        name for one in MAIL_BELOW for name in _imported(ROOT / f"mail/{one}.py", "postroom.mail")
    }
    assert below <= MAIL_BELOW
