"""Sessions of POP3 that break: over one message each time, or because the network is bad."""

import os
import threading

import pytest
from postroom.api import (
    Checkpoint,
    Fetched,
    Limits,
    TransientError,
    TransportError,
    Unavailable,
    codes,
)
from postroom_pop_imap import pop
from postroom_test_servers.dovecot import running_dovecot
from postroom_test_servers.responder import CUT

NO_PIPELINING = b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\n.\r\n"
DATE = b"Received: a; Tue, 1 Jul 2003 10:52:37 +0200\r\n"


def text(ref):
    return DATE + b"S: %s\r\n\r\n%s\r\n" % (ref, b"x" * 20)


class Maildrop:
    """What a scripted server holds; a new listing at each session, as numbers are the session's.

    :param breaks: ref → what is answered over it, to TOP as to RETR
    """

    def __init__(self, refs, breaks):
        self.refs, self.breaks = refs.split(), breaks
        self.sessions = 0

    def table(self, **more):
        table = {
            r"UIDL\r\n": self.list,
            r"UIDL \d": self.look_up,
            "LIST": lambda heard: self.listing([b"%d" % len(text(ref)) for ref in self.refs]),
            "RETR|TOP": self.serve,
        }
        return more | {command: table[command] for command in table.keys() - more.keys()}

    def list(self, heard):
        self.sessions += 1
        return self.listing(self.refs)

    @staticmethod
    def listing(words):
        lines = [b"%d %s\r\n" % (number, word) for number, word in enumerate(words, 1)]
        return b"+OK\r\n%s.\r\n" % b"".join(lines)

    def look_up(self, heard):
        return b"+OK\r\n" if int(heard.split()[1]) <= len(self.refs) else b"-ERR gone\r\n"

    def serve(self, heard):
        ref = self.refs[int(heard.split()[1]) - 1]
        return self.breaks.get(ref, b"+OK\r\n" + text(ref) + b".\r\n")


@pytest.fixture
def run(start_pop, open_pop):
    """Fetch from a scripted maildrop: the refs that came, and those that could not be read."""

    def fetch_from(maildrop, *, wanted=lambda listed: [one.ref for one in listed], **more):
        limits = Limits(received_dates=more.pop("received_dates", False))
        receiver = open_pop(port=start_pop(maildrop.table(**more)).port)
        items = list(receiver.fetch(None, limits=limits, wanted=wanted))
        assert items.pop() == Checkpoint("")
        for item in items:
            assert not isinstance(item, Fetched) or item.raw == text(item.ref.encode())
        assert {type(item) for item in items} <= {Fetched, Unavailable}
        came = [item.ref for item in items if isinstance(item, Fetched)]
        return came, [item.ref for item in items if isinstance(item, Unavailable)]

    return fetch_from


ENDINGS = {
    "hangs up": CUT,
    "breaks off": b"+OK\r\nS: half a te" + CUT,
    "refuses and hangs up": b"-ERR cannot render\r\n" + CUT,
    "has an error and hangs up": b"-ERR [SYS/TEMP] internal error\r\n" + CUT,
    "has an error": b"-ERR [SYS/PERM] internal error\r\n",
}


@pytest.mark.parametrize("offered", [{}, {"CAPA": NO_PIPELINING}], ids=["pipelining", "plain"])
@pytest.mark.parametrize("dates", [False, True], ids=["", "dates"])
@pytest.mark.parametrize("bad", [b"a", b"c", b"e", b"a b", b"d e", b"a b c d"])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_message_over_which_the_session_ends_does_not_stop_the_maildrop(
    run, ending, bad, dates, offered
):
    maildrop = Maildrop(b"a b c d e", dict.fromkeys(bad.split(), ending))

    came, unreadable = run(maildrop, received_dates=dates, **offered)

    assert came == [ref for ref in "abcde" if ref not in bad.decode().split()]
    assert sorted(unreadable) == bad.decode().split()
    assert maildrop.sessions <= 3 + 4 * len(bad.split())


def test_damaged_messages_in_a_row_do_not_stop_the_maildrop(run):
    refs = [b"m%d" % n for n in range(60)]
    maildrop = Maildrop(b" ".join(refs), dict.fromkeys(refs[10:50], CUT))

    came, unreadable = run(maildrop)

    assert len(came) == 20
    assert unreadable == [ref.decode() for ref in refs[10:50]]


