"""The documentation holds: its commands exist, its examples work, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from postroom.cli import cli
from postroom.cli.mailbox_migrate import MigrateCommand
from postroom.questions import transcript
from postroom.store.database import now
from postroom.store.models import Mailbox, Message, Question, Segment
from postroom_test_servers.tls import PrivateAuthority

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "core" / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("plugins/*/README.md"),
    ]
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            if match[1] == language:
                yield page, match[2]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ---------------------------------------------------------------------------- commands


def shown_commands() -> Iterator[Any]:
    """Yield every command line of ``postroom`` that a page tells people to type."""
    seen: set[str] = set()
    for page, text in blocks("console"):
        for line in text.replace("\\\n", " ").splitlines():
            for command in postroom_commands(line):
                if command not in seen:
                    seen.add(command)
                    yield pytest.param(command, id=f"{name_of(page)}: {command[:60]}")


def postroom_commands(line: str) -> Iterator[str]:
    """Yield the commands of ours in a line, without redirections and what comes before."""
    if not line.startswith("$ "):
        return
    words: list[str] = []
    split = shlex.shlex(line[2:], posix=True, punctuation_chars="&|;<>")
    split.whitespace_split = True
    for word in [*split, ";"]:
        if set(word) <= set("&|;<>"):
            if words and words[0].rpartition("/")[2] == "postroom":
                yield shlex.join(words[1:])
            words = [] if set(word) <= set("&|;") else ["into"]
        else:
            words.append(word)


@pytest.mark.parametrize("command", list(shown_commands()))
def test_a_shown_command_exists_with_its_options(command: str) -> None:
    path = follow(shlex.split(command))

    help_text = CliRunner().invoke(cli, [*path, "--help"])

    assert help_text.exit_code == 0, help_text.output


def follow(words: list[str]) -> list[str]:
    """Walk the words down the commands; return those up to the last command.

    :raises AssertionError: a command or an option does not exist, or arguments do not fit
    """
    current: click.Command = cli
    context = click.Context(cli, info_name="postroom")
    path: list[str] = []
    given = 0
    left = iter(words)
    for word in left:
        if word.startswith("-") and word != "-":
            option = option_of(current, context, word.partition("=")[0])
            if not option.is_flag and "=" not in word:
                assert next(left, None) is not None, f"{word} needs a value"
        elif isinstance(current, click.Group) and given == len(arguments_of(current)):
            found = current.get_command(context, word)
            assert found is not None, f"there is no command {word} in {words}"
            current, given = found, 0
            context = click.Context(current, info_name=word, parent=context)
            if isinstance(current, MigrateCommand):
                current.find_transport(context, words)
            path.append(word)
        else:
            given += 1
            if isinstance(current, click.Group):
                path.append(word)
    assert not (words and isinstance(current, click.Group)), f"{words} ends before a command"
    wanted = arguments_of(current)
    assert given >= sum(argument.required for argument in wanted), f"{words}: too few arguments"
    if all(argument.nargs > 0 for argument in wanted):
        assert given <= len(wanted), f"{words}: too many arguments"
    return path


def arguments_of(command: click.Command) -> list[click.Argument]:
    return [param for param in command.params if isinstance(param, click.Argument)]


def option_of(command: click.Command, context: click.Context, flag: str) -> click.Option:
    for param in command.get_params(context):
        if isinstance(param, click.Option) and flag in (*param.opts, *param.secondary_opts):
            return param
    raise AssertionError(f"{command.name} has no option {flag}")


def test_what_does_not_exist_is_noticed() -> None:
    for wrong in (["mailbox", "lst"], ["run", "--twice"], ["mailbox", "show"], ["init", "now"]):
        with pytest.raises(AssertionError):
            follow(wrong)


def test_commands_are_found_behind_others() -> None:
    line = "$ cd x && /opt/postroom/bin/postroom question export > all.jsonl; postroom run --once"

    assert list(postroom_commands(line)) == ["question export", "run --once"]


# ---------------------------------------------------------------------------- examples


def toml_examples() -> list[Any]:
    return [
        pytest.param(text, id=f"{name_of(page)}: {number}")
        for number, (page, text) in enumerate(blocks("toml"), 1)
    ]


@pytest.mark.parametrize("text", toml_examples())
def test_a_toml_example_can_be_applied(
    text: str, tmp_path: Path, authority: PrivateAuthority
) -> None:
    text = re.sub(r'ca_file = "[^"]+"', f'ca_file = "{authority.ca_file}"', text)
    (tmp_path / "example.toml").write_text(text, encoding="utf-8")
    secrets = dict.fromkeys(re.findall(r'env = "(\w+)"', text), "secret")
    for name in re.findall(r'(?<!ca_)file = "([^"]+)"', text):
        (tmp_path / name).write_text("secret\n")
    environment = {
        **os.environ,
        **secrets,
        "POSTROOM_DATABASE": f"sqlite:///{tmp_path}/postroom.db",
        "POSTROOM_KEY_FILE": str(tmp_path / "key"),
    }

    applied = subprocess.run(
        [sys.executable, "-m", "postroom", "apply", "example.toml", "--dry-run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert applied.returncode == 0, applied.stderr
    assert not applied.stderr
    assert "added" in applied.stdout


def test_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(blocks("python"))

    for page, text in found:
        exec(compile(text, str(page), "exec"), {"__name__": "example"})

    assert found
    assert "ann@customer.example" in capsys.readouterr().out


@pytest.mark.usefixtures("store")
def test_the_json_of_a_question_has_the_documented_fields() -> None:
    [(_, text)] = blocks("json")
    documented = json.loads(text)
    stored = shown_question()

    assert documented.keys() == stored.keys()
    assert documented["contact"].keys() == stored["contact"].keys()
    assert documented["messages"][0].keys() == stored["messages"][0].keys()
    assert documented["messages"][0]["attachments"][0].keys() == ATTACHMENT.keys()


ATTACHMENT = {
    "filename": "order.pdf",
    "content_type": "application/pdf",
    "size": 1,
    "sha256": "",
    "content_id": None,
    "inline": False,
}


def shown_question() -> dict[str, Any]:
    segment = Segment.create(name="desk", name_key="desk", created_at=now())
    mailbox = Mailbox.create(
        address="info@example.org",
        address_key="info@example.org",
        segment=segment,
        created_at=now(),
    )
    question = Question.create(
        id=1,
        segment=segment,
        mailbox=mailbox,
        subject="Where?",
        created_at=now(),
        updated_at=now(),
    )
    Message.create(
        id=1,
        question=question,
        mailbox=mailbox,
        kind="question",
        direction="in",
        created_at=now(),
        received_at=now(),
    )
    return transcript.shown(question)


# ---------------------------------------------------------------------------- links and versions


def links() -> list[Any]:
    found = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" not in target and not target.startswith("mailto:"):
                found.append(pytest.param(page, target, id=f"{name_of(page)}: {target}"))
    return found


@pytest.mark.parametrize(("page", "target"), links())
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    place = page.parent / path if path else page

    assert place.exists()
    if anchor:
        assert anchor in anchors(place.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def named_in_the_architecture() -> list[str]:
    """Return what the page names in the code: `Class.method`, `_function`, `module.py`."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return sorted({one for one in spans if re.fullmatch(r"[\w/]*[._/A-Z][\w./]*", one)})


def test_what_the_architecture_names_is_in_the_code() -> None:
    sources = [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    paths = [f"/{file.relative_to(ROOT)}" for file in (*sources, *ROOT.glob("docs/*"))]
    words = set(re.findall(r"\w+", " ".join(file.read_text("utf-8") for file in sources)))
    names = named_in_the_architecture()

    missing = [
        name
        for name in names
        if not any(path.endswith(f"/{name}") or f"/{name.rstrip('/')}/" in path for path in paths)
        and not set(re.findall(r"\w+", name)) <= words
    ]

    assert len(names) > 50
    assert not missing


def packages() -> list[Path]:
    return [ROOT / "core" / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]


@pytest.mark.parametrize("package", packages(), ids=name_of)
def test_the_changelog_begins_with_the_version(package: Path) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.findall(r"^## (\S+)", text, re.MULTILINE)[0]

    assert tomllib.loads(package.read_text())["project"]["version"] == latest


def test_generated_parts_are_up_to_date() -> None:
    script = ROOT / "docs" / "generate.py"

    check = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60
    )

    assert check.returncode == 0, check.stdout + check.stderr
