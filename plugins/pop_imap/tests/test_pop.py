"""POP3, against a real Dovecot, and against scripted servers for what it does not do."""

import contextlib
import datetime
import hashlib
import threading
import time

import pytest
from postroom.api import (
    Checkpoint,
    Disposition,
    Fetched,
    Limits,
    Listed,
    Oversized,
    SettingsError,
    Settled,
    Spool,
    TransientError,
    TransportError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom_pop_imap.line import Line
from postroom_pop_imap.pop_listing import topmost_date
from postroom_pop_imap.pop_reader import PopReader
from postroom_test_servers.responder import CUT, STALL

DELETE = Disposition("delete")
AWKWARD = [
    b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.x\r\nend.\r\n",
    b"Subject: long line\r\n\r\n" + b"y" * 100_000 + b"\r\n",
    b"Subject: bytes\r\n\r\n\xff\x00\xfe\r\n",
    b"Subject: bare\n\nline\nends\n",
    b"Subject: no end",
    b"\r\n",
]


def mail(n, size=10):
    return b"Message-ID: <%d@test>\r\nSubject: %d\r\n\r\n%s\r\n" % (n, n, b"x" * size)


def fetch(receiver, wanted, **limits):
    return list(receiver.fetch(None, limits=Limits(**limits), wanted=wanted))


@pytest.mark.parametrize("spool_above", [1 << 20, 16], ids=["in memory", "in files"])
def test_bytes_are_those_of_the_server(dovecot, open_pop, everything, raws, spool_above):
    account = dovecot.new_user()
    account.append(*AWKWARD)

    items = fetch(open_pop(account), everything, spool_above=spool_above)

    # POP ends every message with a line end (RFC 1939 section 3), and may hold NUL, as IMAP may not
    expected = [message.raw.replace(b"\x80", b"\0") for message in account.messages()]
    assert raws(items) == [raw if raw.endswith(b"\r\n") else raw + b"\r\n" for raw in expected]
    assert items[-1] == Checkpoint("")


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_connection_is_encrypted(dovecot, open_pop, everything, raws, authority, security):
    account = dovecot.new_user()
    account.append(mail(1))
    receiver = open_pop(account, security=security, ca_file=str(authority.ca_file))

    assert raws(fetch(receiver, everything)) == [mail(1)]


def test_only_what_is_wanted_is_fetched(dovecot, open_pop, raws):
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(5)))

    items = fetch(open_pop(account), lambda listed: [item.ref for item in listed[1::2]])

    assert raws(items) == [mail(1), mail(3)]


def test_refs_stay_the_same(dovecot, open_pop, everything):
    account = dovecot.new_user()
    account.append(mail(1), mail(2))
    receiver = open_pop(account)

    fetched = [item.ref for item in fetch(receiver, everything) if isinstance(item, Fetched)]

    assert [item.ref for item in receiver.list_refs()] == fetched
    assert len(set(fetched)) == 2


def test_dates_are_asked_for_only_those_wanted(dovecot, open_pop):
    account = dovecot.new_user()
    received = b"Received: from a by b\r\n\tfor <c>; Tue, 1 Jul 2003 10:52:37 +0200\r\n"
    account.append(received + mail(1), mail(2), received + mail(3))
    asked = []

    def wanted(listed):
        asked.append(listed)
        return [item.ref for item in listed[:2]]

    items = fetch(open_pop(account), wanted, received_dates=True)

    date = datetime.datetime(2003, 7, 1, 8, 52, 37, tzinfo=datetime.UTC)
    assert [[item.received_at for item in page] for page in asked] == [[None] * 3, [date, None]]
    assert [item.received_at for item in items[:2]] == [date, None]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Subject: x\r\n\r\nReceived: a; Tue, 1 Jul 2003 10:52:37 +0200",
        b"Received: no date\r\n",
        b"Received: a; Tue, 99 Jul 2003 10:52:37 +0200\r\n",
        b"Received: a; Tue, 1 Jul 99999999999 10:52:37 +0200\r\n",
        b"Received: a; 1 Jul 2003 10:52:37 +9999\r\n",
        b"Received: \xff\x00;\xff\r\n",
        b"Received:" + b"\r\n ;" * 10_000,
    ],
)
def test_header_without_a_usable_date_has_none(header):
    assert topmost_date(header) is None