def test_nothing_is_asked_twice_without_a_date(run):
    """A second question without a date means that there is none: such mail may count as old."""
    asked = []

    def wanted(listed):
        asked.extend((one.ref, one.received_at is not None) for one in listed)
        return [one.ref for one in listed]

    run(Maildrop(b"a b c", {b"b": CUT}), wanted=wanted, received_dates=True)

    assert sorted(asked) == [("a", False), ("a", True), ("b", False), ("c", False), ("c", True)]


def test_message_that_is_tried_again_later_is_unreadable_again(run):
    """The others have receipts, so that nothing else is wanted."""
    maildrop = Maildrop(b"a b c", {b"b": CUT})

    assert run(maildrop, wanted=lambda listed: ["b"]) == ([], ["b"])


def test_messages_are_found_again_where_their_numbers_have_changed(run):
    maildrop = Maildrop(b"a b c d e", {b"c": CUT})

    def serve(heard):
        answer = maildrop.serve(heard)
        if answer == CUT:  # meanwhile another program removes what came before
            maildrop.refs = [ref for ref in maildrop.refs if ref not in (b"a", b"d")]
        return answer

    came, unreadable = run(maildrop, RETR=serve, CAPA=NO_PIPELINING)

    assert (came, unreadable) == (["a", "b", "e"], ["c"])


def test_message_that_vanishes_meanwhile_is_not_yielded(run):
    maildrop = Maildrop(b"a b c", {b"b": CUT})

    def log_in(heard):
        if maildrop.sessions == 2:
            maildrop.refs.remove(b"b")
        return b"+OK\r\n"

    assert run(maildrop, PASS=log_in) == (["a", "c"], [])


@pytest.mark.parametrize(
    "refusal",
    [
        b"-ERR [IN-USE] Do you have another POP session running?\r\n",
        b"-ERR [LOGIN-DELAY] minimum time between mail checks violation\r\n",
        b"-ERR maildrop already locked\r\n",
        b"-ERR [SYS/TEMP] come back later\r\n" + CUT,
    ],
)
def test_server_may_need_a_moment_before_the_next_session(run, monkeypatch, refusal):
    monkeypatch.setattr(pop, "_PAUSES", (0, 0, 0))
    answers = iter([b"+OK\r\n"] + [refusal, refusal, b"+OK\r\n"] * 9)

    came, unreadable = run(Maildrop(b"a b c", {b"b": CUT}), PASS=lambda heard: next(answers))

    assert (came, unreadable) == (["a", "c"], ["b"])


def test_maildrop_that_stays_locked_is_no_wrong_password(
    start_pop, open_pop, everything, monkeypatch
):
    monkeypatch.setattr(pop, "_PAUSES", (0, 0, 0))
    maildrop = Maildrop(b"a b c", {b"b": CUT})
    answers = iter([b"+OK\r\n"] + [b"-ERR maildrop already locked\r\n"] * 3)
    server = start_pop(maildrop.table(PASS=lambda heard: next(answers)))

    with pytest.raises(TransientError, match="already locked") as caught:
        list(open_pop(port=server.port).fetch(None, limits=Limits(), wanted=everything))

    assert caught.value.code is codes.SERVER_BUSY


def test_waiting_for_the_next_session_is_interrupted_at_once(
    start_pop, open_pop, everything, monkeypatch
):
    monkeypatch.setattr(pop, "_PAUSES", (0, 300))
    refused = threading.Event()
    answers = iter([b"+OK\r\n"])

    def log_in(heard):
        if answer := next(answers, None):
            return answer
        refused.set()
        return b"-ERR [IN-USE] locked\r\n"

    server = start_pop(Maildrop(b"a b", {b"a": CUT}).table(PASS=log_in))
    receiver = open_pop(port=server.port)
    helper = threading.Thread(target=lambda: (refused.wait(10), receiver.interrupt()))
    helper.start()

    with pytest.raises(TransientError, match="interrupted"):
        list(receiver.fetch(None, limits=Limits(), wanted=everything))

    helper.join()


# ---------------------------------------------------------------- the network's fault


