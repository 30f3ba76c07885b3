"""Tokens: fetched once for all who wait, kept sealed, renewed in time, not asked for in vain."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import peewee
import pytest
from postroom import clock, plugins
from postroom.api import AuthError, SettingsError, Token, TransientError, codes
from postroom.credentials import credentials, token_memory, tokens
from postroom.credentials.context import SessionContext
from postroom.leases.owners import new_owner
from postroom.mailboxes import mailboxes, sides
from postroom.store import database
from postroom.store.database import now
from postroom.store.models import Credential, CredentialToken, Side
from postroom_test_servers.pigeon import FakePlugins, Pigeon, PigeonSettings, Whistle

WHISTLE = {"keeper": "ann", "tune": "one for sorrow"}
REFUSED = AuthError(codes.AUTH_REFUSED, "The loft refused.", next_step="Whistle louder.")


@pytest.fixture
def whistle(store: str) -> Iterator[Whistle]:
    """The kind of credential of the only one there is, ``loft``."""
    kind = Whistle()
    plugins.use(FakePlugins([Pigeon()], [kind]))
    credentials.put("loft", "whistle", WHISTLE)
    yield kind
    plugins.use(None)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[timedelta], None]]:
    """Move every clock, the database's too."""
    moved = timedelta()

    def move(by: timedelta) -> None:
        nonlocal moved
        moved += by
        clock.replace(lambda: datetime.now(UTC) + moved)
        monkeypatch.setattr(tokens, "now", lambda: now() + moved)
        if database.is_sqlite():
            monkeypatch.setattr(tokens, "now", now)
        token_memory.forget()

    yield move
    clock.replace(None)


def token(mailbox: str = "info@example.org", rejected: Token | None = None) -> Token:
    return tokens.token("loft", "smtp", mailbox, rejected=rejected)


def credential() -> Credential:
    return credentials.find("loft")


def test_a_session_gets_the_token_of_its_sides_credential(whistle: Whistle) -> None:
    settings = PigeonSettings(host="loft", credential="Loft")
    context = SessionContext("info@example.org", "pigeon", settings)

    assert context.token("smtp").value == "coo-ann-1"
    with pytest.raises(SettingsError) as caught:
        SessionContext("info@example.org", "pigeon", PigeonSettings(host="x")).token("smtp")
    assert caught.value.code is codes.CREDENTIAL_MISSING


def test_one_token_is_fetched_for_two_hundred_mailboxes(whistle: Whistle) -> None:
    entered = threading.Event()
    goes_on = threading.Event()

    def wait(_: int) -> None:
        entered.set()
        assert goes_on.wait(30)

    whistle.answer = wait
    with ThreadPoolExecutor(20) as pool:
        found = [pool.submit(token, f"box{number}@example.org") for number in range(200)]
        assert entered.wait(30)
        goes_on.set()

        assert {one.result().value for one in found} == {"coo-ann-1"}
    assert len(whistle.asked) == 1


def test_the_state_is_sealed_before_the_token_is_handed_out(whistle: Whistle) -> None:
    found = token()

    row, stored = credential(), CredentialToken.get()
    assert b"heard" not in bytes(row.state)
    assert found.value.encode() not in bytes(stored.sealed)
    token(rejected=found)
    assert [state for _, _, state in whistle.asked] == [None, "heard 1"]


