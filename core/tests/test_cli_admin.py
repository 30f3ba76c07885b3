"""The commands of administrators: what they print, their exit codes, and what they never show."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import peewee
import pytest
from click.testing import Result
from postroom import plugins
from postroom.admin.secret_sources import from_file
from postroom.cli import cli
from postroom.cli.lazy import LazyGroup
from postroom.errors import DatabaseUnusableError, DiskFullError
from postroom.plugin_loading import InstalledPlugin
from postroom.store.errors import database_errors, explain
from postroom_test_servers.pigeon import FakePlugins
from postroom_test_servers.stores import Databases, installation

Command = Callable[..., Result]
TOML = """
[[mailbox]]
address = "info@example.org"
[mailbox.incoming]
transport = "pigeon"
host = "loft"
username = "ann"
password = "corn and peas"
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """A machine without a database; returns the file that will be it."""
    path = tmp_path / "home" / "postroom.db"
    with installation(f"sqlite:///{path}", tmp_path):
        yield path


@pytest.fixture
def mailbox(store: str, pigeons: FakePlugins, command: Command) -> str:
    """A mailbox with an incoming side; its address."""
    assert command("apply", "-", stdin=TOML).exit_code == 0
    return "info@example.org"


def rows_of(result: Result) -> list[dict[str, Any]]:
    """Return JSON Lines."""
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---------------------------------------------------------------------------- first steps


def test_init_makes_key_database_and_segment_once(
    empty_database_url: str, command: Command
) -> None:
    first = command("init")
    second = command("init")

    assert first.exit_code == second.exit_code == 0
    assert "Made the tables." in first.stdout
    assert "Made the key" in first.stdout
    assert "Everything is there already." in second.stdout
    assert [row["name"] for row in rows_of(command("segment", "list", "--json"))] == ["default"]


def test_database_file_is_for_its_owner_only(fresh: Path, command: Command) -> None:
    command("init")

    assert fresh.stat().st_mode & 0o077 == 0
    assert fresh.parent.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("pigeons")
def test_apply_is_enough_on_a_fresh_machine(empty_database_url: str, command: Command) -> None:
    assert command("apply", "-", stdin=TOML).exit_code == 0

    again = command("apply", "-", stdin=TOML)

    assert again.stdout == "Unchanged.\n"
    assert "corn" not in again.output


@pytest.mark.usefixtures("pigeons")
@pytest.mark.parametrize("arguments", [("apply", "-", "--dry-run"), ("apply", "-")])
def test_dry_run_or_wrong_file_makes_nothing_on_a_fresh_machine(
    fresh: Path, command: Command, arguments: tuple[str, ...]
) -> None:
    text = TOML if "--dry-run" in arguments else TOML.replace("host", "hots")

    result = command(*arguments, stdin=text)

    assert result.exit_code == (0 if "--dry-run" in arguments else 1)
    assert not fresh.exists()
    assert not Path(os.environ["POSTROOM_KEY_FILE"]).exists()


def test_command_without_a_database_says_what_to_run_and_makes_none(
    fresh: Path, command: Command
) -> None:
    result = command("mailbox", "list")

    assert result.exit_code == 1
    assert "postroom init" in result.stderr
    assert not fresh.parent.exists()


# ---------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://x", "has to begin with"),
        ("postgres//ann:hunter2@db.example.org/post", "has to begin with"),
        ("sqlite://x.db", "has to begin with"),
        ("sqlite:///", "names no file"),
        ("sqlite:///{tmp}/x.db?mode=ro", "has options"),
        ("postgresql://ann@nowhere.invalid/x", "nowhere.invalid"),
        ("postgresql://[x", "no URL of a PostgreSQL"),
        ("postgresql://postgres@127.0.0.1:1/x", "refused"),
        ("sqlite:////proc/none/x.db", "cannot be made"),
        ("sqlite:///{tmp}/text", "not a database"),
        ("sqlite:///{tmp}/text/x.db", "cannot be made"),
        ("sqlite:///{tmp}", "unable to open"),
    ],
)
def test_unusable_database_is_a_sentence(
    fresh: Path, command: Command, tmp_path: Path, url: str, says: str
) -> None:
    (tmp_path / "text").write_text("this is a text and no database\n" * 50)

    result = command("--database", url.format(tmp=tmp_path), "init")

    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert says in result.stderr.splitlines()[0]
    assert len(result.stderr.splitlines()) == 2
    assert "hunter2" not in result.stderr
    assert "Errno" not in result.stderr
    assert not (tmp_path / "x.db?mode=ro").exists()


