"""What fetch yields, against a real Dovecot."""

import itertools
import json
import os
from collections.abc import Callable

import pytest
from postroom.api import (
    Checkpoint,
    Fetched,
    Limits,
    Oversized,
    SettingsError,
    Spool,
    TransientError,
    Unavailable,
    codes,
)
from postroom_test_servers.dovecot import running_dovecot
from postroom_test_servers.responder import CUT, IMAP


def mail(n, size=10):
    return b"Message-ID: <%d@test>\r\nSubject: %d\r\n\r\n%s\r\n" % (n, n, b"x" * size)


def fetch(receiver, wanted, cursor=None, **limits):
    return list(receiver.fetch(cursor, limits=Limits(**limits), wanted=wanted))


def test_bytes_are_those_of_the_server(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1), b"\xff\x00 no mail at all\r\n", b"Subject: bare\n\nline ends\n", b"")

    items = fetch(open_imap(account), everything)

    assert raws(items) == [message.raw for message in account.messages()]
    assert isinstance(items[-1], Checkpoint)


def test_fetching_sets_no_flag(dovecot, open_imap, everything):
    account = dovecot.new_user()
    account.append(mail(1))

    fetch(open_imap(account), everything)

    assert r"\Seen" not in account.messages()[0].flags


def test_date_of_arrival_is_told_in_utc(dovecot, open_imap, everything):
    import datetime

    account = dovecot.new_user()
    zone = datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))
    arrived = datetime.datetime(2020, 2, 29, 23, 30, tzinfo=zone)
    account.append(mail(1), received_at=arrived)

    item = fetch(open_imap(account), everything)[0]

    assert item.received_at == arrived
    assert item.received_at.utcoffset() == datetime.timedelta(0)


def test_listing_tells_size_and_date_before_any_download(dovecot, open_imap):
    account = dovecot.new_user()
    account.append(mail(1), mail(2))
    pages = []

    items = fetch(open_imap(account), lambda listed: pages.append(list(listed)) or [])

    assert [type(item) for item in items] == [Checkpoint, Checkpoint]
    assert [item.size for item in pages[0]] == [len(mail(1)), len(mail(2))]
    assert all(item.received_at for item in pages[0])


def test_only_what_is_wanted_is_fetched(dovecot, open_imap, raws):
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(5)))

    items = fetch(open_imap(account), lambda listed: [item.ref for item in listed[1::2]])

    assert raws(items) == [mail(1), mail(3)]


def test_cursor_leads_on_to_what_is_new(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1))
    cursor = fetch(open_imap(account), everything)[-1].cursor
    account.append(mail(2))

    assert raws(fetch(open_imap(account), everything, cursor)) == [mail(2)]


@pytest.mark.parametrize(
    "cursor",
    ["", "{", "[]", '{"INBOX":[1]}', '{"INBOX":[-1,"x"]}', "\x00", "[" * 5000, '{"INBOX":[1e9,2]}'],
)
def test_damaged_cursor_means_from_the_beginning(dovecot, open_imap, everything, raws, cursor):
    account = dovecot.new_user()
    account.append(mail(1))

    assert raws(fetch(open_imap(account), everything, cursor)) == [mail(1)]


def test_cursor_beyond_the_last_message_yields_nothing(dovecot, open_imap, everything):
    """UID n:* always names the last message, even below n."""
    account = dovecot.new_user()
    account.append(mail(1), mail(2))
    receiver = open_imap(account)
    cursor = fetch(receiver, everything)[-1].cursor

    assert fetch(receiver, everything, cursor) == [Checkpoint(cursor)]


def test_new_uidvalidity_makes_new_refs(dovecot, open_imap, everything):
    account = dovecot.new_user()
    account.append(mail(1))
    before = fetch(open_imap(account), everything)
    account.reset_uidvalidity()

    after = fetch(open_imap(account), everything, before[-1].cursor)

    assert isinstance(after[0], Fetched)
    assert after[0].ref != before[0].ref


