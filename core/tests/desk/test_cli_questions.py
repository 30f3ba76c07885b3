"""`postroom question`, `outbox` and `quarantine`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from postroom.cli import cli
from postroom.store import raws
from postroom.store.database import now, transaction
from postroom.store.models import Outbox, Receipt

Desk = Any
Run = Callable[..., Result]


@pytest.fixture
def run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; afterwards only commands look at the database."""
    monkeypatch.setattr("postroom.cli.writing.login_name", lambda: "eve")

    def call(*arguments: str, code: int = 0, input: str | bytes | None = None) -> Result:  # noqa: A002
        result = CliRunner().invoke(cli, arguments, input=input)
        assert result.exit_code == code, result.output
        return result

    return call


def lines(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_and_show(desk: Desk, run: Run) -> None:
    desk.receive()
    desk.receive(subject="Another")

    first, second = lines(run("question", "list", "--json"))
    (whole,) = lines(run("question", "show", "1", "--json"))

    assert (first["number"], second["number"]) == (2, 1)
    assert {**second, "messages": whole["messages"]}.items() <= whole.items()
    assert lines(run("question", "list", "--status", "spam", "--json")) == []
    table = run("question", "list").stdout
    assert "Another" in table
    assert "ann@customer.example" in table


def test_list_says_when_it_shows_only_some(desk: Desk, run: Run) -> None:
    for _ in range(51):
        desk.receive()

    result = run("question", "list")

    assert len(result.stdout.splitlines()) == 51
    assert "more than 50" in result.stderr


def test_terminal_gets_no_escapes(desk: Desk, run: Run) -> None:
    question = desk.receive(text="Hi \x1b[2J\x1b]0;evil\x07 there").question
    question.subject = "\x1b[31mred\u202e"
    question.save()

    for arguments in (["list"], ["show", "1"], ["show", "1", "--full"]):
        shown = run("question", *arguments).stdout
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_show_leaves_quoted_text_out(desk: Desk, run: Run) -> None:
    text = "Yes please.\n\nOn 2 Nov 2026, Support wrote:\n> Shall we?\n"
    desk.receive(text=text)

    assert "Shall we" not in run("question", "show", "1").stdout
    assert "Shall we" in run("question", "show", "1", "--full").stdout


@pytest.mark.parametrize("way", ["text", "file", "stdin", "dash"])
def test_answer_takes_its_text(desk: Desk, run: Run, tmp_path: Path, way: str) -> None:
    desk.receive()
    file = tmp_path / "answer.txt"
    file.write_text("Fünf.", encoding="utf-8")
    options = {
        "text": ["--text", "Fünf."],
        "file": ["--file", str(file)],
        "stdin": [],
        "dash": ["--file", "-"],
    }[way]

    result = run("question", "answer", "1", *options, input="Fünf.".encode())

    assert result.stdout == "The answer to question 1 is queued for ann@customer.example.\n"
    (whole,) = lines(run("question", "show", "1", "--json"))
    assert whole["messages"][-1]["text"] == "Fünf."
    assert whole["messages"][-1]["state"] == "queued"
    assert whole["status"] == "assigned"
    assert whole["assignee"]


LATIN_1 = "Grüße".encode("latin-1")
MADE_BY_WINDOWS = b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe\r\nAnn"


@pytest.mark.parametrize("command", ["answer", "note"])
@pytest.mark.parametrize("way", ["file", "stdin", "dash", "text"])
def test_text_that_is_not_utf_8_is_refused(
    desk: Desk, run: Run, tmp_path: Path, command: str, way: str
) -> None:
    desk.receive()
    file = tmp_path / "text.txt"
    file.write_bytes(b"One.\n" + LATIN_1)
    options = {
        "text": ["--text", os.fsdecode(LATIN_1)],
        "file": ["--file", str(file)],
        "stdin": [],
        "dash": ["--file", "-"],
    }[way]

    result = run("question", command, "1", *options, input=file.read_bytes(), code=1)

    name = {"text": "--text", "file": f"{file}, line 2"}.get(way, "standard input, line 2")
    assert f"Error: {name}: the text is not in UTF-8.\n" in result.stderr
    assert "in UTF-8, " in result.stderr.splitlines()[1]  # the next step
    assert "Nothing was changed." in result.stderr
    (whole,) = lines(run("question", "show", "1", "--json"))
    assert [message["kind"] for message in whole["messages"]] == ["question"]
    assert lines(run("outbox", "list", "--json")) == []


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "utf-16-le", "utf-32-be"])
def test_html_that_is_not_utf_8_is_refused(
    desk: Desk, run: Run, tmp_path: Path, charset: str
) -> None:
    desk.receive()
    page = tmp_path / "page.html"
    page.write_bytes("<p>Grüße".encode(charset))

    wrong = run("question", "answer", "1", "--text", "x", "--html-file", str(page), code=1).stderr

    assert f"{page}, line 1: the text is not in UTF-8." in wrong
    assert lines(run("outbox", "list", "--json")) == []


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_byte_order_mark_is_no_part_of_the_text(
    desk: Desk, run: Run, tmp_path: Path, way: str
) -> None:
    desk.receive()
    file = tmp_path / "answer.txt"
    file.write_bytes(MADE_BY_WINDOWS)
    options = ["--file", str(file)] if way == "file" else []

    answered = lines(
        run("question", "answer", "1", "--html-file", str(file), "--json", *options,
            input=MADE_BY_WINDOWS)
    )  # fmt: skip

    assert answered[0]["text"].rstrip("\n") == "Grüße\nAnn"
    assert "\ufeff" not in answered[0]["html"]


