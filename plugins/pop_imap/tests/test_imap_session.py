"""Waiting, interrupting, breaking, checking: what a session does besides fetching."""

import contextlib
import threading
import time

import pytest
from postroom.api import (
    Checkpoint,
    Disposition,
    Fetched,
    Limits,
    TransientError,
    TransportError,
    codes,
)
from postroom_test_servers.responder import CUT, STALL

IDLES = {"CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE\r\nTAG OK done\r\n"}


def mail(n):
    return b"Message-ID: <%d@test>\r\nSubject: %d\r\n\r\n%s\r\n" % (n, n, b"x" * 60)


@contextlib.contextmanager
def soon(action, seconds=0.2):
    timer = threading.Timer(seconds, action)
    timer.start()
    yield
    timer.join()


def test_wait_wakes_on_a_new_message(dovecot, open_imap):
    account = dovecot.new_user()
    receiver = open_imap(account)
    began = time.monotonic()

    with soon(lambda: account.append(mail(1)), 0.5):
        assert receiver.wait(20)

    assert time.monotonic() - began < 10


def test_news_between_two_waits_is_told(dovecot, open_imap):
    account = dovecot.new_user()
    receiver = open_imap(account)
    receiver.wait(0)

    account.append(mail(1))

    assert receiver.wait(20)


def test_wait_ends_without_news(dovecot, open_imap):
    assert open_imap(dovecot.new_user()).wait(0.3) is False


def test_wait_sleeps_where_idle_is_missing(plain_dovecot, open_imap):
    assert open_imap(plain_dovecot.new_user()).wait(0.1) is True


def test_wait_is_reissued(dovecot, open_imap, monkeypatch):
    monkeypatch.setattr("postroom_pop_imap.imap.REISSUE_SECONDS", 0.1)

    assert open_imap(dovecot.new_user()).wait(0.5) is False


def test_session_goes_on_after_waiting(dovecot, open_imap):
    account = dovecot.new_user()
    receiver = open_imap(account)
    receiver.wait(0.1)
    account.append(mail(1))

    assert len(list(receiver.list_refs())) == 1


@pytest.mark.parametrize(
    "answer",
    [b"+ idling\r\n" + CUT, CUT, b"+ idling\r\n* BYE good night\r\n" + CUT],
    ids=["cut in", "cut at once", "goodbye"],
)
def test_wait_tells_that_the_connection_is_lost(start_imap, open_imap, answer):
    server = start_imap({**IDLES, "IDLE": answer})

    with pytest.raises(TransientError):
        open_imap(port=server.port).wait(5)


@pytest.mark.parametrize("answer", [STALL, b"+ idling\r\n"], ids=["no answer", "no end"])
def test_wait_never_hangs(start_imap, open_imap, answer):
    server = start_imap({**IDLES, "IDLE": answer, "DONE": STALL})

    with pytest.raises(TransientError) as caught:
        open_imap(port=server.port, timeout_seconds=0.5).wait(0.3)

    assert caught.value.code is codes.TIMEOUT


def test_refused_idle_is_told(start_imap, open_imap):
    server = start_imap({**IDLES, "IDLE": b"TAG NO not today\r\n"})

    with pytest.raises(TransientError, match="not today"):
        open_imap(port=server.port).wait(5)


def test_interrupt_ends_waiting_at_once(dovecot, plain_dovecot, open_imap):
    for server in (dovecot, plain_dovecot):
        receiver = open_imap(server.new_user())
        began = time.monotonic()

        with soon(receiver.interrupt), contextlib.suppress(TransientError):
            receiver.wait(20)

        assert time.monotonic() - began < 5


@pytest.mark.parametrize("command", ["LOGIN", "EXAMINE", "UID SEARCH", r"UID FETCH \S+ \(UID BODY"])
def test_interrupt_ends_a_blocked_fetch_at_once(start_imap, open_imap, everything, command):
    server = start_imap({command: STALL})
    receiver = open_imap(port=server.port, timeout_seconds=30)
    began = time.monotonic()

    with soon(receiver.interrupt), pytest.raises(TransientError, match="interrupted"):
        list(receiver.fetch(None, limits=Limits(), wanted=everything))

    assert time.monotonic() - began < 5


def test_interrupted_session_stays_interrupted(dovecot, open_imap):
    receiver = open_imap(dovecot.new_user())
    receiver.interrupt()
    receiver.interrupt()

    with pytest.raises(TransientError, match="interrupted"):
        list(receiver.list_refs())


def test_interrupt_over_tls(dovecot, open_imap, authority):
    receiver = open_imap(dovecot.new_user(), security="tls", ca_file=str(authority.ca_file))
    list(receiver.list_refs())

    with soon(receiver.interrupt), pytest.raises(TransientError, match="interrupted"):
        receiver.wait(20)


def test_close_twice_and_without_a_connection(dovecot, open_imap):
    receiver = open_imap(dovecot.new_user())
    receiver.close()
    list(receiver.list_refs())
    receiver.close()
    receiver.close()