def test_uids_that_a_restored_server_gives_out_again_are_listed(
    dovecot, open_imap, everything, raws
):
    """UIDVALIDITY is as before, and new mail has UIDs below the cursor."""
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(5)))
    cursor = fetch(open_imap(account), everything)[-1].cursor
    account.recreate(mail(0), mail(1), mail(7))
    validity = json.loads(cursor)["INBOX"][0]
    account.set_uidvalidity(validity)

    items = fetch(open_imap(account), everything, cursor)

    assert raws(items) == [mail(0), mail(1), mail(7)]
    assert json.loads(items[-1].cursor) == {"INBOX": [validity, 4]}


def test_checkpoint_covers_only_what_came_before_it(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(2100)))
    receiver = open_imap(account)
    run = receiver.fetch(None, limits=Limits(), wanted=everything)
    seen = []
    for item in run:
        if isinstance(item, Checkpoint):
            break
        seen.append(item)
    run.close()

    rest = fetch(open_imap(account), everything, item.cursor)

    assert raws(seen) + raws(rest) == [mail(n) for n in range(2100)]


def test_session_goes_on_after_an_abandoned_fetch(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(*(mail(n, 5000) for n in range(50)))
    receiver = open_imap(account)
    run = receiver.fetch(None, limits=Limits(), wanted=everything)
    next(run)
    run.close()

    assert len(raws(fetch(receiver, everything))) == 50


def test_several_folders_are_fetched_in_order(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1))
    account.append(mail(2), folder="Work.Ärger; 100%")
    receiver = open_imap(account, folders=["inbox", "Work/Ärger; 100%"])

    items = fetch(receiver, everything)

    assert raws(items) == [mail(1), mail(2)]
    refs = [item.ref for item in items if isinstance(item, Fetched)]
    assert refs[0].startswith("INBOX;")
    assert refs[1].startswith("Work.Ärger%3B%20100%25;")
    assert fetch(receiver, everything, items[-1].cursor)[-1] == items[-1]
    assert [item.ref for item in receiver.list_refs()] == refs


def test_missing_folder_is_named_after_the_others_were_fetched(dovecot, open_imap, everything):
    account = dovecot.new_user()
    account.append(mail(1))
    account.folder_path("Sales")
    run = open_imap(account, folders=["Nowhere", "INBOX"]).fetch(
        None, limits=Limits(), wanted=everything
    )
    got = []

    with pytest.raises(SettingsError, match=r"no folder Nowhere; there are: INBOX, Sales\.") as e:
        got.extend(run)

    assert e.value.code is codes.FOLDER_MISSING
    assert isinstance(got[0], Fetched)
    assert isinstance(got[-1], Checkpoint)


def test_large_message_becomes_a_spool(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1, 3_000_000), mail(2))

    items = fetch(open_imap(account), everything, spool_above=1_000_000)

    assert isinstance(items[0].raw, Spool)
    assert isinstance(items[1].raw, bytes)
    assert raws(items) == [mail(1, 3_000_000), mail(2)]


def test_oversized_message_is_not_downloaded(dovecot, open_imap, everything, raws):
    account = dovecot.new_user()
    account.append(mail(1, 50_000), mail(2))

    items = fetch(open_imap(account), everything, max_message_bytes=10_000)

    assert isinstance(items[0], Oversized)
    assert items[0].size == len(mail(1, 50_000))
    assert raws(items) == [mail(2)]


def test_messages_expunged_between_listing_and_download_are_not_yielded(
    dovecot, open_imap, everything, raws
):
    account = dovecot.new_user()
    account.append(mail(1), mail(2), mail(3))

    def wanted(listed):
        account.expunge([2])
        return everything(listed)

    assert raws(fetch(open_imap(account), wanted)) == [mail(1), mail(3)]


@pytest.mark.parametrize("limits", [{"batch_count": 7}, {"batch_bytes": 500}], ids=str)
def test_batches_are_bounded(dovecot, open_imap, everything, raws, limits):
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(30)))

    assert raws(fetch(open_imap(account), everything, **limits)) == [mail(n) for n in range(30)]


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_connection_is_encrypted(dovecot, open_imap, everything, raws, authority, security):
    account = dovecot.new_user()
    account.append(mail(1))
    receiver = open_imap(account, security=security, ca_file=str(authority.ca_file))

    assert raws(fetch(receiver, everything)) == [mail(1)]