def test_answer_with_everything(desk: Desk, run: Run, tmp_path: Path) -> None:
    desk.receive(more="Cc: bob@customer.example")
    (tmp_path / "a.html").write_text("<p>Five</p>", encoding="utf-8")
    (tmp_path / "list.pdf").write_bytes(b"%PDF")
    (tmp_path / "odd").write_bytes(b"\x00\xff")

    (message,) = lines(
        run(
            *("question", "answer", "1", "--text", "Five", "--html-file", str(tmp_path / "a.html")),
            *("--attach", str(tmp_path / "list.pdf"), "--attach", str(tmp_path / "odd")),
            *("--reply-all", "--as", "Bob", "--json"),
        )
    )

    assert message["author"] == "Bob"
    assert message["html"] == "<p>Five</p>"
    assert [a["content_type"] for a in message["attachments"]] == [
        "application/pdf",
        "application/octet-stream",
    ]
    assert [c["address"] for c in message["cc"]] == ["bob@customer.example"]


def test_wrong_use_of_answer(desk: Desk, run: Run) -> None:
    desk.receive()

    run("question", "answer", "1", "--text", "a", "--file", "-", code=2)
    run("question", "answer", "1", "--text", "a", "--attach", "/nowhere", code=2)
    assert "empty" in run("question", "answer", "1", "--text", " ", code=1).stderr
    assert "no question 9" in run("question", "answer", "9", "--text", "a", code=1).stderr


def test_work_on_questions(desk: Desk, run: Run) -> None:
    desk.receive()
    desk.receive()

    assert run("question", "assign", "1", "bob").stdout == "Question 1 is assigned to bob.\n"
    assert run("question", "resolve", "1", "2").stdout.count("is resolved") == 2
    assert run("question", "reopen", "1").stdout == "Question 1 is assigned.\n"
    assert run("question", "spam", "2").stdout == "Question 2 is spam.\n"
    run("question", "note", "1", "--text", "Call her.")
    (note,) = lines(run("question", "note", "1", "--json", "--as", "bob", input="Twice."))
    assert (note["kind"], note["author"], note["text"]) == ("note", "bob", "Twice.")
    assert "Call her." in run("question", "show", "1").stdout


def test_bytes(desk: Desk, run: Run, tmp_path: Path) -> None:
    raw = (
        b"From: ann@customer.example\r\nMessage-ID: <x@y>\r\nContent-Type: application/pdf\r\n"
        b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\n%PDF\xff\r\n'
    )
    message = desk.receive(raw)
    path = tmp_path / "out"

    assert run("question", "raw", "1").stdout_bytes == raw
    run("question", "raw", "1", "--message", str(message.id), "--output", str(path))
    assert path.read_bytes() == raw
    assert run("question", "attachment", "1", "1").stdout_bytes.startswith(b"%PDF\xff")
    assert "1 attachments" in run("question", "attachment", "1", "2", code=1).stderr
    run("question", "raw", "1", "--message", "99", code=1)


