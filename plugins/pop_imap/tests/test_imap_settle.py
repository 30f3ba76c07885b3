"""What settle does on the server, against a real Dovecot, with and without its extensions."""

import contextlib

import pytest
from postroom.api import (
    Disposition,
    Limits,
    SettingsError,
    Settled,
    TransientError,
    Unsettled,
    codes,
)
from postroom_test_servers.dovecot import running_dovecot
from postroom_test_servers.responder import CUT

SEEN, DELETE, MOVE = Disposition("seen"), Disposition("delete"), Disposition("move", "Archive")


def mail(n):
    return b"Message-ID: <%d@test>\r\nSubject: %d\r\n\r\ntext\r\n" % (n, n)


def subjects(account, folder="INBOX"):
    return [message.raw for message in account.messages(folder)]


def listed(receiver):
    return [item.ref for item in receiver.list_refs()]


@pytest.fixture(params=["with extensions", "without extensions"])
def server(request, dovecot, plain_dovecot):
    return dovecot if request.param == "with extensions" else plain_dovecot


def test_leave_needs_no_server(open_imap):
    outcomes = list(open_imap(port=1).settle(["INBOX;1;1"], Disposition("leave")))

    assert outcomes == [Settled("INBOX;1;1")]


def test_seen_sets_the_flag_on_those_only(server, open_imap):
    account = server.new_user()
    account.append(mail(1), mail(2), mail(3))
    receiver = open_imap(account)
    refs = listed(receiver)

    outcomes = list(receiver.settle(refs[1:], SEEN))

    assert outcomes == [Settled(refs[1]), Settled(refs[2])]
    flags = [message.flags for message in account.messages()]
    assert [r"\Seen" in one for one in flags] == [False, True, True]


def test_move_makes_the_folder_and_moves(server, dovecot, open_imap):
    account = server.new_user()
    account.append(mail(1), mail(2))
    receiver = open_imap(account)
    refs = listed(receiver)

    outcomes = list(receiver.settle(refs[:1], MOVE))

    stays = refs[0] in listed(receiver)  # marked as deleted, where it cannot be expunged alone
    assert stays == (server is not dovecot)
    assert outcomes == [Settled(refs[0], refs[0] if stays else None)]
    assert subjects(account, "Archive") == [mail(1)]


def test_move_takes_the_slash_for_the_servers_delimiter(server, open_imap):
    account = server.new_user()
    account.append(mail(1), mail(2))
    receiver = open_imap(account)

    for ref in listed(receiver):
        list(receiver.settle([ref], Disposition("move", "Work/Erledigt für 2026")))

    assert subjects(account, "Work.Erledigt für 2026") == [mail(1), mail(2)]


def test_delete_removes_and_spares_what_others_marked(dovecot, open_imap):
    account = dovecot.new_user()
    account.append(mail(1))
    account.append(mail(2), flags=["Deleted"])
    receiver = open_imap(account)

    outcomes = list(receiver.settle(listed(receiver)[:1], DELETE))

    assert [type(one) for one in outcomes] == [Settled]
    assert subjects(account) == [mail(2)]


@pytest.mark.parametrize("disposition", [DELETE, MOVE], ids=str)
def test_without_uidplus_nothing_is_expunged(plain_dovecot, open_imap, disposition):
    account = plain_dovecot.new_user()
    account.append(mail(1))
    account.append(mail(2), flags=["Deleted"])
    receiver = open_imap(account)

    ref = listed(receiver)[0]

    outcomes = list(receiver.settle([ref], disposition))

    assert outcomes == [Settled(ref, ref)]
    assert [r"\Deleted" in message.flags for message in account.messages()] == [True, True]
    assert subjects(account, "Archive") == ([mail(1)] if disposition is MOVE else [])


def test_new_ref_is_told_where_the_target_is_watched(dovecot, open_imap):
    account = dovecot.new_user()
    account.append(mail(0), folder="Archive")
    account.append(mail(1), mail(2))
    receiver = open_imap(account, folders=["INBOX", "Archive"])
    refs = [ref for ref in listed(receiver) if ref.startswith("INBOX")]

    outcomes = list(receiver.settle(refs, MOVE))

    assert [one.ref for one in outcomes] == refs
    assert [one.new_ref for one in outcomes] == listed(receiver)[1:]


def test_move_into_the_same_folder_does_nothing(server, open_imap):
    account = server.new_user()
    account.append(mail(1))
    receiver = open_imap(account)
    refs = listed(receiver)

    outcomes = list(receiver.settle(refs, Disposition("move", "inbox")))

    assert outcomes == [Settled(refs[0], refs[0])]
    assert listed(receiver) == refs