def test_message_that_the_server_cannot_read_does_not_stop_the_folder(
    dovecot, open_imap, everything, raws
):
    """Dovecot ends the session with BYE each time."""
    account = dovecot.new_user()
    account.append(*(mail(n) for n in range(5)))
    for path in sorted((account.maildir / "new").iterdir())[1:3]:
        path.chmod(0)
        if os.getuid() == 0:
            os.chown(path, 0, 0)

    items = fetch(open_imap(account), everything)

    assert raws(items) == [mail(0), mail(3), mail(4)]
    assert [type(item) for item in items[1:3]] == [Unavailable, Unavailable]


@pytest.mark.parametrize("is_empty", [False, True], ids=["cut short", "empty"])
def test_message_whose_file_is_damaged_does_not_stop_the_folder(
    authority, open_imap, everything, raws, is_empty
):
    """In its dbox formats Dovecot can tell neither size nor date, and ends the session for it."""
    certificate = authority.issue("localhost", "127.0.0.1")
    with running_dovecot(certificate, extra="mail_location = sdbox:~/sdbox") as server:
        account = server.new_user()
        with account.imap() as client:
            for n in range(6):
                client.append("INBOX", None, None, mail(n, 3000))
        folder = account.maildir.parent / "sdbox" / "mailboxes" / "INBOX" / "dbox-Mails"
        for uid in (2, 5):
            path = folder / f"u.{uid}"
            path.write_bytes(b"" if is_empty else path.read_bytes()[:600])
        (folder / "dovecot.index.cache").unlink(missing_ok=True)
        receiver = open_imap(account)

        items = fetch(receiver, everything)

        assert raws(items) == [mail(n, 3000) for n in (0, 2, 3, 5)]
        assert len(list(receiver.list_refs())) >= 4
        receiver.close()


# ---------------------------------------------------------------- what Dovecot does not do

BODIES = r"UID FETCH \S+ \(UID BODY.PEEK"
SIZES = r"UID FETCH \S+ \(UID RFC822.SIZE"


def test_folder_of_nothing_but_damaged_messages_is_given_up(start_imap, open_imap, everything):
    uids = b" ".join(b"%d" % uid for uid in range(1, 501))
    server = start_imap(
        {
            r"UID FETCH \S+ \(UID (RFC822.SIZE|INTERNALDATE)": b"* BYE cannot read it\r\n" + CUT,
            r"UID FETCH \S+ \(UID\)": lambda heard: (
                b"* 1 FETCH (UID %s)\r\nTAG OK done\r\n" % heard.split()[3]
            ),
            "UID SEARCH": b"* SEARCH %s\r\nTAG OK done\r\n" % uids,
        }
    )

    with pytest.raises(TransientError, match="cannot read it"):
        fetch(open_imap(port=server.port), everything)

    assert sum(b"LOGIN" in heard for heard in server.heard) < 1000


RELOGIN = b"* BYE IMAP session state is inconsistent, please relogin.\r\n" + CUT


def after_goodbyes(count: int, answer: bytes) -> Callable[[bytes], bytes]:
    left = [RELOGIN] * count
    return lambda _: left.pop() if left else answer


def test_goodbye_for_another_message_is_not_held_against_one(
    start_imap, open_imap, everything, raws
):
    """While Dovecot repairs an index, it ends all sessions that have the folder open."""
    listed = b"* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\nTAG OK done\r\n"
    server = start_imap(
        {
            r"UID FETCH \S+ \(UID (RFC822.SIZE|INTERNALDATE)": RELOGIN,
            r"UID FETCH \S+ \(UID\)": after_goodbyes(1, listed),
            BODIES: after_goodbyes(2, IMAP[r"UID FETCH \S+ \(UID BODY.PEEK"]),
        }
    )

    items = fetch(open_imap(port=server.port), everything)

    assert raws(items) == [b"S: a\r\n\r\n1", b"S: b\r\n\r\n2"]