def test_export_is_json_lines(desk: Desk, run: Run) -> None:
    desk.receive(subject="Grüße \u2028 und mehr")
    desk.receive()

    exported = lines(run("question", "export"))
    assert lines(run("question", "export", "--json")) == exported

    assert exported == [lines(run("question", "show", n, "--json"))[0] for n in ("1", "2")]


def test_outbox(desk: Desk, run: Run) -> None:
    desk.receive()
    run("question", "answer", "1", "--text", "Five.")

    assert [e["state"] for e in lines(run("outbox", "list", "--json"))] == ["queued"]
    assert run("outbox", "hold", "1").stdout == "Mail 1 is held.\n"
    assert "is held; this takes" in run("outbox", "hold", "1", code=1).stderr
    assert run("outbox", "retry", "1").stdout == "Mail 1 is queued.\n"
    assert run("outbox", "cancel", "1").stdout == "Mail 1 is cancelled.\n"
    run("outbox", "mark-sent", "1", code=1)
    (shown,) = lines(run("outbox", "show", "1", "--json"))
    assert [t["outcome"] for t in shown["tries"]] == ["held", "retried", "cancelled"]
    assert "cancelled" in run("outbox", "show", "1").stdout
    assert "cancelled" in run("outbox", "list").stdout


def test_unknown_outcome(desk: Desk, run: Run) -> None:
    from postroom.outbox import answers

    answers.answer(desk.receive().question, "Five.", author="Eve")
    Outbox.update(state="unknown").execute()

    assert "--yes" in run("outbox", "retry", "1", code=1).stderr
    run("outbox", "retry", "1", "--yes")
    assert lines(run("outbox", "list", "--state", "queued", "--json"))


def test_quarantine(desk: Desk, run: Run, tmp_path: Path) -> None:
    with transaction():
        for number, raw_id in ((1, raws.save(b"odd")), (2, None)):
            Receipt.create(
                id=number,
                mailbox=desk.mailbox,
                ref=f"r{number}",
                ref_key=f"r{number}",
                outcome="quarantined",
                reason="It is odd.",
                because="MESSAGE-UNSTORABLE",
                raw_id=raw_id,
                created_at=now(),
            )

    entries = lines(run("quarantine", "list", "--json"))
    assert [(e["id"], e["has_bytes"]) for e in entries] == [(1, True), (2, False)]
    assert len(lines(run("quarantine", "list", "--mailbox", "info@example.org", "--json"))) == 2
    assert lines(run("quarantine", "show", "1", "--json")) == entries[:1]
    assert "It is odd." in run("quarantine", "show", "1").stdout
    assert run("quarantine", "raw", "1").stdout_bytes == b"odd"
    assert "on the server" in run("quarantine", "raw", "2", code=1).stderr
    run("quarantine", "show", "9", code=1)


@pytest.mark.parametrize("action", ["retry", "release", "raw"])
def test_too_large_a_message_wants_a_higher_limit(desk: Desk, run: Run, action: str) -> None:
    with transaction():
        Receipt.create(
            id=1,
            mailbox=desk.mailbox,
            ref="r1",
            ref_key="r1",
            outcome="refused",
            because="TOO-LARGE",
            listed_size=1 << 30,
            created_at=now(),
        )

    assert "max_message_bytes" in run("quarantine", action, "1", code=1).stderr
    assert "max_message_bytes" in lines(run("quarantine", "show", "1", "--json"))[0]["next_step"]


def test_more_questions_than_there_can_be_are_wrong_usage(run: Run) -> None:
    assert "not in the range" in run("question", "list", "--limit", str(1 << 64), code=2).stderr


def test_question_without_the_store_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSTROOM_DATABASE", f"sqlite:///{tmp_path}/none.db")

    result = CliRunner().invoke(cli, ["question", "list"])

    assert result.exit_code == 1
    assert "postroom init" in result.stderr