@pytest.mark.parametrize("disposition", [SEEN, DELETE, MOVE], ids=str)
def test_gone_messages_count_as_settled(server, open_imap, disposition):
    account = server.new_user()
    account.append(mail(1), mail(2))
    receiver = open_imap(account)
    refs = listed(receiver)
    account.expunge([1, 2])

    assert list(receiver.settle(refs, disposition)) == [Settled(ref) for ref in refs]


@pytest.mark.parametrize("disposition", [SEEN, DELETE, MOVE], ids=str)
def test_ref_of_another_uidvalidity_touches_nothing(server, open_imap, disposition):
    account = server.new_user()
    account.append(mail(1), mail(2))
    refs = listed(open_imap(account))
    account.reset_uidvalidity()

    assert list(open_imap(account).settle(refs, disposition)) == [Settled(ref) for ref in refs]
    assert [r"\Seen" in message.flags for message in account.messages()] == [False, False]
    assert "Archive" not in account.folders()


@pytest.mark.parametrize("ref", ["Nowhere;1;1", "not a ref", "", "INBOX;1;1\r\nx", "a;b;c"])
def test_ref_that_names_nothing_counts_as_settled(dovecot, open_imap, ref):
    assert list(open_imap(dovecot.new_user()).settle([ref], DELETE)) == [Settled(ref)]


def test_thousands_are_settled_in_chunks(server, open_imap):
    account = server.new_user()
    account.append(*(mail(n) for n in range(1200)))
    receiver = open_imap(account)
    refs = listed(receiver)

    outcomes = list(receiver.settle(refs, MOVE))

    assert {one.ref for one in outcomes} == set(refs)
    assert sorted(subjects(account, "Archive")) == sorted(mail(n) for n in range(1200))


def test_a_retry_after_a_cut_before_the_removal_copies_nothing_twice(plain_dovecot, open_imap):
    """COPY was done, STORE was not: the folder as an interrupted try leaves it."""
    account = plain_dovecot.new_user()
    account.append(mail(1), mail(2), b"Subject: without Message-ID\r\n\r\ntext\r\n", mail(1))
    receiver = open_imap(account)
    refs = listed(receiver)
    with account.imap() as client:
        client.create("Archive")
        client.select("INBOX")
        client.uid("STORE", "1:4", "+FLAGS.SILENT", "($PostroomMoving)")
        client.uid("COPY", "1,3", "Archive")

    outcomes = list(receiver.settle(refs, MOVE))

    assert {one.ref for one in outcomes} == set(refs)
    assert sorted(subjects(account, "Archive")) == sorted(subjects(account))


def test_a_copy_that_is_only_similar_does_not_count(plain_dovecot, open_imap):
    import datetime

    account = plain_dovecot.new_user()
    earlier = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    account.append(mail(1), folder="Archive", received_at=earlier)
    account.append(mail(1))
    with account.imap() as client:
        client.select("INBOX")
        client.uid("STORE", "1", "+FLAGS.SILENT", "($PostroomMoving)")
    receiver = open_imap(account)

    list(receiver.settle(listed(receiver), MOVE))

    assert len(subjects(account, "Archive")) == 2


@pytest.mark.parametrize("disposition", [SEEN, DELETE, MOVE], ids=str)
def test_read_only_folder_is_a_settings_error(authority, open_imap, disposition):
    with running_dovecot(authority.issue("localhost", "127.0.0.1"), acl=True) as server:
        account = server.new_user()
        account.append(mail(1))
        account.append(mail(2), folder="Locked")
        account.make_read_only("Locked")
        receiver = open_imap(account, folders=["Locked", "INBOX"])
        refs = listed(receiver)
        outcomes = []

        with pytest.raises(SettingsError) as caught:
            outcomes.extend(receiver.settle(refs, disposition))

        assert caught.value.code is codes.FOLDER_READ_ONLY
        receiver.close()


def test_other_folders_are_settled_before_a_read_only_one_is_reported(start_imap, open_imap):
    locked = b"* OK [UIDVALIDITY 7] ok\r\nTAG OK [READ-ONLY] opened\r\n"
    server = start_imap({'SELECT "Locked"': locked, "UID STORE": b"TAG OK done\r\n"})
    run = open_imap(port=server.port).settle(["Locked;7;1", "INBOX;7;2"], SEEN)

    assert next(run) == Settled("INBOX;7;2")
    with pytest.raises(SettingsError, match="Locked"):
        next(run)


def test_refused_message_stays_unsettled_and_the_others_are_settled(start_imap, open_imap):
    server = start_imap(
        {
            "UID STORE 1:3": b"TAG NO cannot\r\n",
            "UID STORE 2 ": b"TAG NO cannot\r\n",
            r"UID FETCH 2 \(UID\)": b"* 2 FETCH (UID 2)\r\nTAG OK done\r\n",
        }
    )
    refs = [f"INBOX;7;{uid}" for uid in (1, 2, 3)]

    outcomes = list(open_imap(port=server.port).settle(refs, SEEN))

    assert [type(one) for one in outcomes] == [Settled, Unsettled, Settled]