@pytest.mark.parametrize(
    ("command", "ending"),
    [
        ("RETR", "hangs up"),
        ("RETR", "breaks off"),
        ("RETR", "has an error and hangs up"),
        ("RETR", "has an error"),
        ("TOP", "hangs up"),
        ("TOP", "breaks off"),
    ],
)
def test_session_that_always_ends_is_no_messages_fault(
    start_pop, open_pop, everything, command, ending
):
    maildrop = Maildrop(b"a b c d e f g h", {})
    server = start_pop(maildrop.table(**{command: ENDINGS[ending]}))
    items = []

    with pytest.raises(TransportError):
        items.extend(
            open_pop(port=server.port).fetch(
                None, limits=Limits(received_dates=command == "TOP"), wanted=everything
            )
        )

    assert items == []
    assert maildrop.sessions < 20


def test_only_message_of_a_maildrop_is_tried_again(start_pop, open_pop, everything):
    server = start_pop(Maildrop(b"a", {b"a": CUT}).table())

    with pytest.raises(TransientError):
        list(open_pop(port=server.port).fetch(None, limits=Limits(), wanted=everything))


@pytest.mark.parametrize("every", [2, 3, 5])
@pytest.mark.parametrize("dates", [False, True], ids=["", "dates"])
def test_connection_that_breaks_now_and_then_makes_nothing_unreadable(run, every, dates):
    """Whichever message it is, in a session of its own it comes."""
    refs = [b"m%d" % n for n in range(12)]
    maildrop = Maildrop(b" ".join(refs), {})
    served = 0

    def list_anew(heard):
        nonlocal served
        served = 0
        return maildrop.list(heard)

    def serve(heard):
        nonlocal served
        served += 1
        return b"+OK\r\nS: ha" + CUT if served == every else maildrop.serve(heard)

    came, unreadable = run(
        maildrop, received_dates=dates, **{r"UIDL\r\n": list_anew, "RETR|TOP": serve}
    )

    assert (came, unreadable) == ([ref.decode() for ref in refs], [])


def test_what_shows_that_others_can_be_read_is_not_out_of_step(run):
    """`a` seems to be empty, and its text is the answer to the next command."""
    evil = b"+OK\r\n.\r\n+OK\r\nevil\r\n.\r\n"
    maildrop = Maildrop(b"a b c", {b"a": evil, b"b": CUT})

    assert run(maildrop, wanted=lambda listed: ["b", "c"]) == (["c"], ["b"])


# ---------------------------------------------------------------- Dovecot


@pytest.mark.parametrize("dates", [False, True], ids=["", "dates"])
def test_empty_file_in_a_dbox_does_not_stop_the_maildrop(authority, open_pop, everything, dates):
    """Dovecot (2.3.19) dies of it, at TOP as at RETR."""
    certificate = authority.issue("localhost", "127.0.0.1")
    with running_dovecot(certificate, extra="mail_location = sdbox:~/sdbox") as server:
        account = server.new_user()
        with account.imap() as client:
            for n in range(8):
                client.append("INBOX", None, None, DATE + b"Subject: %d\r\n\r\nx\r\n" % n)
        receiver = open_pop(account)
        refs = [one.ref for one in receiver.list_refs()]
        folder = account.maildir.parent / "sdbox" / "mailboxes" / "INBOX" / "dbox-Mails"
        for uid in (2, 3, 8):
            (folder / f"u.{uid}").write_bytes(b"")

        items = list(receiver.fetch(None, limits=Limits(received_dates=dates), wanted=everything))

        unreadable = {item.ref for item in items if isinstance(item, Unavailable)}
        assert unreadable == {refs[1], refs[2], refs[7]}
        assert [item.ref for item in items if isinstance(item, Fetched)] == [
            ref for ref in refs if ref not in unreadable
        ]
        receiver.close()


def test_dovecot_that_opens_no_session_says_why(dovecot, open_pop, everything):
    """It cannot find out a message's size, and refuses the first command, whichever it is."""
    account = dovecot.new_user()
    account.append(DATE, DATE)
    for path in (account.maildir / "new").iterdir():
        path.chmod(0)
        if os.getuid() == 0:
            os.chown(path, 0, 0)

    with pytest.raises(TransientError, match="Internal error"):
        list(open_pop(account).fetch(None, limits=Limits(), wanted=everything))