def test_large_message_becomes_a_spool(dovecot, open_pop, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1, 3_000_000), mail(2))

    items = fetch(open_pop(account), everything, spool_above=1_000_000)

    assert isinstance(items[0].raw, Spool)
    assert raws(items) == [mail(1, 3_000_000), mail(2)]


def test_oversized_message_is_not_downloaded(dovecot, open_pop, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1, 50_000), mail(2))

    items = fetch(open_pop(account), everything, max_message_bytes=10_000)

    assert isinstance(items[0], Oversized)
    assert raws(items) == [mail(2)]


def test_understated_size_does_not_get_past_the_limits(start_pop, open_pop, everything, raws):
    huge = b"+OK\r\n" + b"..xxxxxx\r\n" * 30_000 + b".\r\n"
    server = start_pop({"RETR 1": huge})
    receiver = open_pop(port=server.port)

    refused = fetch(receiver, everything, spool_above=1000, max_message_bytes=100_000)
    spooled = fetch(receiver, everything, spool_above=1000)

    assert refused[0] == Oversized("first", 270_000)
    assert raws(refused) == [b"S: b\r\n\r\n2\r\n"]
    assert raws(spooled)[0] == b".xxxxxx\r\n" * 30_000


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64])
@pytest.mark.parametrize("spool_above", [0, 10, 10_000])
def test_text_is_the_same_however_it_arrives(raws, size, spool_above):
    """Every cut of the bytes into pieces, dots and ends included."""

    class Pieces:
        def __init__(self, sent):
            self.sent = sent

        def read1(self, most):
            piece, self.sent = self.sent[:size], self.sent[size:]
            return piece

    text = b"..\r\n..a\r\n\r.\n..\r\r\n..\r\n\r\n..\r\n...\r\nx"
    reader = PopReader(Line("h", 1, 1), Pieces(text + b"\r\n.\r\n+OK next\r\n.\r\n+OK\r\n"))

    found = reader.read_text(spool_above=spool_above, most=10_000)

    assert raws([Fetched("", found)]) == [b".\r\n.a\r\n\r.\n..\r\r\n.\r\n\r\n.\r\n..\r\nx\r\n"]
    assert reader.read_status() == b"+OK next"
    assert reader.read_text(spool_above=9, most=9) == b""
    assert reader.read_status() == b"+OK"


def test_server_without_uidl_is_unfit(start_pop, open_pop):
    server = start_pop({"UIDL": b"-ERR unknown command\r\n"})

    with pytest.raises(SettingsError) as caught:
        list(open_pop(port=server.port).list_refs())

    assert caught.value.code is codes.SERVER_UNFIT


LONG_ID = b"x" * 501


@pytest.mark.parametrize(
    ("unique_id", "ref"),
    [
        (b"caf\xc3\xa9", "escaped caf%C3%A9"),
        (b"\xff\xfe", "escaped %FF%FE"),
        (b"\x00%\x7f", "escaped %00%25%7F"),
        (LONG_ID, f"digest sha256:{hashlib.sha256(LONG_ID).hexdigest()}"),
        (b"y" * 500, "y" * 500),
    ],
)
def test_message_with_an_odd_unique_id_is_retrieved_and_deleted(
    start_pop, open_pop, everything, raws, unique_id, ref
):
    listing = b"+OK\r\n1 %s\r\n2 second\r\n.\r\n" % unique_id
    server = start_pop({r"UIDL\r\n": listing})
    receiver = open_pop(port=server.port)

    items = fetch(receiver, everything)
    outcomes = list(receiver.settle([ref], DELETE))

    assert [item.ref for item in items[:2]] == [ref, "second"]
    assert raws(items) == [b"S: a\r\n\r\n1\r\n", b"S: b\r\n\r\n2\r\n"]
    assert outcomes == [Settled(ref)]
    assert [heard for heard in server.heard if heard.startswith(b"DELE")] == [b"DELE 1\r\n"]