def test_cut_connection_leaves_the_rest_unsettled(start_imap, open_imap):
    server = start_imap({"UID MOVE": CUT})

    with pytest.raises(TransientError):
        list(open_imap(port=server.port).settle(["INBOX;7;1"], MOVE))


def test_target_that_cannot_be_made_is_told(start_imap, open_imap):
    server = start_imap(
        {
            "UID MOVE": b"TAG NO [TRYCREATE] no such folder\r\n",
            "CREATE": b"TAG NO [NOPERM] not allowed\r\n",
        }
    )

    with pytest.raises(Exception, match="make the folder Archive: not allowed") as caught:
        list(open_imap(port=server.port).settle(["INBOX;7;1"], MOVE))

    assert caught.value.code is codes.FOLDER_MISSING
    assert caught.value.next_step.startswith("Make the folder on the server by hand")


def test_namespace_of_others_that_begins_with_nothing_is_not_ours(start_imap, open_imap):
    """As on Cyrus, where a folder without INBOX. before it would be everybody's."""
    server = start_imap(
        {
            "CAPABILITY": b"* CAPABILITY IMAP4rev1 UIDPLUS MOVE NAMESPACE\r\nTAG OK done\r\n",
            "NAMESPACE": b'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))\r\nTAG OK\r\n',
            'UID MOVE 1 "Archive"': b"TAG NO [TRYCREATE] no such folder\r\n",
            'CREATE "Archive"': b"TAG NO permission denied\r\n",
            'CREATE "INBOX.Archive"': b"TAG OK done\r\n",
            "SUBSCRIBE": b"TAG OK done\r\n",
        }
    )

    outcomes = list(open_imap(port=server.port).settle(["INBOX;7;1"], MOVE))

    assert outcomes == [Settled("INBOX;7;1")]
    assert any(b'UID MOVE 1 "INBOX.Archive"' in line for line in server.heard)


def test_folder_is_made_inside_the_accounts_namespace(authority, open_imap):
    extra = "namespace inbox {\n  inbox = yes\n  prefix = INBOX.\n  separator = .\n}"
    with running_dovecot(authority.issue("localhost", "127.0.0.1"), extra=extra) as server:
        account = server.new_user()
        account.append(mail(1), mail(2))
        receiver = open_imap(account)

        for ref in listed(receiver):
            assert list(receiver.settle([ref], MOVE)) == [Settled(ref)]

        assert subjects(account, "INBOX.Archive") == [mail(1), mail(2)]
        receiver.close()


@pytest.mark.parametrize(
    ("target", "made"),
    [
        ("INBOX.Done", "INBOX.Done"),
        ("INBOX/Done", "INBOX.Done"),
        ("Öl.Done", "Öl.Done"),
        ("Öl/Done", "Öl.Done"),
        ("Other/Done", "INBOX.Other.Done"),
    ],
)
def test_folder_that_begins_with_a_namespace_is_made_there(authority, open_imap, target, made):
    extra = (
        "namespace inbox {\n  inbox = yes\n  prefix = INBOX.\n  separator = .\n}\n"
        "namespace oil {\n  prefix = Öl.\n  separator = .\n  location = maildir:~/oil\n}"
    )
    with running_dovecot(authority.issue("localhost", "127.0.0.1"), extra=extra) as server:
        account = server.new_user()
        account.append(mail(1))
        receiver = open_imap(account)

        list(receiver.settle(listed(receiver), Disposition("move", target)))

        assert subjects(account, made) == [mail(1)]
        receiver.close()


@pytest.mark.parametrize("cut_at", range(100, 1500, 50))
def test_move_cut_anywhere_neither_loses_nor_doubles(
    server, open_imap, cut_at, start_proxy, everything
):
    account = server.new_user()
    account.append(*(mail(n) for n in range(4)))
    refs = listed(open_imap(account))
    proxy = start_proxy(account.server.imap)
    proxy.break_after(received=cut_at)
    with contextlib.suppress(TransientError):
        list(open_imap(account, port=proxy.port).settle(refs, MOVE))

    list(open_imap(account).settle(refs, MOVE))

    assert sorted(subjects(account, "Archive")) == [mail(n) for n in range(4)]
    left = [message for message in account.messages() if r"\Deleted" not in message.flags]
    assert left == []


def test_fetch_after_settle_needs_no_new_session(dovecot, open_imap, everything):
    account = dovecot.new_user()
    account.append(mail(1))
    receiver = open_imap(account)
    first = list(receiver.fetch(None, limits=Limits(), wanted=everything))
    list(receiver.settle([first[0].ref], SEEN))
    account.append(mail(2))

    again = list(receiver.fetch(first[-1].cursor, limits=Limits(), wanted=everything))

    assert [type(item).__name__ for item in again] == ["Fetched", "Checkpoint", "Checkpoint"]