@pytest.mark.parametrize("command", ["CAPABILITY", "LOGIN", "EXAMINE", "UID SEARCH", "UID FETCH"])
def test_silent_server_is_a_timeout(start_imap, open_imap, everything, command):
    server = start_imap({command: STALL})
    receiver = open_imap(port=server.port, timeout_seconds=0.3)

    with pytest.raises(TransientError) as caught:
        list(receiver.fetch(None, limits=Limits(), wanted=everything))

    assert caught.value.code is codes.TIMEOUT


def test_error_of_the_caller_passes_unchanged(dovecot, open_imap):
    account = dovecot.new_user()
    account.append(mail(1))

    def wanted(listed):
        raise OSError("the core's own")

    with pytest.raises(OSError, match="the core's own"):
        list(open_imap(account).fetch(None, limits=Limits(), wanted=wanted))


def test_fetch_cut_anywhere_goes_on_where_it_was(dovecot, open_imap, start_proxy):
    """Whatever the number of bytes before the cut: nothing lost, nothing doubled, no hang."""
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(12)))
    whole = [message.raw for message in account.messages()]
    proxy = start_proxy(dovecot.imap)
    for fault in ("cut", "reset"):
        for cut_at in range(1, 3300, 53):
            proxy.break_after(received=cut_at, fault=fault, faults=1)
            stored, cursor = {}, None
            for _ in range(2):
                with contextlib.suppress(TransientError):
                    run = open_imap(account, port=proxy.port).fetch(
                        cursor,
                        limits=Limits(batch_count=5),
                        wanted=lambda listed, known=stored: {
                            item.ref for item in listed if item.ref not in known
                        },
                    )
                    for item in run:
                        if isinstance(item, Checkpoint):
                            cursor = item.cursor
                        else:
                            assert isinstance(item, Fetched)
                            assert item.ref not in stored
                            stored[item.ref] = item.raw
            assert list(stored.values()) == whole, cut_at


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n",
        b"* 1 FETCH (UID 1 BODY[] {99999999999999}\r\nx" + CUT,
        b"* 1 FETCH (UID 1 BODY[] {9}\r\nS: a" + CUT,
        b"* 1 FETCH (UID 1 BODY[] {9}\r\nS: a\r\n\r\n1" + CUT,
        b'* 1 FETCH (UID 99999999999999999999 BODY[] "\\',
        b"* 1 FETCH ((((\r\n* FETCH\r\n* 1\r\n*\r\n\r\n",
        b"* LIST\r\np9999 OK other\r\n",
        b"\xff\xfe\r\n",
        b"TAG\r\n",
        b"TAG WHAT\r\n",
    ],
)
@pytest.mark.parametrize("command", ["EXAMINE", "UID SEARCH", "UID FETCH", "LIST", "UID MOVE"])
def test_nonsense_raises_the_contracts_errors_only(
    start_imap, open_imap, everything, command, answer
):
    server = start_imap({command: answer + CUT})
    receiver = open_imap(port=server.port, timeout_seconds=5)

    with contextlib.suppress(TransportError):
        list(receiver.fetch(None, limits=Limits(), wanted=everything))
    with contextlib.suppress(TransportError):
        list(receiver.settle(["INBOX;7;1"], Disposition("move", "A/B")))


# ---------------------------------------------------------------- check


def outcomes(receiver):
    return {step.name: step.outcome for step in receiver.check()}


def test_check_reports_every_step(dovecot, open_imap, authority):
    receiver = open_imap(dovecot.new_user(), security="tls", ca_file=str(authority.ca_file))

    assert outcomes(receiver) == dict.fromkeys(
        ["resolve", "connect", "tls", "log in", "IDLE", "MOVE", "UIDPLUS", "folder INBOX",
         "folder INBOX: write"], "ok",
    )  # fmt: skip


def test_check_warns_of_what_the_server_lacks(plain_dovecot, open_imap):
    found = outcomes(open_imap(plain_dovecot.new_user()))

    assert (found["IDLE"], found["MOVE"], found["UIDPLUS"]) == ("warn", "warn", "warn")


def test_what_imap4rev2_has_need_not_be_listed(start_imap, open_imap):
    offered = b"* CAPABILITY IMAP4rev1 IMAP4rev2\r\nTAG OK done\r\n"
    server = start_imap({"CAPABILITY": offered})

    found = outcomes(open_imap(port=server.port))

    assert (found["IDLE"], found["MOVE"], found["UIDPLUS"]) == ("ok", "ok", "ok")


def test_check_skips_what_follows_a_failure(dovecot, open_imap):
    found = outcomes(open_imap(dovecot.new_user(), password="wrong"))

    assert found == {"resolve": "ok", "connect": "ok", "log in": "fail", "folder INBOX": "skip"}


def test_check_shows_the_folders_that_exist(dovecot, open_imap):
    account = dovecot.new_user()
    account.folder_path("Sales")
    steps = list(open_imap(account, folders=["Nowhere", "Sales"]).check())

    failed = next(step for step in steps if step.outcome == "fail")
    assert failed.name == "folder Nowhere"
    assert "INBOX, Sales" in failed.detail
    assert steps[-1].name == "folder Sales: write"


def test_check_survives_a_connection_lost_in_the_middle(start_imap, open_imap):
    server = start_imap({"EXAMINE": CUT})

    assert outcomes(open_imap(port=server.port, folders=["INBOX", "A"]))["folder INBOX"] == "fail"
