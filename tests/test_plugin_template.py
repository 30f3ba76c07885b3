"""``postroom plugin new`` writes a package that is built, installed beside the core's wheel without
the workspace, keeps the contract, retrieves and sends."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from postroom.cli import cli
from postroom.errors import InputError
from postroom.scaffold import TEMPLATE, Names, files
from postroom_test_servers.desk import PASSWORD, mail
from postroom_test_servers.fresh import ROOT, TEST_TOOLS, Environment, build

NAME = "my-mail-2"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the core's wheel and the kit, and nothing of the workspace."""
    folder = tmp_path_factory.mktemp("core")
    environment = Environment(folder / "env")
    environment.install(*build(ROOT / "core", folder / "dist", "wheel"), "testing")
    environment.link(*TEST_TOOLS)
    return environment


@pytest.fixture(scope="module")
def package(core: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new package, written by the installed core, built and installed."""
    folder = tmp_path_factory.mktemp("author")
    written = core.run("-m", "postroom", "plugin", "new", NAME, cwd=folder)
    assert written.returncode == 0, written.stderr
    package = folder / f"postroom-{NAME}"
    core.install(*build(package, folder / "dist", "wheel"))
    return package


@pytest.mark.timeout(400)
def test_a_new_package_passes_its_conformance_test_as_written(
    core: Environment, package: Path
) -> None:
    tested = core.run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=package)

    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr
    assert " passed" in tested.stdout


def test_a_new_package_is_in_order(core: Environment, package: Path) -> None:
    checked = core.run("-m", "postroom", "plugin", "check", NAME, "--json", cwd=package)
    [found] = map(json.loads, checked.stdout.splitlines())

    assert checked.returncode == 0
    assert (found["plugin"], found["outcome"]) == (NAME, "ok")
    assert found["detail"] == f"postroom-{NAME} 0.1.0: {NAME}"


# ---------------------------------------------------------------------------- the tutorial

TUTORIAL = ROOT / "docs" / "plugin-authors.md"
FILE = re.compile(
    r"^`([\w./]+)`\n\n<!-- generated: file \1 -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def files_of_the_tutorial() -> dict[str, str]:
    """Return what stands on the page, by path."""
    return dict(FILE.findall(TUTORIAL.read_text(encoding="utf-8")))


def test_the_tutorial_shows_all_that_makes_the_package() -> None:
    written = {str(path): text for path, text in files(Names("courier"))}
    shown = files_of_the_tutorial()

    assert shown.keys() == written.keys() - {"README.md", "src/postroom_courier/py.typed"}
    assert all(written[path].rstrip() == text.rstrip() for path, text in shown.items())


def test_the_package_of_the_tutorial_is_in_order(core: Environment, tmp_path: Path) -> None:
    """Its files are the template's, whose conformance test is run above."""
    package = tmp_path / "postroom-courier"
    blocks = files_of_the_tutorial() | {"README.md": "Mine.\n", "src/postroom_courier/py.typed": ""}
    for path, text in blocks.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text, encoding="utf-8")
    core.install(*build(package, tmp_path / "dist", "wheel"))

    checked = core.run("-m", "postroom", "plugin", "check", "courier", "--json", cwd=package)
    [found] = map(json.loads, checked.stdout.splitlines())

    assert checked.returncode == 0
    assert (found["plugin"], found["outcome"]) == ("courier", "ok")


# ---------------------------------------------------------------------------- it works


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The invented service that comes with the package, running."""
    monkeypatch.syspath_prepend(str(TEMPLATE / "tests"))
    from example_server import MailService

    with MailService(PASSWORD) as running:
        yield running
    sys.modules.pop("example_server")


def test_a_new_plugin_retrieves_and_sends(
    core: Environment, package: Path, service: Any, tmp_path: Path
) -> None:
    def do(*arguments: str) -> str:
        done = core.run(
            "-m",
            "postroom",
            *arguments,
            cwd=tmp_path,
            POSTROOM_DATABASE=f"sqlite:///{tmp_path}/postroom.db",
            POSTROOM_KEY_FILE=str(tmp_path / "key"),
            THE_KEY=PASSWORD,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout

    service.put(mail("first"))
    address, side = "info@example.org", (NAME, "--url", f"http://127.0.0.1:{service.port}")
    do("init")
    do("mailbox", "add", address, "--start", "all", "--disposition", "delete")
    do("mailbox", "incoming", address, *side, "--api-key-env", "THE_KEY")
    do("mailbox", "outgoing", address, *side, "--api-key-env", "THE_KEY")
    do("run", "--once")
    do("question", "answer", "1", "--text", "It comes on Friday.")
    do("run", "--once")

    assert service.messages == []
    [sent] = service.sent
    assert sent.recipients == ("first@customer.example",)
    assert b"It comes on Friday." in sent.raw
    assert json.loads(do("mailbox", "audit", address, "--json"))["unaccounted"] == 0


# ---------------------------------------------------------------------------- names and places


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``plugin new`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, ["plugin", "new", *arguments])


def test_no_name_of_the_template_is_left() -> None:
    for path, text in files(Names(NAME)):
        assert "courier" not in f"{path}{text}".lower()


def test_a_package_has_all_that_belongs_to_one() -> None:
    written = {str(path) for path, _ in files(Names("x"))}

    assert written >= {
        "pyproject.toml",
        "README.md",
        "src/postroom_x/plugin.py",
        "src/postroom_x/settings.py",
        "src/postroom_x/receiver.py",
        "src/postroom_x/sender.py",
        "src/postroom_x/py.typed",
        "tests/harness.py",
        "tests/test_conformance.py",
    }


def test_what_is_there_is_not_overwritten(new: Callable[..., Result], tmp_path: Path) -> None:
    first, again = new("my-mail"), new("my-mail")
    elsewhere = new("my-mail", "--into", "other")

    assert (first.exit_code, again.exit_code, elsewhere.exit_code) == (0, 1, 0)
    assert "is there already" in again.stderr
    assert (tmp_path / "other" / "src" / "postroom_my_mail" / "plugin.py").exists()


def test_a_transport_that_is_there_is_refused_with_what_to_do(
    new: Callable[..., Result], tmp_path: Path
) -> None:
    found = new("imap")

    assert found.exit_code == 1
    assert "The transport imap is there already, in the plugin pop_imap" in found.stderr
    assert "POSTROOM_DISABLE_PLUGINS=pop_imap" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_transport_may_take_the_place_of_one_that_is_left_out(
    new: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_DISABLE_PLUGINS", "pop_imap")

    assert new("imap").exit_code == 0


def test_a_package_that_would_replace_another_is_refused(new: Callable[..., Result]) -> None:
    found = new("pop-imap")

    assert found.exit_code == 1
    assert "The package postroom-pop-imap is installed already" in found.stderr


@pytest.mark.parametrize("name", ["", "My-Mail", "my_mail", "-mail", "mail-", "2mail", "m" * 32])
def test_a_name_that_no_transport_can_have_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        Names(name)
