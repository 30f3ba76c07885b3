"""Each distribution builds, and works without the workspace. Here without an index, and for the
quickest to test; ``scripts/packages`` does all with pip."""

from __future__ import annotations

import importlib.metadata
import json
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from postroom_test_servers.fresh import ROOT, TEST_TOOLS, Environment, build

PROJECTS = [ROOT / "core", *sorted((ROOT / "plugins").iterdir())]


def described(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    return found


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_wheel_and_sdist_hold_all_there_is(project: Path, tmp_path: Path) -> None:
    wheel, sdist = build(project, tmp_path / "dist")
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not in 3.11.2 (Debian)
        archive.extractall(tmp_path)
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    [again] = build(unpacked, tmp_path / "again", "wheel")

    assert again.read_bytes() == wheel.read_bytes()
    names = zipfile.ZipFile(wheel).namelist()
    [package] = (project / "src").iterdir()
    sources = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(path.relative_to(package.parent)) for path in sources} <= set(names)
    assert f"{package.name}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert (unpacked / "README.md").exists()


@pytest.mark.parametrize("project", PROJECTS[1:], ids=lambda path: path.name)
def test_a_plugin_is_bound_to_a_range_of_the_core(project: Path) -> None:
    requirements = described(project)["dependencies"]

    assert any(one.startswith("postroom>=") and ",<" in one for one in requirements)
    assert described(project)["entry-points"]["postroom"]


@pytest.mark.timeout(300)
def test_a_distribution_passes_its_own_tests_alone(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    for project in (ROOT / "core", ROOT / "plugins" / "local"):
        environment.install(*build(project, tmp_path / "dist", "wheel"), *("testing",))
    environment.install(*build(ROOT / "tests" / "servers", tmp_path / "dist", "wheel"))
    environment.link(*TEST_TOOLS)

    listed = environment.run("-m", "postroom", "plugin", "list", "--json", cwd=tmp_path)
    tested = environment.run("-m", "pytest", "-q", ROOT / "plugins" / "local" / "tests", cwd=ROOT)

    assert [json.loads(line)["name"] for line in listed.stdout.splitlines()] == ["local"]
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr
    assert " passed" in tested.stdout


def test_an_environment_holds_only_what_is_asked_for(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    environment.install(*build(ROOT / "core", tmp_path / "dist", "wheel"))

    there = environment.run(
        "-c",
        "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))",
        cwd=tmp_path,
    ).stdout.split()

    direct = {
        one.partition(">")[0]
        for one in importlib.metadata.requires("postroom") or ()
        if "extra" not in one
    }
    assert direct <= {name.lower() for name in there}
    assert "pytest" not in there
    assert not [name for name in there if name.startswith("postroom-")]