def test_a_database_that_restarts_while_the_issuer_is_asked_loses_no_state(
    whistle: Whistle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {name: getattr(peewee.Database, name) for name in ("commit", "execute_sql")}
    left = {"commit": 1, "execute_sql": 3}

    def fails_first(name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            left[name] -= 1
            if left[name] >= 0:
                raise peewee.OperationalError("the database system is starting up")
            return real[name](*arguments)

        return call

    def restart(_: int) -> None:
        for name in real:
            monkeypatch.setattr(peewee.Database, name, fails_first(name))

    whistle.answer = restart
    found = token()
    whistle.answer = lambda _: None

    assert max(left.values()) < 0
    assert credential().lease_owner is None
    token(rejected=found)
    assert [state for _, _, state in whistle.asked] == [None, "heard 1"]


def test_another_process_finds_the_token(whistle: Whistle) -> None:
    first = token()
    token_memory.forget()

    assert token() == first
    assert len(whistle.asked) == 1


def test_nothing_is_written_while_the_issuer_is_asked(whistle: Whistle) -> None:
    """Another connection can write: no transaction is open."""

    def write(_: int) -> None:
        def other() -> None:
            with database.connection(), database.transaction():
                Credential.update(warned_days=1).execute()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()

    whistle.answer = write

    assert token().value == "coo-ann-1"


def test_a_token_is_renewed_shortly_before_it_ends(
    whistle: Whistle, later: Callable[[timedelta], None]
) -> None:
    assert token().value == "coo-ann-1"
    later(timedelta(minutes=54))
    assert token().value == "coo-ann-1"
    later(timedelta(minutes=2))
    assert token().value == "coo-ann-2"


def test_a_short_life_is_used_too(whistle: Whistle, later: Callable[[timedelta], None]) -> None:
    whistle.life = timedelta(minutes=1)
    assert token().value == "coo-ann-1"
    later(timedelta(seconds=45))
    assert token().value == "coo-ann-1"
    later(timedelta(seconds=5))
    assert token().value == "coo-ann-2"


def test_a_token_that_still_holds_is_used_while_the_issuer_is_away(
    whistle: Whistle, later: Callable[[timedelta], None]
) -> None:
    first = token()
    whistle.answer = raising(TransientError(codes.TIMEOUT, "The issuer sleeps."))
    later(timedelta(minutes=57))

    assert token() == first
    with pytest.raises(TransientError):
        token(rejected=first)
    later(timedelta(minutes=4))
    with pytest.raises(TransientError):
        token()


def raising(error: Exception) -> Callable[[int], None]:
    def raise_it(_: int) -> None:
        raise error

    return raise_it


# ---------------------------------------------------------------------------- refused by a server


def test_many_that_were_refused_one_token_share_a_new_one(whistle: Whistle) -> None:
    first = token()

    with ThreadPoolExecutor(10) as pool:
        found = [
            pool.submit(token, f"box{number}@example.org", first).result for number in range(50)
        ]

        assert {one().value for one in found} == {"coo-ann-2"}
    assert len(whistle.asked) == 2
    assert token().value == "coo-ann-2"


def test_who_refuses_every_token_is_not_given_new_ones_for_ever(
    whistle: Whistle, later: Callable[[timedelta], None]
) -> None:
    refused = token()
    for _ in range(tokens.REFUSED_AT_ONCE):
        refused = token(rejected=refused)

    with pytest.raises(AuthError) as caught:
        token(rejected=refused)
    assert caught.value.code is codes.TOKEN_REFUSED
    assert "loft" in caught.value.next_step
    assert len(whistle.asked) == 11
    later(timedelta(minutes=3))
    assert token(rejected=refused).value == "coo-ann-12"


# ---------------------------------------------------------------------------- refused by the issuer


def test_a_refusal_is_told_to_all_without_asking_again(
    whistle: Whistle, later: Callable[[timedelta], None]
) -> None:
    whistle.answer = raising(REFUSED)
    for number in range(20):
        with pytest.raises(AuthError) as caught:
            token(f"box{number}@example.org")
        assert str(caught.value) == "The loft refused."
        assert caught.value.next_step == "Whistle louder."
        assert caught.value.code is codes.AUTH_REFUSED
    assert len(whistle.asked) == 1

    later(timedelta(minutes=5, seconds=1))
    with pytest.raises(AuthError):
        token()
    assert len(whistle.asked) == 2


def test_changed_settings_are_tried_at_once(whistle: Whistle) -> None:
    whistle.answer = raising(REFUSED)
    with pytest.raises(AuthError):
        token()
    whistle.answer = lambda _: None

    credentials.put("loft", "whistle", {**WHISTLE, "tune": "two for joy"})

    assert token().value == "coo-ann-2"


def test_changed_settings_end_the_tokens_of_before_but_not_the_state(whistle: Whistle) -> None:
    token()

    assert credentials.put("loft", "whistle", {**WHISTLE, "keeper": "bob"}) == ["keeper"]

    assert token().value == "coo-bob-2"
    assert whistle.asked[-1][2] == "heard 1"


def test_mailboxes_that_waited_are_tried_when_the_issuer_agrees_again(whistle: Whistle) -> None:
    from postroom.leases import health

    mailbox = mailboxes.add("info@example.org")
    side = sides.save(mailbox, "in", "pigeon", {"host": "loft", "credential": "loft"})
    whistle.answer = raising(REFUSED)
    with pytest.raises(AuthError):
        token()
    for _ in range(5):
        health.note_failure(side, REFUSED)
    assert Side.get_by_id(side.id).next_try_at > now()
    whistle.answer = lambda _: None

    tokens.new_token("loft", "smtp", "info@example.org")

    assert Side.get_by_id(side.id).next_try_at < now()


def test_one_mailbox_that_is_refused_does_not_stop_the_others(whistle: Whistle) -> None:
    whistle.each_mailbox = True
    refused = AuthError(codes.AUTH_REFUSED, "There is no such bird.", only_this_token=True)
    whistle.answer = raising(refused)
    with pytest.raises(AuthError):
        token("nobody@example.org")
    whistle.answer = lambda _: None

    assert token("info@example.org").value == "coo-ann-2"
    with pytest.raises(AuthError, match="no such bird"):
        token("nobody@example.org")
    assert len(whistle.asked) == 2


def test_a_purpose_that_is_refused_is_not_asked_for_by_every_mailbox(
    whistle: Whistle, later: Callable[[timedelta], None]
) -> None:
    refused = AuthError(codes.AUTH_REFUSED, "Not for owls.", only_this_token=True)
    whistle.answer = raising(refused)
    for number in range(20):
        with pytest.raises(AuthError, match="Not for owls"):
            tokens.token("loft", "owl", f"box{number}@example.org")
    assert len(whistle.asked) == 1
    whistle.answer = lambda _: None
    assert token().value == "coo-ann-2"

    later(timedelta(minutes=5, seconds=1))

    assert tokens.token("loft", "owl", "info@example.org").value == "coo-ann-3"
    assert credential().refused_keys == {}


def test_the_issuers_wish_is_honoured_by_all(
    whistle: Whistle, later: Callable[[timedelta], None]
) -> None:
    busy = TransientError(codes.SERVER_BUSY, "Too many birds.", retry_after=60)
    whistle.answer = raising(busy)
    for _ in range(3):
        with pytest.raises(TransientError) as caught:
            token()
    assert caught.value.retry_after == pytest.approx(60, abs=10)
    with pytest.raises(TransientError):  # nor does a check ask
        tokens.new_token("loft", "smtp", "info@example.org")
    assert len(whistle.asked) == 1
    whistle.answer = lambda _: None
    later(timedelta(seconds=61))

    assert token().value == "coo-ann-2"


def test_a_passing_trouble_is_tried_again_by_the_next(whistle: Whistle) -> None:
    whistle.answer = raising(TransientError(codes.TIMEOUT, "The issuer sleeps."))
    with pytest.raises(TransientError):
        token()
    whistle.answer = lambda _: None

    assert token().value == "coo-ann-2"


def test_those_who_waited_share_the_failure(whistle: Whistle) -> None:
    entered, goes_on = threading.Event(), threading.Event()

    def fail(_: int) -> None:
        entered.set()
        assert goes_on.wait(30)
        raise TransientError(codes.TIMEOUT, "The issuer sleeps.")

    whistle.answer = fail
    searches = [tokens._Search("loft", "smtp", f"box{n}@example.org") for n in range(8)]

    def run(search: tokens._Search) -> Token:
        with database.connection():
            return search.run()

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(run, search) for search in searches]
        assert entered.wait(30)
        goes_on.set()
        errors = [one.exception() for one in found]

    assert all(isinstance(error, TransientError) for error in errors)
    assert len(whistle.asked) == 1


def test_a_bug_is_a_passing_trouble_and_its_words_stay_out(
    whistle: Whistle, caplog: pytest.LogCaptureFixture
) -> None:
    whistle.answer = raising(ValueError("one for sorrow is no tune"))

    with pytest.raises(TransientError) as caught:
        token()

    assert caught.value.code is codes.PLUGIN_BUG
    assert "ValueError" in str(caught.value)
    assert "raise_it" in caplog.text
    assert "sorrow" not in caplog.text + str(caught.value)


def test_unknown_credential_and_missing_kind(whistle: Whistle) -> None:
    with pytest.raises(SettingsError) as caught:
        tokens.token("lotf", "smtp", "info@example.org")
    assert caught.value.code is codes.CREDENTIAL_UNKNOWN
    assert 'did you mean "loft"' in str(caught.value)

    Credential.update(kind="microsoft").execute()
    plugins.use(FakePlugins())
    with pytest.raises(SettingsError) as caught:
        token()
    assert "pip install postroom-oauth" in caught.value.next_step


# ---------------------------------------------------------------------------- the lease


def test_another_machine_that_fetches_is_waited_for(whistle: Whistle) -> None:
    theirs = now() + timedelta(minutes=1)
    Credential.update(lease_owner="elsewhere 1 2 3", leased_until=theirs).execute()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(token)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        Credential.update(lease_owner=None, leased_until=None).execute()

        assert waiting.result(timeout=30).value == "coo-ann-1"


def test_a_dead_process_of_this_host_is_not_waited_for(whistle: Whistle) -> None:
    code = "from postroom.leases.owners import new_owner; print(new_owner())"
    dead = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    Credential.update(lease_owner=dead, leased_until=now() + timedelta(minutes=1)).execute()

    assert token().value == "coo-ann-1"


def test_a_lease_that_ran_out_is_free(whistle: Whistle) -> None:
    Credential.update(lease_owner=new_owner(), leased_until=now() - timedelta(seconds=1)).execute()

    assert token().value == "coo-ann-1"


def test_who_lost_the_lease_writes_nothing_and_asks_anew(whistle: Whistle) -> None:
    """The settings are changed while the issuer is asked with those of before."""

    def change(number: int) -> None:
        if number == 1:
            credentials.put("loft", "whistle", {**WHISTLE, "keeper": "bob"})

    whistle.answer = change

    assert token().value == "coo-bob-2"
    assert [state for _, _, state in whistle.asked] == [None, None]


def test_no_secret_or_token_is_in_the_database(whistle: Whistle, store: str) -> None:
    found = token()
    token(rejected=found)

    if store.startswith("sqlite"):
        folder = Path(store.removeprefix("sqlite:///")).parent
        content = b"".join(path.read_bytes() for path in folder.iterdir())
    else:
        rows = [*Credential.select().dicts(), *CredentialToken.select().dicts()]
        content = repr(rows).encode()
    assert b"loft" in content
    for secret in (b"sorrow", b"coo-", b"heard"):
        assert secret not in content
