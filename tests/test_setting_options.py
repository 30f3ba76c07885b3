"""What an administrator reads who sets a side up by command and leaves something out."""

from __future__ import annotations

import os

import pytest
from postroom.store.models import Side
from postroom_test_servers.desk import Desk

INFO = "info@example.org"


@pytest.fixture
def ready(desk: Desk) -> Desk:
    desk.do("init")
    desk.do("mailbox", "add", INFO)
    return desk


def last_line(desk: Desk, *arguments: str) -> str:
    return desk.run("mailbox", *arguments, stdin="").stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "wrong", [["--helo-name", "not a name"], ["--send-as", "nobody"], ["--port", "0"]]
)
def test_next_step_names_no_password_where_none_is_concerned(ready: Desk, wrong: list[str]) -> None:
    step = last_line(ready, "outgoing", INFO, "smtp", "--host", "mail.example.org", *wrong)

    assert step == "Correct what is named; nothing was changed."


@pytest.mark.parametrize(
    "arguments",
    [
        ["outgoing", INFO, "smtp", "--host", "mail.example.org", "--username", "info"],
        ["outgoing", INFO, "smtp", "--username", "info"],
        ["incoming", INFO, "imap", "--host", "mail.example.org", "--username", "info"],
        ["incoming", INFO, "pop3", "--host", "mail.example.org"],
    ],
)
def test_next_step_says_how_a_password_is_given_that_is_missing(
    ready: Desk, arguments: list[str]
) -> None:
    step = last_line(ready, *arguments)

    assert step.endswith("secrets are given by --password-env NAME or --password-file PATH.")


@pytest.mark.parametrize("transport", ["imap", "pop3"])
def test_a_password_that_there_is_no_doing_without_is_asked_for_so(
    ready: Desk, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr("postroom.cli.setting_options.is_interactive", lambda: True)
    side = ["incoming", INFO, transport, "--host", "mail.example.org", "--username", "info"]

    asked = ready.run("mailbox", *side, stdin="\nsecret\n")

    assert asked.exit_code == 0
    assert asked.stderr.count("Password: ") == 2  # an empty one is none
    assert "none" not in asked.stderr
    assert Side.get().sealed is not None


def test_a_password_that_need_not_be_may_be_left_out(
    ready: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroom.cli.setting_options.is_interactive", lambda: True)
    side = ["outgoing", INFO, "smtp", "--host", "mail.example.org"]

    asked = ready.run("mailbox", *side, stdin="\n")

    assert asked.exit_code == 0
    assert "Password (empty: none): " in asked.stderr
    assert Side.get().sealed is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["filter", "add", "f", "--field", "subject", "--assignee", "eve", "--pattern"],
            "Error: An argument is not text in UTF-8.",
        ),
        (["mailbox", "incoming", INFO, "maildir", "--path"], "path: must be text in UTF-8"),
    ],
)
def test_an_argument_that_is_no_text_is_told(ready: Desk, arguments: list[str], says: str) -> None:
    done = ready.process(*arguments, os.fsdecode(b"/Gr\xfc\xdfe"))

    assert done.returncode == 1
    assert says in done.stderr