def test_message_without_content_is_looked_at_once_more_and_unavailable(
    start_imap, open_imap, everything, raws
):
    server = start_imap(
        {
            BODIES: b'* 1 FETCH (UID 1 BODY[] NIL)\r\n* 2 FETCH (UID 2 BODY[] "S: b")\r\n'
            b"TAG OK done\r\n",
            r"UID FETCH 1 \(UID\)": b"* 1 FETCH (UID 1)\r\nTAG OK done\r\n",
        }
    )

    items = fetch(open_imap(port=server.port), everything)

    assert raws(items) == [b"S: b"]
    unavailable = [item for item in items if isinstance(item, Unavailable)]
    assert [item.ref for item in unavailable] == ["INBOX;7;1"]
    assert unavailable[0].error.code is codes.MESSAGE_UNREADABLE


def test_message_that_came_before_the_goodbye_is_not_fetched_again(
    start_imap, open_imap, everything, raws
):
    came = b"* 1 FETCH (UID %d BODY[] {9}\r\nS: a\r\n\r\n%d)\r\n"
    server = start_imap(
        {
            r"UID FETCH 1:2 \(UID BODY.PEEK": RELOGIN,
            r"UID FETCH 1 \(UID BODY.PEEK": came % (1, 1) + RELOGIN,
            r"UID FETCH 2 \(UID BODY.PEEK": came % (2, 2) + b"TAG OK done\r\n",
        }
    )

    items = fetch(open_imap(port=server.port), everything)

    assert raws(items) == [b"S: a\r\n\r\n1", b"S: a\r\n\r\n2"]


def test_refused_batch_is_fetched_one_by_one(start_imap, open_imap, everything, raws):
    server = start_imap(
        {
            r"UID FETCH 1:2 \(UID BODY": b"TAG NO [SERVERBUG] cannot render\r\n",
            r"UID FETCH 1 \(UID BODY": b"TAG BAD cannot render\r\n",
            r"UID FETCH 1 \(UID\)": b"* 1 FETCH (UID 1)\r\nTAG OK done\r\n",
        }
    )

    items = fetch(open_imap(port=server.port), everything)

    assert [type(item) for item in items[:2]] == [Unavailable, Fetched]
    assert "cannot render" in items[0].error.sentence
    assert raws(items) == [b"S: b\r\n\r\n2"]


def test_understated_size_does_not_get_past_the_limits(start_imap, open_imap, everything):
    huge = b"x" * 300_000
    server = start_imap(
        {
            BODIES: b"* 1 FETCH (UID 1 BODY[] {300000}\r\n%s FLAGS ())\r\n"
            b"* 2 FETCH (FLAGS () BODY[] {300000}\r\n%s UID 2)\r\nTAG OK done\r\n" % (huge, huge)
        }
    )
    receiver = open_imap(port=server.port)

    refused = fetch(receiver, everything, spool_above=1000, max_message_bytes=100_000)
    spooled = fetch(receiver, everything, spool_above=1000)

    assert [type(item) for item in refused[:2]] == [Oversized, Oversized]
    assert refused[0].size == 300_000
    assert [len(item.raw) for item in spooled[:2]] == [300_000, 300_000]
    for item in spooled[:2]:
        item.raw.close()


def test_answers_about_others_are_no_messages(start_imap, open_imap, everything, raws):
    server = start_imap(
        {
            BODIES: b"* OK still {9}\r\n* 3 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen) UID 2)\r\n"
            b"* 9 FETCH (UID 9 BODY[] {3}\r\nabc)\r\n* 1 FETCH (UID 1 BODY[] {9}\r\nS: a\r\n\r\n1)"
            b"\r\n* 2 FETCH (UID 2 BODY[] {0}\r\n)\r\n* 1 EXPUNGE\r\nTAG OK done\r\n"
        }
    )

    assert raws(fetch(open_imap(port=server.port), everything)) == [b"S: a\r\n\r\n1", b""]


def test_missing_uidvalidity_is_taken_as_zero(start_imap, open_imap, everything):
    server = start_imap({"EXAMINE|SELECT": b"* 2 EXISTS\r\nTAG OK opened\r\n"})

    items = fetch(open_imap(port=server.port), everything)

    assert items[0].ref == "INBOX;0;1"