def test_odd_unique_ids_are_no_other_messages_refs(start_pop, open_pop):
    """Neither of one that looks like the escaped form, nor of a second one with the same id."""
    ids = [b"\xe9", b"%E9", b"escaped", b"escaped", b"\xe9", b"no", b"no", b"", b"", b"%", b"%"]
    listing = b"".join(b"%d %s\r\n" % (number, one) for number, one in enumerate(ids, 1))
    server = start_pop({r"UIDL\r\n": b"+OK\r\n%s.\r\n" % listing})

    refs = [item.ref for item in open_pop(port=server.port).list_refs()]

    assert len(set(refs)) == len(ids)


@pytest.mark.parametrize("listing", [b"1 \r\n2 second\r\n", b"1\r\n2 second\r\n", b"2 second\r\n"])
def test_message_without_a_unique_id_is_unavailable_and_the_others_come(
    start_pop, open_pop, everything, raws, listing
):
    server = start_pop({r"UIDL\r\n": b"+OK\r\n%s.\r\n" % listing})
    receiver = open_pop(port=server.port)

    items = fetch(receiver, everything)
    outcomes = list(receiver.settle(["no id 9", "second"], DELETE))

    [unavailable] = [item for item in items if isinstance(item, Unavailable)]
    assert (unavailable.ref, unavailable.size) == ("no id 9", 9)
    assert unavailable.error.code is codes.MESSAGE_WITHOUT_ID
    assert raws(items) == [b"S: b\r\n\r\n2\r\n"]
    assert [item.ref for item in receiver.list_refs()] == ["no id 9", "second"]
    assert [type(one) for one in outcomes] == [Unsettled, Settled]
    assert [heard for heard in server.heard if heard.startswith(b"DELE")] == [b"DELE 2\r\n"]


def test_refused_message_that_is_still_listed_is_unavailable(start_pop, open_pop, everything, raws):
    server = start_pop({"RETR 1": b"-ERR cannot render\r\n"})

    items = fetch(open_pop(port=server.port), everything)

    assert raws(items) == [b"S: b\r\n\r\n2\r\n"]
    unavailable = [item for item in items if isinstance(item, Unavailable)]
    assert [item.ref for item in unavailable] == ["first"]
    assert "cannot render" in unavailable[0].error.sentence


def test_message_that_vanished_is_not_yielded(start_pop, open_pop, everything):
    server = start_pop({"RETR 1": b"-ERR no such message\r\n", r"UIDL 1": b"-ERR gone\r\n"})

    items = fetch(open_pop(port=server.port), everything)

    assert [type(item) for item in items] == [Fetched, Checkpoint]


def test_answers_out_of_step_never_give_one_message_the_name_of_another(
    start_pop, open_pop, everything
):
    """Dovecot does not stuff a dot in the first line: the text seems to end at once."""
    server = start_pop({"RETR 1": b"+OK\r\n.\r\n+OK\r\nevil\r\n.\r\n"})
    run = open_pop(port=server.port).fetch(None, limits=Limits(), wanted=everything)
    items = []

    with pytest.raises(TransientError) as caught:
        items.extend(run)

    assert caught.value.code is codes.PROTOCOL
    assert [(type(item), item.ref) for item in items] == [(Unavailable, "first")]


def test_server_without_pipelining_gets_one_command_at_a_time(start_pop, open_pop, everything):
    server = start_pop({"CAPA": b"-ERR what?\r\n"})

    assert len(fetch(open_pop(port=server.port), everything)) == 3


# ---------------------------------------------------------------- settling


