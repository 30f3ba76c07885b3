"""Fresh environments: what a distribution is worth without the workspace around it.

`build` makes a wheel and an sdist. An `Environment` begins empty; third-party distributions are
linked into it from the running one, as far as what is installed there asks for them, so that no
package index is needed. ``scripts/packages`` does the same with pip and an index.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[4]
TEST_TOOLS: Final = ("pytest", "pytest-randomly", "pytest-timeout")


def build(project: Path, folder: Path, *kinds: str) -> list[Path]:
    """Build a project; return the files, in the order of `kinds`: ``wheel``, ``sdist``."""
    kinds = kinds or ("wheel", "sdist")
    targets = [word for kind in kinds for word in ("-t", kind)]
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(folder)],
        cwd=project,
        env=_environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    return [next(folder.glob(f"{name.replace('-', '_')}-{_ENDS[kind]}")) for kind in kinds]


_ENDS: Final = {"wheel": "[0-9]*.whl", "sdist": "[0-9]*.tar.gz"}


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
        self.folder = folder
        self.interpreter = folder / "bin" / "python"
        [self._packages] = folder.glob("lib/python3*/site-packages")
        self._there: set[str] = set()

    def install(self, wheel: Path, *extras: str) -> None:
        """Install a wheel, and what it requires."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self._packages)
        name = wheel.name.partition("-")[0].replace("_", "-")
        self._there.add(canonicalize_name(name))
        [metadata] = self._packages.glob(f"{wheel.name.partition('-')[0]}-*.dist-info")
        distribution = importlib.metadata.Distribution.at(metadata)
        self._link_all(distribution.requires or (), extras)

    def link(self, *requirements: str) -> None:
        """Link distributions of the running environment, and what they require.

        :raises AssertionError: one is not there, or of another version
        """
        self._link_all(requirements, ())

    def run(
        self, *command: str | Path, cwd: Path, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run its Python."""
        return subprocess.run(
            [str(self.interpreter), *map(str, command)],
            cwd=cwd,
            env=_environ() | environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def _link_all(self, requirements: Iterable[str], extras: Iterable[str]) -> None:
        for requirement in map(Requirement, requirements):
            if _applies(requirement, extras):
                self._link(requirement)

    def _link(self, requirement: Requirement) -> None:
        name = canonicalize_name(requirement.name)
        wanted = {f"{name}[{extra}]" for extra in requirement.extras} | {name}
        if wanted <= self._there:
            return
        assert name not in _OURS, f"{requirement} has to be installed from its wheel first"
        distribution = importlib.metadata.distribution(requirement.name)
        assert requirement.specifier.contains(distribution.version, prereleases=True), (
            f"{requirement} is wanted, {distribution.version} is installed"
        )
        if name not in self._there:
            self._link_files(distribution)
        self._there |= wanted
        self._link_all(distribution.requires or (), requirement.extras)

    def _link_files(self, distribution: importlib.metadata.Distribution) -> None:
        for file in distribution.files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue  # scripts are not needed
            target = self._packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(Path(str(distribution.locate_file(file))), target)


_OURS: Final = frozenset(
    canonicalize_name(f"postroom-{path.name}") for path in (ROOT / "plugins").iterdir()
) | {"postroom"}


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _environ() -> dict[str, str]:
    """Nothing leads back to the workspace."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS")
    mine = {k: v for k, v in os.environ.items() if k not in hidden}
    return {k: v for k, v in mine.items() if not k.startswith(("POSTROOM_", "PYTEST_", "COV_"))}