def test_key_that_is_none_is_a_sentence(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSTROOM_KEY_FILE", str(tmp_path))
    unreadable = command("init")
    monkeypatch.setenv("POSTROOM_KEY", "my password")
    malformed = command("init")

    assert unreadable.exit_code == malformed.exit_code == 1
    assert "cannot be read" in unreadable.stderr
    assert "POSTROOM_KEY holds no key" in malformed.stderr
    assert "my password" not in malformed.output


def test_a_flag_for_the_key_goes_before_the_environment(
    store: str, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command("init")
    kept = tmp_path / "kept"
    Path(os.environ["POSTROOM_KEY_FILE"]).rename(kept)
    monkeypatch.setenv("POSTROOM_KEY", "no key at all")

    assert command("init").exit_code == 1
    assert command("--key-file", str(kept), "init").exit_code == 0
    assert command("--key-file", str(tmp_path / "none"), "init").exit_code == 1


def test_a_database_that_another_program_holds_is_for_later(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroom.store.sqlite._BUSY_SECONDS", 0.01)
    command("init")
    holder = sqlite3.connect(fresh, isolation_level=None)
    with closing(holder):
        holder.execute("BEGIN IMMEDIATE")
        held = [command("segment", "add", "sales"), command("run", "--once")]
    after = [command("segment", "add", "sales"), command("run", "--once")]

    assert [one.exit_code for one in held] == [75, 75], [one.output for one in held]
    assert all("Another program holds it" in one.stderr for one in held)
    assert [one.exit_code for one in after] == [0, 0]


def test_a_file_of_authorities_that_cannot_be_used_is_told_when_it_is_named(
    mailbox: str, command: Command, tmp_path: Path
) -> None:
    pigeon = TOML.replace("[mailbox.incoming]", '[mailbox.incoming]\nca_file = "none.pem"')
    nul = TOML.replace("[mailbox.incoming]", '[mailbox.incoming]\nca_file = "a\\u0000b"')

    applied = command("apply", "-", stdin=pigeon)
    damaged = command("apply", "-", stdin=nul)
    by_option = command("mailbox", "incoming", mailbox, "pigeon", "--ca-file", str(tmp_path))
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for somebody who writes
    pipe = ("--ca-file", str(tmp_path / "pipe"))
    endless = command("mailbox", "incoming", mailbox, "pigeon", *pipe)

    assert [one.exit_code for one in (applied, damaged, by_option)] == [0, 0, 0], applied.output
    assert "line 5: The file of certificates" in applied.stderr
    assert "No such file" in applied.stderr
    assert "null byte" in damaged.stderr
    assert "Is a directory" in by_option.stderr
    assert "no ordinary file" in endless.stderr


def test_malformed_file_is_a_sentence_with_its_place(store: str, command: Command) -> None:
    result = command("apply", "-", stdin="[[mailbox]]\naddress = \n")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: standard input, line 2, column 11")


def test_unknown_mailbox_names_the_nearest(mailbox: str, command: Command) -> None:
    result = command("mailbox", "show", "inof@example.org")

    assert result.exit_code == 1
    assert 'did you mean "info@example.org"?' in result.stderr


def test_missing_transport_says_what_to_install(mailbox: str, command: Command) -> None:
    result = command("mailbox", "incoming", mailbox, "graph", "--help")

    assert result.exit_code == 1
    assert "pip install postroom-graph" in result.stderr


def test_mailbox_of_a_missing_plugin_can_be_listed_shown_moved_and_deleted(
    mailbox: str, command: Command
) -> None:
    plugins.use(FakePlugins())

    assert rows_of(command("mailbox", "list", "--json"))[0]["incoming"] == "pigeon"
    assert "********" in command("mailbox", "show", mailbox).stdout
    command("segment", "add", "sales")
    assert command("mailbox", "move", mailbox, "sales").exit_code == 0
    assert command("mailbox", "set", mailbox, "--name", "x").exit_code == 0
    assert command("mailbox", "delete", mailbox).exit_code == 0


def test_a_bug_is_a_sentence_and_its_traceback_is_written_down(
    store: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("postroom.mailboxes.mailboxes.listed", fail)
    monkeypatch.delenv("POSTROOM_DEBUG")

    result = command("mailbox", "list")

    log = Path(os.environ["XDG_DATA_HOME"]) / "postroom" / "errors.log"
    assert result.exit_code == 1
    assert str(log) in result.stderr
    assert "secret detail" not in result.output
    assert "ZeroDivisionError: secret detail" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("KeyboardInterrupt()", 130),
        ("BusyError('held')", 75),
        ("LeaseLostError('held by another')", 75),
        ("TransientError(codes.HOST_UNKNOWN, 'no such host')", 75),
        ("TransientError(codes.SERVER_BUSY, 'slow down', retry_after=60)", 75),
        ("TransientError(codes.PLUGIN_BUG, 'it failed')", 1),
        ("AuthError(codes.AUTH_REFUSED, 'no')", 1),
        ("SettingsError(codes.FOLDER_MISSING, 'no')", 1),
        ("PermissionError(13, 'no', 'f')", 1),
    ],
)
def test_exit_codes(
    store: str, command: Command, monkeypatch: pytest.MonkeyPatch, error: str, code: int
) -> None:
    from postroom import api, errors

    def fail() -> None:
        known = {name: getattr(api, name) for name in api.__all__}
        raise eval(error, known | vars(errors) | {"codes": api.codes})

    monkeypatch.setattr("postroom.mailboxes.mailboxes.listed", fail)

    result = command("mailbox", "list")

    assert result.exit_code == code
    assert result.stdout == ""


# ---------------------------------------------------------------------------- sides


def test_help_of_a_transport_shows_its_own_options(mailbox: str, command: Command) -> None:
    result = command("mailbox", "incoming", mailbox, "pigeon", "--help")

    assert result.exit_code == 0
    for text in ("--host", "[required]", "--ringed / --no-ringed", "--folders", "--password-env"):
        assert text in result.stdout
    assert "--password " not in result.stdout
    assert "--send-as" not in result.stdout
    assert "--send-as" in command("mailbox", "outgoing", mailbox, "pigeon", "--help").stdout
    assert "homing" not in command("mailbox", "outgoing", "--help").stdout


def test_side_keeps_what_is_not_given(mailbox: str, command: Command) -> None:
    changed = command("mailbox", "incoming", mailbox, "pigeon", "--port", "9", "--no-ringed")
    again = command("mailbox", "incoming", mailbox, "pigeon", "--port", "9")

    assert "port, ringed changed" in changed.stdout
    assert "unchanged" in again.stdout
    shown = rows_of(command("mailbox", "show", mailbox, "--json"))[0]["incoming"]
    assert (shown["port"], shown["ringed"], shown["host"]) == (9, False, "loft")
    assert shown["password"] == "********"

    command("mailbox", "incoming", mailbox, "pigeon", "--reset", "--host", "x")
    shown = rows_of(command("mailbox", "show", mailbox, "--json"))[0]["incoming"]
    assert "password" not in shown
    assert shown["port"] == 7


def test_secret_comes_from_the_environment_or_a_file(
    mailbox: str, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORD", "millet")
    (tmp_path / "word").write_text("hemp\n")
    begin = ("mailbox", "outgoing", mailbox, "pigeon", "--host", "x")

    by_environment = command(*begin, "--password-env", "WORD")
    by_file = command(*begin, "--password-file", str(tmp_path / "word"))

    assert by_environment.exit_code == by_file.exit_code == 0
    assert "password changed" in by_file.stdout
    assert command(*begin, "--password", "x").exit_code == 2
    assert command(*begin, "--password-env", "A", "--password-file", "b").exit_code == 2
    missing = command(*begin, "--password-env", "NO_SUCH")
    assert missing.exit_code == 1
    assert "NO_SUCH is not set" in missing.stderr


def test_the_mark_that_an_editor_puts_before_a_text_is_no_part_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(b"\xef\xbb\xbfhemp\r\n")

    assert from_file(tmp_path, "word") == "hemp"


def test_doctor_says_that_the_database_is_well_and_what_was_not_tried(
    mailbox: str, command: Command
) -> None:
    steps = [json.loads(line) for line in command("doctor", "--json").stdout.splitlines()]

    assert [step["step"] for step in steps if step["outcome"] == "ok"][:2] == ["database", "key"]
    assert all(step["detail"] for step in steps if step["outcome"] == "skip")


def test_wrong_settings_name_the_flag_of_the_secret_too(mailbox: str, command: Command) -> None:
    result = command("mailbox", "outgoing", mailbox, "pigeon", "--port", "1000")

    assert result.exit_code == 1
    assert "host: is missing" in result.stderr
    assert "port: must be at most 99" in result.stderr
    assert "--password-env NAME or --password-file PATH" in result.stderr


def test_secrets_are_in_no_output_and_not_in_the_database(
    mailbox: str, command: Command, store: str
) -> None:
    for arguments in (
        ("mailbox", "list", "--json"),
        ("mailbox", "show", mailbox, "--json"),
        ("mailbox", "show", mailbox),
        ("mailbox", "incoming", mailbox, "pigeon", "--port", "1000"),
    ):
        assert "corn and" not in command(*arguments).output
    if store.startswith("sqlite"):
        folder = Path(store.removeprefix("sqlite:///")).parent
        assert all(b"corn and" not in path.read_bytes() for path in folder.iterdir())


# ---------------------------------------------------------------------------- the other verbs


def test_mailbox_from_add_to_delete(store: str, command: Command) -> None:
    address = "new@example.org"
    add = ("mailbox", "add", address, "--disposition", "move:Done", "--alias", "b@example.org")
    assert command(*add).exit_code == 0
    assert command(*add).exit_code == 1

    assert "changed" in command("mailbox", "set", address, "--start", "2026-01-31").stdout
    assert "unchanged" in command("mailbox", "set", address, "--start", "2026-01-31").stdout
    assert command("mailbox", "set", address).exit_code == 2
    assert command("mailbox", "set", address, "--disposition", "burn").exit_code == 1
    shown = rows_of(command("mailbox", "show", address, "--json"))[0]
    assert shown["start_at"] == "2026-01-31T00:00:00Z"
    assert shown["disposition"] == {"move": "Done"}
    assert shown["aliases"] == ["b@example.org"]

    assert "disabled" in command("mailbox", "disable", address).stdout
    assert rows_of(command("mailbox", "list", "--json"))[0]["enabled"] is False
    assert "already" in command("mailbox", "disable", address).stdout
    assert command("mailbox", "enable", address).exit_code == 0
    assert rows_of(command("mailbox", "errors", address, "--json")) == []
    refused = command("mailbox", "delete", address, "--with-questions")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert command("mailbox", "delete", address, "--with-questions", "--yes").exit_code == 0


def test_a_bar_is_shown_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from postroom.cli.output import progress_bar

    with progress_bar() as passed:
        passed(0, 32)
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar() as passed:
        passed(0, 0)
    assert capsys.readouterr().err == "", "nothing is to be shown"

    with progress_bar() as passed:
        passed(0, 96)
        passed(96, 0)
        passed(0, 4)  # the server's listing goes on
        passed(3, 0)
    shown = capsys.readouterr().err
    assert "96/96" in shown
    assert "99/100" in shown


def test_a_step_that_failed_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    from postroom.cli.mailbox_work import print_steps

    detail = "No encrypted connection was possible: " + "wrong version number, " * 5
    step = {"mailbox": "info@example.org", "direction": "in", "step": "tls", "outcome": "fail"}

    with pytest.raises(SystemExit):
        print_steps([step | {"detail": detail, "next_step": "Check the port."}], as_json=False)

    assert f"info@example.org (in): {detail} Check the port." in capsys.readouterr().out

    print_steps([step | {"outcome": "warn", "detail": detail, "next_step": "?"}], as_json=False)

    assert f"info@example.org (in): {detail} ?" in capsys.readouterr().out


def test_people_read_the_whole_of_what_is_wrong_and_the_next_step(
    mailbox: str, command: Command
) -> None:
    from datetime import UTC, datetime

    from postroom.store.models import Side, Trouble

    sentence, step = "The host " + "loft." * 20 + " cannot be found.", "Check the host's spelling."
    side, seen = Side.get(Side.direction == "in"), datetime(2026, 1, 31, tzinfo=UTC)
    Trouble.create(
        side=side,
        kind="transient",
        code="HOST-UNKNOWN",
        sentence=sentence,
        next_step=step,
        first_seen_at=seen,
        last_seen_at=seen,
        count=1,
    )

    errors, status = command("mailbox", "errors", mailbox), command("status")

    assert f"{sentence} {step}" in errors.stdout
    assert f"sentence:  {sentence}\n" in status.stdout
    assert f"next step: {step}\n" in status.stdout


def test_segments_topics_and_filters(store: str, command: Command, tmp_path: Path) -> None:
    template = tmp_path / "t.txt"
    template.write_text("Thanks: {{ question.reference }}")
    assert command("segment", "add", "support").exit_code == 0
    assert command("segment", "add", "Support").exit_code == 1
    change = ("segment", "set", "support", "--acknowledgement-file", str(template))
    assert "acknowledgement changed" in command(*change).stdout
    template.write_text("{{ broken")
    assert "The template does not work" in command(*change).stderr
    template.write_bytes("Grüße".encode("latin-1"))
    assert f"{template}, line 1: the text is not in UTF-8." in command(*change).stderr
    assert command("segment", "add", "other", *change[3:]).exit_code == 1
    assert "Thanks" in command("segment", "show", "support").stdout
    assert command("topic", "add", "Billing", "--segment", "support").exit_code == 0
    rule = ("filter", "add", "f", "--segment", "support", "--field", "subject", "--pattern", "x")
    assert command(*rule, "--topic", "Billing").exit_code == 0
    assert command(*rule, "--topic", "Billing").exit_code == 1
    assert command("topic", "rename", "Billing", "Money", "--segment", "support").exit_code == 0
    assert rows_of(command("filter", "list", "--json"))[0]["set"] == {"topic": "Money"}
    assert rows_of(command("topic", "list", "--json")) == [
        {"segment": "support", "name": "Money", "questions": 0}
    ]
    assert command("filter", "remove", "f", "--segment", "support").exit_code == 0
    assert command("topic", "remove", "Money", "--segment", "support").exit_code == 0
    assert command("segment", "rename", "support", "desk").exit_code == 0
    assert command("segment", "remove", "desk").exit_code == 0


def test_filter_is_tried_on_a_message(store: str, command: Command) -> None:
    command("topic", "add", "Billing")
    rule = ("--field", "subject", "--pattern", "(?i)invoice", "--topic", "Billing")
    command("filter", "add", "f", *rule)

    hit = command("filter", "test", "f", "-", "--json", stdin="Subject: Invoice 3\n\nhello\n")
    miss = command("filter", "test", "f", "-", "--json", stdin="Subject: Hello\n\ninvoice\n")

    assert rows_of(hit)[0] == {
        "filter": "f",
        "matches": True,
        "topic": "Billing",
        "assignee": None,
        "status": None,
        "ignore": None,
    }
    assert rows_of(miss)[0]["matches"] is False


def test_database_is_checked_and_backed_up(mailbox: str, command: Command, tmp_path: Path) -> None:
    assert command("db", "check").exit_code == 0
    assert "up to date" in command("db", "upgrade").stdout

    copy = tmp_path / "copy.db"
    result = command("db", "backup", str(copy))

    if os.environ["POSTROOM_DATABASE"].startswith("postgresql"):
        assert result.exit_code == 1
        assert "pg_dump" in result.stderr
        return
    assert result.exit_code == 0
    assert copy.stat().st_mode & 0o077 == 0
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT address FROM mailbox").fetchall() == [(mailbox,)]
    connection.close()
    assert command("db", "backup", str(copy)).exit_code == 1


def test_a_page_that_is_damaged_is_a_sentence_and_gets_into_no_backup(
    fresh: Path, command: Command, tmp_path: Path
) -> None:
    """Errors that SQLite has while rows are read pass peewee by."""
    command("init")
    for name in ("sales", "press"):
        command("segment", "add", name)
    with closing(sqlite3.connect(fresh)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = 'segment'"
        [(page,)] = connection.execute(found)
        [(size,)] = connection.execute("PRAGMA page_size")
    with fresh.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    copy = tmp_path / "copy.db"
    results = [
        command("segment", "list"),
        command("db", "check"),
        command("db", "backup", str(copy)),
    ]

    for result in results:
        assert result.exit_code == 1, result.output
        assert "malformed" in result.stderr or "damaged" in result.stderr
        assert "Restore" in result.stderr
        assert "postroom itself" not in result.stderr
    assert not copy.exists()


@pytest.mark.parametrize("kind", [peewee.DatabaseError, sqlite3.DatabaseError])
def test_damage_that_is_met_while_rows_are_read_is_the_databases(
    fresh: Path, command: Command, kind: type[Exception]
) -> None:
    command("init")
    error = kind("database disk image is malformed")
    error.__cause__ = sqlite3.DatabaseError(*error.args)

    with pytest.raises(DatabaseUnusableError, match="malformed"), database_errors():
        raise error


def test_what_may_not_be_written_names_the_files_beside_it(fresh: Path, command: Command) -> None:
    command("init")
    found = explain(sqlite3.OperationalError("attempt to write a readonly database"))

    assert "-shm" in found.next_step


@pytest.mark.parametrize("name", ["", ".", "none.toml"])
def test_a_file_that_cannot_be_read_has_a_next_step(
    fresh: Path, command: Command, name: str
) -> None:
    result = command("apply", name)

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2, result.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "koi8-r"])
def test_what_a_terminal_has_no_character_for_is_no_error(
    store: str, command: Command, encoding: str
) -> None:
    assert command("segment", "add", "Büro 日本").exit_code == 0
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    for arguments in (["--help"], ["segment", "list"], ["segment", "list", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "postroom", *arguments],
            capture_output=True, timeout=60, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = done.stdout.decode(encoding)
    assert json.loads(said.splitlines()[0])["name"] == "Büro 日本"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_without_room_leaves_nothing_behind(mailbox: str, tmp_path: Path) -> None:
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); "
    start = limit + "sys.argv[0] = 'postroom'; from postroom.cli import main; main()"
    copy = tmp_path / "copy.db"

    done = subprocess.run(
        [sys.executable, "-c", start, "db", "backup", str(copy)],
        capture_output=True, text=True, timeout=60,
        env={name: value for name, value in os.environ.items() if name != "POSTROOM_DEBUG"},
    )  # fmt: skip

    assert done.returncode == 1
    assert "An error in postroom itself" not in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not copy.exists()


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"])
@pytest.mark.usefixtures("store")
def test_a_full_disk_is_called_one_whatever_does_not_fit(name: str) -> None:
    """The second is what SQLite reports where not even a reader's index of the log has room."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name

    assert isinstance(explain(error), DiskFullError)


def test_disposition_is_refused_in_the_words_of_the_option(mailbox: str, command: Command) -> None:
    result = command("mailbox", "set", mailbox, "--disposition", "mov:Archive")

    assert result.exit_code == 1
    assert "move:FOLDER" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/full")
@pytest.mark.parametrize("argument", ["status", "--help", "--version"])
def test_output_that_a_full_disk_does_not_take_is_told_once(store: str, argument: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "postroom", argument],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.count("No space left") == 1
    assert "Free some space" in done.stderr


def test_older_database_says_what_to_run(databases: Databases, tmp_path: Path) -> None:
    """A database whose last migration is unknown here is of a newer postroom."""
    with databases.new("sqlite") as url, installation(url, tmp_path):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute(
                "INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2030-01-01')"
            )
        connection.close()
        from click.testing import CliRunner

        result = CliRunner().invoke(cli, ["mailbox", "list"])

    assert result.exit_code == 1
    assert "newer postroom" in result.stderr


# ---------------------------------------------------------------------------- the command line


def test_plugins_are_listed_with_what_is_broken(command: Command) -> None:
    installed = FakePlugins()
    installed.installed = (
        InstalledPlugin("a", "postroom-a", "1", "a", transports=("x",)),
        InstalledPlugin("b", "postroom-b", "1", "b", broken="ImportError: no c"),
        InstalledPlugin("c", "postroom-c", "1", "c", enabled=False),
    )
    plugins.use(installed)
    try:
        rows = rows_of(command("plugin", "list", "--json"))
    finally:
        plugins.use(None)

    assert [row["state"] for row in rows] == ["ok", "broken", "disabled"]
    assert rows[1]["reason"] == "ImportError: no c"


def imported_by(*arguments: str) -> set[str]:
    """Return the top modules, and postroom's, that a command imports."""
    code = (
        "import sys\nfrom postroom.cli import cli\n"
        f"try: cli({list(arguments)!r})\nexcept SystemExit: pass\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


def test_help_imports_click_and_nothing_else() -> None:
    modules = imported_by("--help")

    assert {name for name in modules if name.startswith("postroom")} == {
        "postroom",
        "postroom.cli",
        "postroom.cli.lazy",
    }
    assert not modules & {"pydantic", "peewee", "pluggy", "cryptography", "jinja2", "platformdirs"}


def test_plugin_list_imports_no_library_of_mail_settings_or_storage() -> None:
    modules = imported_by("plugin", "list")

    assert "pluggy" in modules
    assert not modules & {
        "pydantic", "peewee", "cryptography", "jinja2", "regex", "nh3", "postroom.mail",
        "imapclient", "imaplib", "poplib", "smtplib", "exchangelib", "msal", "httpx",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "is_imported"), [("sqlite:///{}/none.db", False), ("postgresql://127.0.0.1:1/x", True)]
)
def test_a_driver_is_imported_only_for_its_database(
    url: str, is_imported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_DATABASE", url.format(tmp_path))

    modules = imported_by("status")

    assert "peewee" in modules
    assert ("psycopg" in modules) is is_imported


def test_a_look_at_a_mailbox_needs_no_reader_of_mail() -> None:
    code = "import sys, postroom.cli.run, postroom.runner.runner\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert not set(done.stdout.split()) & {
        "postroom.mail.parsing", "postroom.mail.machines.phrases", "regex", "jinja2", "nh3",
        "postroom.intake.understanding.wire",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("closed", "command", "exit_code", "says"),
    [
        ((0,), ["apply", "-"], 0, "Unchanged."),
        ((0,), ["question", "note", "1"], 1, "There is no question 1."),
        ((1,), ["status", "--json"], 0, ""),
        ((0, 1, 2), ["segment", "list"], 0, ""),
        ((2,), ["question", "show", "1"], 1, ""),
    ],
)
def test_closed_standard_streams_are_as_empty_ones(
    store: str, closed: tuple[int, ...], command: list[str], exit_code: int, says: str
) -> None:
    code = (
        f"import os, sys\nfor number in {closed!r}: os.close(number)\n"
        f"os.execv(sys.executable, {[sys.executable, '-m', 'postroom', *command]!r})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.returncode == exit_code
    assert says in done.stdout + done.stderr
    assert "An error in postroom itself" not in done.stdout + done.stderr


def groups(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        if isinstance(group, LazyGroup) and name in group._table:
            module = group._table[name].path.partition(":")[0].replace(".", "/")
            root = Path(sys.modules["postroom"].__file__ or "").parent.parent
            if not (root / f"{module}.py").exists():
                continue  # somebody else's, not written yet
        found = group.get_command(context, name)
        assert found is not None
        yield name, found
        if isinstance(found, LazyGroup) or type(found) is click.Group:
            yield from groups(found, context)


def test_every_command_has_a_help_that_can_be_shown() -> None:
    context = click.Context(cli)

    for name, found in groups(cli, context):
        text = found.get_help(click.Context(found, info_name=name, parent=context))
        assert found.get_short_help_str(), name
        assert "Usage" in text


def test_run_may_have_as_many_files_open_as_the_system_lets_it() -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
from postroom.cli import run
run._allow_open_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(done.stdout) == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))