def test_delete_removes_those_only(dovecot, open_pop):
    account = dovecot.new_user()
    account.append(mail(1), mail(2), mail(3))
    receiver = open_pop(account)
    refs = [item.ref for item in receiver.list_refs()]

    outcomes = list(receiver.settle([refs[2], refs[0]], DELETE))

    assert outcomes == [Settled(refs[2]), Settled(refs[0])]
    assert [message.raw for message in account.messages()] == [mail(2)]


def test_gone_messages_count_as_settled(dovecot, open_pop):
    outcomes = list(open_pop(dovecot.new_user()).settle(["gone", "\r\nQUIT"], DELETE))

    assert outcomes == [Settled("gone"), Settled("\r\nQUIT")]


def test_leave_needs_no_server(open_pop):
    assert list(open_pop(port=1).settle(["a"], Disposition("leave"))) == [Settled("a")]


@pytest.mark.parametrize("disposition", [Disposition("seen"), Disposition("move", "A")], ids=str)
def test_other_dispositions_are_settings_errors(open_pop, disposition):
    with pytest.raises(SettingsError) as caught:
        list(open_pop(port=1).settle(["a"], disposition))

    assert caught.value.code is codes.DISPOSITION_UNSUPPORTED


def test_refused_quit_settles_nothing(start_pop, open_pop):
    server = start_pop({"QUIT": b"-ERR some deleted messages not removed\r\n"})

    outcomes = list(open_pop(port=server.port).settle(["first", "second"], DELETE))

    assert [type(one) for one in outcomes] == [Unsettled, Unsettled]


def test_connection_lost_at_quit_settles_nothing(start_pop, open_pop):
    server = start_pop({"QUIT": CUT})
    outcomes = []

    with pytest.raises(TransientError):
        outcomes.extend(open_pop(port=server.port).settle(["first"], DELETE))

    assert outcomes == []


def test_refused_deletion_is_unsettled_and_the_others_are_settled(start_pop, open_pop):
    server = start_pop({"DELE 1": b"-ERR locked\r\n"})

    outcomes = list(open_pop(port=server.port).settle(["first", "second"], DELETE))

    assert [type(one) for one in outcomes] == [Unsettled, Settled]


def test_messages_that_share_a_unique_id_are_deleted_together_or_not_at_all(start_pop, open_pop):
    server = start_pop({r"UIDL\r\n": b"+OK\r\n1 same\r\n2 same\r\n.\r\n"})
    receiver = open_pop(port=server.port)

    refs = [item.ref for item in receiver.list_refs()]
    one = list(receiver.settle(refs[:1], DELETE))
    deleted = [heard for heard in server.heard if heard.startswith(b"DELE")]
    both = list(receiver.settle(refs, DELETE))

    assert len(set(refs)) == 2
    assert [type(outcome) for outcome in one] == [Unsettled]
    assert deleted == []
    assert both == [Settled(ref) for ref in refs]


# ---------------------------------------------------------------- broken connections


def test_fetch_cut_anywhere_goes_on_where_it_was(dovecot, open_pop, start_proxy):
    account = dovecot.new_user()
    account.append(*(mail(n, 60) for n in range(12)))
    whole = [message.raw for message in account.messages()]
    proxy = start_proxy(dovecot.pop3)
    for cut_at in range(1, 2600, 53):
        proxy.break_after(received=cut_at, faults=1)
        stored = {}
        for _ in range(2):
            with contextlib.suppress(TransientError):
                for item in open_pop(account, port=proxy.port).fetch(
                    None,
                    limits=Limits(batch_count=5),
                    wanted=lambda listed, known=stored: {one.ref for one in listed} - known.keys(),
                ):
                    if not isinstance(item, Checkpoint):
                        assert isinstance(item, Fetched)
                        assert item.ref not in stored
                        stored[item.ref] = item.raw
        assert list(stored.values()) == whole, cut_at