FORGOTTEN = b"* 2 EXISTS\r\n* OK [UIDVALIDITY %d] ok\r\nTAG OK [READ-ONLY] opened\r\n"


def test_uids_that_a_server_would_forget_are_made_to_last(start_imap, open_imap, everything):
    """As Courier does, which invents them anew at each EXAMINE until somebody selects."""
    validity = itertools.count(100)
    kept = FORGOTTEN.replace(b"READ-ONLY", b"READ-WRITE") % 7
    server = start_imap({"EXAMINE": lambda _: FORGOTTEN % next(validity), "SELECT": kept})

    refs = [[one.ref for one in open_imap(port=server.port).list_refs()] for _ in range(2)]

    assert refs == [["INBOX;7;1", "INBOX;7;2"]] * 2


def test_folder_that_may_not_be_selected_is_read_all_the_same(start_imap, open_imap, everything):
    server = start_imap({"EXAMINE": FORGOTTEN % 100, "SELECT": b"TAG NO not for you\r\n"})

    items = fetch(open_imap(port=server.port), everything)

    assert items[0].ref == "INBOX;100;1"


def test_server_that_does_not_know_the_star_hides_nothing(start_imap, open_imap, everything):
    """As GNU imap4d 3.15, which finds no message in 1:*."""
    server = start_imap({r"UID SEARCH UID \d+:\*": b"* SEARCH\r\nTAG OK done\r\n"})

    assert [one.ref for one in open_imap(port=server.port).list_refs()] == [
        "INBOX;7;1",
        "INBOX;7;2",
    ]


def test_goodbye_says_why(start_imap, open_imap, everything):
    server = start_imap({BODIES: b"* BYE [UNAVAILABLE] closing for maintenance\r\n" + CUT})

    with pytest.raises(TransientError, match="maintenance") as caught:
        fetch(open_imap(port=server.port), everything)

    assert caught.value.code is codes.SERVER_BUSY


def test_throttling_names_the_time(start_imap, open_imap, everything):
    from postroom.api import TransientError

    text = b"TAG BAD Request is throttled. Suggested Backoff Time: 178755 milliseconds\r\n"
    server = start_imap({BODIES: text})

    with pytest.raises(TransientError) as caught:
        fetch(open_imap(port=server.port), everything)

    assert caught.value.retry_after == pytest.approx(178.755)


def test_listing_of_a_very_large_folder_fits(start_imap, open_imap):
    """imaplib gives up at lines of a million bytes."""
    uids = b" ".join(b"%d" % uid for uid in range(1, 200_001))
    server = start_imap({"UID SEARCH": b"* SEARCH " + uids + b"\r\nTAG OK done\r\n"})

    *_, last = fetch(open_imap(port=server.port), lambda listed: [])

    assert last == Checkpoint('{"INBOX":[7,200001]}')


def test_message_that_breaks_the_connection_does_not_stop_the_folder(
    start_imap, open_imap, everything, raws
):
    server = start_imap({r"UID FETCH 1(:2)? \(UID BODY": CUT})

    items = fetch(open_imap(port=server.port), everything)

    assert [type(item) for item in items[:2]] == [Fetched, Unavailable]
    assert raws(items) == [b"S: b\r\n\r\n2"]


def test_message_over_which_the_connection_broke_twice_by_chance_is_fetched(
    start_imap, open_imap, everything, raws
):
    """Once with others, and once alone: a bad network breaks anything."""
    left = [CUT, CUT]
    server = start_imap({BODIES: lambda _: left.pop() if left else IMAP[BODIES]})

    items = fetch(open_imap(port=server.port), everything)

    assert raws(items) == [b"S: a\r\n\r\n1", b"S: b\r\n\r\n2"]


def test_connection_that_always_breaks_is_no_messages_fault(start_imap, open_imap, everything):
    from postroom.api import TransientError

    server = start_imap({BODIES: CUT})

    with pytest.raises(TransientError):
        fetch(open_imap(port=server.port), everything)
