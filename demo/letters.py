"""The mail of the demo: what customers write, and how their mail programs answer ours."""

from __future__ import annotations

import email
import email.policy
import email.utils
import struct
import zlib
from collections.abc import Callable
from email.message import EmailMessage, Message

DESK = "info@example.org"
MARIA = "Maria Lopez <maria@example.com>"
JUERGEN = "Jürgen Müller <juergen@example.net>"
HANAKO = "山田 花子 <hanako@example.com>"
ANNA = "Anna Berg <anna@example.net>"
TOM = "Tom Okafor <tom@example.edu>"

_ORDER = "<order-1042.1@example.com>"


def plain() -> EmailMessage:
    """A question in plain text."""
    text = "Hello,\n\nI ordered a lamp on Monday (order 1042). Where is it?\n\nMaria"
    return _letter(MARIA, "Order 1042 has not arrived", text, {"Message-ID": _ORDER})


def follow_up() -> EmailMessage:
    """The same customer, a moment later, in reply to her own mail."""
    return _letter(
        MARIA,
        "Re: Order 1042 has not arrived",
        "I forgot: please send it to 4 Elm Street.",
        {"In-Reply-To": _ORDER, "References": _ORDER},
    )


def latin_1() -> bytes:
    """Old-fashioned: ISO-8859-1 in encoded words and quoted-printable."""
    return (
        b"From: =?iso-8859-1?Q?J=FCrgen_M=FCller?= <juergen@example.net>\r\n"
        b"To: info@example.org\r\n"
        b"Subject: =?iso-8859-1?Q?Gr=F6=DFe_M_gegen_L_tauschen=3F?=\r\n"
        b"Date: " + email.utils.format_datetime(email.utils.localtime()).encode() + b"\r\n"
        b"Message-ID: " + email.utils.make_msgid(domain="example.net").encode() + b"\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"Guten Tag,\r\n\r\nkann ich das T-Shirt in Gr=F6=DFe M zur=FCckgeben?\r\n"
    )


def japanese() -> EmailMessage:
    """A name, a subject and a text in Japanese."""
    return _letter(HANAKO, "領収書について", "領収書を送っていただけますか。\n\n山田")


def html_with_picture() -> EmailMessage:
    """HTML that shows a picture which the message brings along."""
    message = _letter(ANNA, "The lamp flickers", "The lamp flickers, see the picture.")
    message.add_alternative(
        '<p>The lamp <b>flickers</b>, see the picture:</p><p><img src="cid:lamp@example.net"></p>',
        subtype="html",
    )
    html = message.get_payload()[1]  # type: ignore[index]  # of a multipart: a list
    html.add_related(_png(), "image", "png", cid="<lamp@example.net>", filename="lamp.png")  # type: ignore[union-attr]
    return message


def with_invoice() -> EmailMessage:
    """An attachment; a filter sorts it."""
    message = _letter(TOM, "Question about invoice 2026-117", "Why was I charged twice?\n\nTom")
    pdf = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    message.add_attachment(pdf, "application", "pdf", filename="invoice 2026-117.pdf")
    return message


def newsletter() -> EmailMessage:
    """Bulk mail: nobody waits for an acknowledgement."""
    return _letter(
        "Lamp Weekly <news@lamps.example>",
        "Ten lamps you will love",
        "This week: lamps.",
        {
            "List-Id": "Lamp Weekly <weekly.lamps.example>",
            "List-Unsubscribe": "<https://lamps.example/unsubscribe>",
            "Precedence": "bulk",
        },
    )


FIRST_MAIL: tuple[Callable[[], EmailMessage | bytes], ...] = (
    plain,
    latin_1,
    japanese,
    html_with_picture,
    with_invoice,
    newsletter,
    follow_up,
)


def reply_to(received: bytes, sender: str, text: str) -> EmailMessage:
    """What a person's mail program makes of an answer: the reply, above what it quotes."""
    answer = email.message_from_bytes(received, policy=email.policy.default)
    body = answer.get_body(("plain",))
    quoted = "".join(f"> {line}\n" for line in (body.get_content() if body else "").splitlines())
    text += f"\n\nOn {answer['Date']}, {answer['From']} wrote:\n{quoted}"
    return _letter(sender, _re(answer), text, _threading(answer), to=answer["From"])


def out_of_office(received: bytes, sender: str) -> EmailMessage:
    """What a mail program answers by itself while its owner is away (RFC 3834)."""
    cause = email.message_from_bytes(received, policy=email.policy.default)
    headers = {**_threading(cause), "Auto-Submitted": "auto-replied"}
    subject = f"Out of office: {cause['Subject']}"
    return _letter(sender, subject, "I am away until Monday.\n\nTom", headers)


def bounce(received: bytes, recipient: str) -> bytes:
    """What a mail server sends back when a mailbox is full (RFC 3464)."""
    original = email.message_from_bytes(received)
    headers = "".join(f"{name}: {value}\r\n" for name, value in original.items())
    date = email.utils.format_datetime(email.utils.localtime())
    identity = email.utils.make_msgid(domain="mx.example.net")
    text = f"""\
Return-Path: <>
From: Mail Delivery System <mailer-daemon@mx.example.net>
To: {DESK}
Subject: Undelivered Mail Returned to Sender
Date: {date}
Message-ID: {identity}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8

Your message to {recipient} could not be delivered: the mailbox is full.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.2.2

--b1
Content-Type: text/rfc822-headers

"""
    return (text.replace("\n", "\r\n") + headers + "\r\n--b1--\r\n").encode()


def address_of(who: str) -> str:
    """Return the address in ``Name <address>``."""
    return email.utils.parseaddr(who)[1]


def _letter(
    sender: str,
    subject: str,
    text: str,
    headers: dict[str, str] | None = None,
    *,
    to: str = DESK,
) -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = email.utils.localtime()
    for name, value in (headers or {}).items():
        message[name] = value
    if "Message-ID" not in message:
        domain = address_of(sender).rpartition("@")[2]
        message["Message-ID"] = email.utils.make_msgid(domain=domain)
    message.set_content(text)
    return message


def _re(answer: Message) -> str:
    subject = str(answer["Subject"])
    return subject if subject.lower().startswith("re:") else f"Re: {subject}"


def _threading(answer: Message) -> dict[str, str]:
    identity = str(answer["Message-ID"])
    return {
        "In-Reply-To": identity,
        "References": f"{answer.get('References', '')} {identity}".strip(),
    }


def _png() -> bytes:
    """A yellow picture, 16 by 16."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    pixels = zlib.compress((b"\0" + b"\xff\xd0\x40" * 16) * 16)
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