def test_delete_cut_anywhere_settles_only_what_is_gone(dovecot, open_pop, start_proxy):
    for cut_at in range(20, 600, 40):
        account = dovecot.new_user()
        account.append(mail(1), mail(2))
        refs = [item.ref for item in open_pop(account).list_refs()]
        proxy = start_proxy(dovecot.pop3)
        proxy.break_after(received=cut_at)
        settled = []
        with contextlib.suppress(TransientError):
            settled.extend(open_pop(account, port=proxy.port).settle(refs, DELETE))
        if settled:
            assert account.messages() == []


@pytest.mark.parametrize("command", ["PASS", "UIDL", "LIST", "RETR 1"])
def test_silent_server_is_a_timeout(start_pop, open_pop, everything, command):
    server = start_pop({command: STALL})

    with pytest.raises(TransientError) as caught:
        fetch(open_pop(port=server.port, timeout_seconds=0.3), everything)

    assert caught.value.code is codes.TIMEOUT


def test_interrupt_ends_a_blocked_fetch_at_once(start_pop, open_pop, everything):
    receiver = open_pop(port=start_pop({"RETR 1": STALL}).port, timeout_seconds=30)
    timer = threading.Timer(0.2, receiver.interrupt)
    timer.start()
    began = time.monotonic()

    with pytest.raises(TransientError, match="interrupted"):
        fetch(receiver, everything)

    timer.join()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n",
        b"+OK\r\nx y z\r\n\xff\r\n1\r\n.\r\n",
        b"+OK\r\n1 \x01\r\n.\r\n",
        b"+OK\r\n1 " + b"x" * 5000 + b"\r\n.\r\n",
        b"+OK\r\n99999999999999999999999 a\r\n.\r\n",
        b"+OK\r\n" + CUT,
        b"-ERR\r\n",
        b"x" * 100_000,
    ],
)
@pytest.mark.parametrize("command", ["CAPA", "UIDL", "LIST", "RETR", "TOP", "DELE", "QUIT"])
def test_nonsense_raises_the_contracts_errors_only(
    start_pop, open_pop, everything, command, answer
):
    server = start_pop({command: answer + CUT})
    receiver = open_pop(port=server.port, timeout_seconds=5)

    with contextlib.suppress(TransportError):
        fetch(receiver, everything, received_dates=True)
    with contextlib.suppress(TransportError):
        list(receiver.settle(["first"], DELETE))


def test_check_reports_every_step(dovecot, open_pop, authority):
    receiver = open_pop(dovecot.new_user(), security="tls", ca_file=str(authority.ca_file))

    found = {step.name: step.outcome for step in receiver.check()}

    assert found == dict.fromkeys(["resolve", "connect", "tls", "log in", "list"], "ok")


def test_check_skips_what_follows_a_failure(dovecot, open_pop):
    steps = list(open_pop(dovecot.new_user(), password="wrong").check())

    assert [step.outcome for step in steps] == ["ok", "ok", "fail", "skip"]


def test_listing_tells_sizes(start_pop, open_pop):
    receiver = open_pop(port=start_pop().port)

    assert list(receiver.list_refs()) == [Listed("first", None, 9), Listed("second", None, 9)]


def test_server_without_pipelining_need_not_wait_for_acknowledgements(
    start_pop, open_pop, everything, monkeypatch
):
    """It may hold back all but the first line of an answer until then, 40 ms for each message."""
    hurried = []
    at_once = Line.acknowledge_at_once
    monkeypatch.setattr(Line, "acknowledge_at_once", lambda line: hurried.append(at_once(line)))

    fetch(open_pop(port=start_pop({"CAPA": b"-ERR what?\r\n"}).port), everything)
    for_an_old_one = len(hurried)
    fetch(open_pop(port=start_pop().port), everything)

    assert for_an_old_one == 7  # CAPA twice, UIDL, LIST, RETR twice, QUIT
    assert len(hurried) - for_an_old_one == 2  # CAPA twice: only then it is known
