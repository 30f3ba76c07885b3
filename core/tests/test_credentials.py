"""Credentials: kept sealed, shown masked, checked, and warned of before they end."""

from __future__ import annotations

import json
import logging
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from postroom import plugins
from postroom.admin import apply, credential_check
from postroom.admin.status import status
from postroom.api import AuthError, Event, codes
from postroom.credentials import credential_expiry, credentials, tokens
from postroom.errors import InputError, NotFoundError
from postroom.mailboxes import mailboxes, sides
from postroom.plugin_settings import stored_values
from postroom.store.database import now
from postroom.store.models import Credential, CredentialToken
from postroom_test_servers.pigeon import FakePlugins, Pigeon, Whistle, problems_of

Command = Callable[..., Result]
WHISTLE = {"keeper": "ann", "tune": "one for sorrow"}
TOML = """
[[credential]]
name = "Loft"
kind = "whistle"
keeper = "ann"
tune = { env = "TUNE" }
expires_at = 2027-05-01
[[mailbox]]
address = "info@example.org"
[mailbox.incoming]
transport = "pigeon"
host = "loft"
credential = "loft"
"""


class Listening(FakePlugins):
    """Plugins that hear events."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.heard: list[Event] = []

    def tell(self, event: Event) -> None:
        """Keep it."""
        self.heard.append(event)


@pytest.fixture
def whistle(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whistle]:
    """A kind of credential, and the transport ``pigeon``."""
    kind = Whistle()
    monkeypatch.setenv("TUNE", "one for sorrow")
    plugins.use(Listening([Pigeon()], [kind]))
    yield kind
    plugins.use(None)


@pytest.fixture
def loft(whistle: Whistle) -> Whistle:
    """The credential ``Loft`` is there, and a mailbox that uses it."""
    run(TOML)
    return whistle


def run(text: str, **options: Any) -> apply.Applied:
    raw = textwrap.dedent(text).encode()
    return apply.apply(apply.read(raw, name="x.toml", folder=Path.cwd()), **options)


def stored(name: str = "loft") -> Credential:
    return credentials.find(name)


def end_in(**delta: float) -> None:
    """Let the secret end after a time."""
    moment = now() + timedelta(**delta, seconds=30)
    Credential.update(expires_at=moment).execute()


# ---------------------------------------------------------------------------- apply


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_an_end_that_no_calendar_has_in_utc_is_a_problem(whistle: Whistle, end: str) -> None:
    with pytest.raises(InputError) as caught:
        run(f'{TOML}\n[[credential]]\nname = "late"\nkind = "whistle"\nexpires_at = {end}')

    assert any("expires_at: must be a date" in str(one) for one in caught.value.problems)


def test_a_file_sets_a_credential_up_and_twice_changes_nothing(whistle: Whistle) -> None:
    rehearsed = run(TOML, dry_run=True)
    first, again = run(TOML), run(TOML)

    assert rehearsed.plan[0] == "credential Loft: added"
    assert first.plan == rehearsed.plan and not first.warnings
    assert again.plan == []
    assert stored().expires_at == datetime(2027, 5, 1, tzinfo=UTC)
    assert b"sorrow" not in bytes(stored().sealed or b"")
    assert tokens.token("LOFT", "smtp", "info@example.org").value == "coo-ann-1"


def test_a_file_without_it_leaves_a_credential_alone(loft: Whistle) -> None:
    assert run("[[segment]]\nname = 'x'\n").plan == ["segment x: added"]
    assert stored().kind == "whistle"


def test_a_changed_secret_is_told_and_counts_at_once(
    loft: Whistle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.token("loft", "smtp", "info@example.org")
    monkeypatch.setenv("TUNE", "two for joy")

    assert run(TOML).plan == ["credential Loft: tune changed"]
    assert tokens.token("loft", "smtp", "info@example.org").value == "coo-ann-2"


def test_every_problem_has_its_line(whistle: Whistle, tmp_path: Path) -> None:
    text = """
    [[credential]]
    name = "a"
    kind = "whistel"
    [[credential]]
    name = "b"
    kind = "whistle"
    keper = "x"
    tune_file = "nowhere.txt"
    expires_at = "soon"
    [[credential]]
    kind = "whistle"
    keeper = "x"
    tune = "in clear"
    tune_env = "TUNE"
    [[credential]]
    name = "c"
    [[mailbox]]
    address = "info@example.org"
    [mailbox.incoming]
    transport = "pigeon"
    host = "loft"
    credential = "d"
    [mailbox.outgoing]
    transport = "pigeon"
    host = "loft"
    credential = "b"
    """

    with pytest.raises(InputError) as caught:
        run(text)

    told = {p.field: p.sentence for p in caught.value.problems}
    assert [*told] == [
        "line 4, kind",
        "line 5, keeper",
        "line 8, keper",
        "line 9, tune_file",
        "line 10, expires_at",
        "line 11, name",
        "line 15, tune_env",
        "line 16, kind",
        "line 23, incoming.credential",
    ]
    assert 'kind of credential "whistel"' in told["line 4, kind"]
    assert 'did you mean "keeper"?' in told["line 8, keper"]
    assert 'there is no credential "d"' in told["line 23, incoming.credential"]
    assert not Credential.select().exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('timeout_seconds = "60"', "must be a number"),
        ("timeout_seconds = true", "must be a number"),
        ('person = "true"', "must be true or false"),
        ("ca_file = 1", "must be text"),
    ],
)
def test_a_setting_takes_what_its_type_is_in_toml(
    whistle: Whistle, setting: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        run(TOML.replace("expires_at = 2027-05-01", setting))

    (problem,) = caught.value.problems
    assert str(problem) == f"line 7, {setting.split(' ')[0]}: {says}"
    assert not Credential.select().exists()


def test_a_whole_number_and_an_instant_mean_what_they_say(whistle: Whistle) -> None:
    run(
        TOML.replace(
            "expires_at", "timeout_seconds = 5\nends_at = 2027-06-01T00:00:00Z\nexpires_at"
        )
    )

    assert stored().settings["timeout_seconds"] == 5.0
    assert stored().settings["ends_at"].startswith("2027-06-01T00:00:00")


def test_a_missing_plugin_says_what_to_install(whistle: Whistle) -> None:
    with pytest.raises(InputError) as caught:
        run("[[credential]]\nname = 'x'\nkind = 'microsoft'\n")

    assert "pip install postroom-oauth" in problems_of(caught)["line 3, kind"]


def test_a_secret_in_clear_is_warned_of_and_a_file_is_read_at_once(
    whistle: Whistle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tune.txt").write_text("three for a girl\n")
    head = "[[credential]]\nname = 'x'\nkind = 'whistle'\nkeeper = 'ann'\n"

    assert "tune stands in the file in clear" in run(head + "tune = 'la'\n").warnings[0]
    assert not run(head + "tune_file = 'tune.txt'\n").warnings
    (tmp_path / "tune.txt").unlink()
    assert stored_values(stored("x"))["tune"] == "three for a girl"


# ---------------------------------------------------------------------------- use


def test_a_side_names_a_credential_that_exists(loft: Whistle) -> None:
    mailbox = mailboxes.find("info@example.org")

    with pytest.raises(InputError) as caught:
        sides.save(mailbox, "out", "pigeon", {"host": "loft", "credential": "lofts"})

    assert problems_of(caught)["credential"] == (
        'there is no credential "lofts"; did you mean "Loft"?'
    )


def test_one_in_use_is_not_removed(loft: Whistle) -> None:
    tokens.token("loft", "smtp", "info@example.org")
    with pytest.raises(InputError) as caught:
        credentials.remove("loft")
    assert "info@example.org (incoming)" in str(caught.value)

    sides.save(mailboxes.find("info@example.org"), "in", "pigeon", {"host": "loft"})
    credentials.remove("loft")

    assert not Credential.select().exists() and not CredentialToken.select().exists()
    with pytest.raises(NotFoundError):
        credentials.remove("loft")


# ---------------------------------------------------------------------------- expiry


def test_the_earlier_end_counts(loft: Whistle) -> None:
    ends = datetime(2027, 4, 1, tzinfo=UTC)
    credentials.put("loft", "whistle", {**WHISTLE, "ends_at": ends}, expires_at="2027-05-01")

    assert credential_expiry.ends_at(stored()) == ends
    assert credentials.shown(stored())["expires_at"] == ends


def test_a_warning_comes_once_at_each_threshold(
    loft: Whistle, caplog: pytest.LogCaptureFixture
) -> None:
    heard = plugins.load().heard  # type: ignore[attr-defined]
    told = []
    with caplog.at_level(logging.WARNING, "postroom.credentials.credential_expiry"):
        for days in (31, 29, 28, 14, 13, 4, 3, 2, 0.5, -1, -2):
            end_in(days=days)
            for _ in range(2):
                caplog.clear()
                credential_expiry.warn(plugins.load())
                told.append(len(caplog.records))

    assert told[::2] == [0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0]
    assert not any(told[1::2])
    assert [event.name for event in heard] == ["credential-expiring"] * 4
    assert heard[0].details["mailboxes"] == ["info@example.org"]


def test_a_new_secret_is_warned_of_anew(loft: Whistle) -> None:
    end_in(days=2)
    credential_expiry.warn(plugins.load())
    end = now() + timedelta(days=20)
    credentials.put("loft", "whistle", {**WHISTLE, "tune": "two for joy"}, expires_at=end)

    credential_expiry.warn(plugins.load())

    assert len(plugins.load().heard) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("days", "shown", "urgent"), [(40, False, False), (20, True, False), (5, True, True)]
)
def test_the_end_shows_in_status_mailbox_list_and_errors(
    loft: Whistle, days: int, shown: bool, urgent: bool
) -> None:
    end_in(days=days)
    mailbox = mailboxes.find("info@example.org")

    found = status()
    assert [one["credential"] for one in found["credentials"]] == ["Loft"] * shown
    assert found["needs_person"] is urgent
    [row] = mailboxes.listed()
    assert row["credential_expires_at"] == stored().expires_at
    errors = list(mailboxes.errors(mailbox))
    assert [error["code"] for error in errors] == ["CREDENTIAL-EXPIRING"] * shown
    if shown:
        assert f'"Loft" ends on {stored().expires_at:%Y-%m-%d}, in {days} days.' in str(
            errors[0]["sentence"]
        )
        assert "credential replace Loft" in errors[0]["next_step"]


def test_a_refused_credential_needs_a_person(loft: Whistle) -> None:
    loft.answer = refusing
    with pytest.raises(AuthError):
        tokens.token("loft", "smtp", "info@example.org")

    found = status()

    assert found["needs_person"]
    assert found["credentials"][0]["sentence"] == "The loft refused."
    assert credentials.shown(stored())["state"] == "attention"


def refusing(_: int) -> None:
    raise AuthError(codes.AUTH_REFUSED, "The loft refused.")


# ---------------------------------------------------------------------------- check and sign-in


def test_the_check_tries_what_the_mailboxes_need(loft: Whistle) -> None:
    loft.purposes = ("smtp", "pigeon")  # type: ignore[misc]

    steps = list(credential_check.check(stored(), plugins.load()))

    assert [step.name for step in steps] == ["expiry", "settings", "token pigeon"]
    assert loft.asked[0][:2] == ("pigeon", "info@example.org")


def test_the_check_fetches_anew_and_lets_all_know(loft: Whistle) -> None:
    loft.answer = refusing
    with pytest.raises(AuthError):
        tokens.token("loft", "smtp", "info@example.org")
    loft.answer = lambda _: None

    steps = list(credential_check.check(stored(), plugins.load(), purposes=["smtp"]))

    assert steps[-1].outcome == "ok"
    assert tokens.token("loft", "smtp", "info@example.org").value == "coo-ann-2"


def test_a_bug_of_the_kind_is_a_failing_step_without_its_words(
    loft: Whistle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError(WHISTLE["tune"])

    monkeypatch.setattr(loft, "check", fail)

    [_, step] = credential_check.check(stored(), plugins.load())

    assert step.outcome == "fail" and "ValueError" in step.detail
    assert "sorrow" not in step.detail + caplog.text


def test_who_signs_in_is_sealed_and_used(loft: Whistle) -> None:
    with pytest.raises(InputError, match="Nobody has to sign in"):
        credential_check.begin_sign_in(stored(), plugins.load())
    credentials.put("loft", "whistle", {**WHISTLE, "person": True})

    begun = credential_check.begin_sign_in(stored(), plugins.load())
    credential_check.finish_sign_in(stored(), begun, plugins.load())

    assert b"tweet" not in bytes(stored().state or b"")
    tokens.token("loft", "smtp", "info@example.org")
    assert loft.asked[-1][2] == "signed in by tweet"


# ---------------------------------------------------------------------------- commands


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_credential_is_added_shown_replaced_and_removed(
    whistle: Whistle, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = command(
        *("credential", "add", "loft", "whistle", "--keeper", "ann"),
        *("--tune-env", "TUNE", "--expires-at", "2027-05-01"),
    )
    assert added.exit_code == 0, added.output
    assert "postroom credential check loft" in added.stdout
    signs_in = command(
        *("credential", "add", "cage", "whistle", "--keeper", "ann", "--person"),
        *("--tune-env", "TUNE", "--expires-at", "2027-05-01"),
    )
    assert "postroom credential sign-in cage" in signs_in.stdout
    assert command("credential", "remove", "cage").exit_code == 0
    assert command("credential", "add", "Loft", "whistle", "--keeper", "bob").exit_code == 1

    [row] = lines(command("credential", "list", "--json"))
    assert (row["name"], row["kind"], row["mailboxes"], row["state"]) == (
        "loft",
        "whistle",
        0,
        "never",
    )
    [shown] = lines(command("credential", "show", "loft", "--json"))
    assert shown["settings"]["keeper"] == "ann" and shown["settings"]["tune"] == "********"
    assert shown["expires_at"] == "2027-05-01T00:00:00Z"

    monkeypatch.setenv("TUNE", "two for joy")
    replaced = command("credential", "replace", "loft", "--tune-env", "TUNE")
    assert replaced.stdout == "loft: expires_at, tune changed\n"
    values = stored_values(stored())
    assert values["tune"] == "two for joy" and values["keeper"] == "ann"
    assert command("credential", "replace", "loft").stdout == "loft: unchanged\n"
    assert "loft: removed" in command("credential", "remove", "loft").stdout


def test_password_and_credential_take_each_others_place(loft: Whistle, command: Command) -> None:
    side = ("mailbox", "incoming", "info@example.org", "pigeon")

    def shown() -> dict[str, Any]:
        [row] = lines(command("mailbox", "show", "info@example.org", "--json"))
        return dict(row["incoming"])

    assert command(*side, "--password-env", "TUNE").exit_code == 0
    assert shown()["credential"] is None and shown()["password"] == "********"

    assert command(*side, "--credential", "loft").exit_code == 0
    assert shown()["credential"] == "loft" and "password" not in shown()


def test_a_command_that_is_proposed_can_be_pasted(whistle: Whistle, command: Command) -> None:
    options = ("whistle", "--keeper", "ann", "--tune-env", "TUNE", "--expires-at", "2020-05-01")

    added = command("credential", "add", "our loft", *options)

    assert "postroom credential check 'our loft'" in added.stdout
    [ended] = status()["credentials"]
    assert "postroom credential replace 'our loft'" in ended["next_step"]


def test_what_is_missing_is_said_with_the_options_that_give_it(
    whistle: Whistle, command: Command
) -> None:
    result = command("credential", "add", "loft", "whistle", "--expires-at", "soon")

    assert result.exit_code == 1
    assert "keeper: is missing" in result.stderr
    assert "tune: is missing" in result.stderr
    assert "expires_at: must be a date" in result.stderr
    assert "--tune-env NAME or --tune-file PATH" in result.stderr


def test_a_kind_that_is_not_installed_says_what_to_install(
    whistle: Whistle, command: Command
) -> None:
    result = command("credential", "add", "contoso", "microsoft", "--tenant-id", "x")

    assert result.exit_code == 1
    assert "pip install postroom-oauth" in result.stderr


def test_an_option_of_another_kind_is_refused(
    loft: Whistle, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Whistle):
        name = "other"

        def settings(self) -> Any:
            from postroom.api.settings import CredentialSettings

            class OtherSettings(CredentialSettings):
                """Another."""

                song: str = ""

            return OtherSettings

    plugins.use(FakePlugins([Pigeon()], [loft, Other()]))

    result = command("credential", "replace", "loft", "--song", "la")

    assert result.exit_code == 2
    assert "--song is no option of the kind whistle" in result.stderr


def test_the_check_command_says_what_failed(loft: Whistle, command: Command) -> None:
    assert command("credential", "check", "loft", "--purpose", "smtp").exit_code == 0
    loft.answer = refusing

    result = command("credential", "check", "loft", "--purpose", "smtp", "--json")

    assert result.exit_code == 1
    last = json.loads(result.stdout.splitlines()[-1])
    assert (last["outcome"], last["detail"]) == ("fail", "The loft refused.")


def test_a_check_ends_although_the_kind_hangs(
    loft: Whistle, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_STALL_SECONDS", "1")
    credentials.put("loft", "whistle", {**WHISTLE, "timeout_seconds": 0.5})
    goes_on = threading.Event()
    loft.answer = lambda _: (goes_on.wait(60), None)[1]

    result = command("credential", "check", "loft", "--purpose", "smtp", "--json")
    goes_on.set()
    [left_behind] = [one for one in threading.enumerate() if one.name == "visit-0"]
    left_behind.join(30)

    assert result.exit_code == 1
    *others, last = map(json.loads, result.stdout.splitlines())
    assert {row["step"]: row["outcome"] for row in others}["settings"] == "ok"
    assert (last["step"], last["outcome"]) == ("plugin", "fail")
    assert "credential whistle did not come back from check" in last["detail"]


def test_the_sign_in_command_shows_the_code(loft: Whistle, command: Command) -> None:
    credentials.put("loft", "whistle", {**WHISTLE, "person": True})

    result = command("credential", "sign-in", "loft")

    assert result.stdout == "Whistle CH1RP.\nloft: signed in\n"
    assert result.exit_code == 0


def test_no_secret_or_token_is_printed(loft: Whistle, command: Command) -> None:
    tokens.token("loft", "smtp", "info@example.org")
    printed = ""
    for words in (
        ("credential", "list", "--json"),
        ("credential", "show", "loft", "--json"),
        ("credential", "show", "loft"),
        ("credential", "check", "loft", "--json"),
        ("mailbox", "show", "info@example.org", "--json"),
        ("status", "--json"),
        ("doctor", "--json"),
    ):
        result = command(*words)
        printed += result.stdout + result.stderr

    assert "loft" in printed
    for secret in ("sorrow", "coo-", "heard"):
        assert secret not in printed
