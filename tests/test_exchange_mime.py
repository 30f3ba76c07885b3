"""What our stand-ins serve is rebuilt as Exchange does it: other bytes, the same mail."""

from __future__ import annotations

from types import ModuleType

from postroom.mail import parse
from postroom.mail.identity import fingerprint, weak_key
from postroom_test_servers.exchange_mime import rebuild


def test_rebuilt_mail_has_other_bytes_and_says_the_same(corpus: ModuleType) -> None:
    """So what is told apart is told apart by what it says, not by its bytes."""
    other_bytes = same_mail = same_by_the_weak_key = 0
    raws = [corpus.raw_of(name) for name in corpus.MESSAGES.keys() - corpus.LARGE]
    mails = [raw for raw in raws if len(raw) < 50_000]  # Python's parser is slow on hostile ones
    for raw in mails:
        rebuilt = rebuild(raw)
        other_bytes += rebuilt != raw
        same_mail += fingerprint(rebuilt) == fingerprint(raw)
        same_by_the_weak_key += weak_key(rebuilt) == weak_key(raw)

    assert other_bytes > len(mails) * 0.9
    assert same_mail > len(mails) * 0.75
    assert same_by_the_weak_key > len(mails) * 0.9


def test_another_server_makes_other_boundaries() -> None:
    raw = (
        b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\n\r\nHello.\r\n--x\r\nContent-Type: image/png; name=a.png\r\n\r\n123\r\n--x--\r\n"
    )

    one, other = rebuild(raw), rebuild(raw, salt="other")

    assert one == rebuild(raw) != other
    assert fingerprint(one) == fingerprint(other) == fingerprint(raw)
    assert [a.filename for a in parse(one).attachments] == ["a.png"]
