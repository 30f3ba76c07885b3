"""Our reader against two others, Python's `email` and fast-mail-parser, on well-formed mail."""

from __future__ import annotations

import email
import email.headerregistry
import email.policy
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime

import fast_mail_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postroom.mail import ParsedMessage, parse

LETTERS = st.characters(
    codec="utf-8",
    categories=("L", "N", "Zs", "Sm", "Sc"),
    exclude_characters="\x85\u2028\u2029\xa0",
)
WORDS = st.text(LETTERS, min_size=1, max_size=60).map(lambda text: " ".join(text.split()))
LINES = st.lists(WORDS, min_size=1, max_size=8).map(
    lambda lines: "\n".join(["Hello", *lines]) + "\n"
)
LOCAL = st.text("abcdefghijklmnopqrstuvwxyz0123456789.", min_size=1, max_size=12).map(
    lambda text: text.replace(".", "") or "a"
)


@st.composite
def well_formed(draw: st.DrawFn) -> EmailMessage:
    """A message as Python's `email` writes it: text, page, files, names in any script."""
    message = EmailMessage(policy=email.policy.SMTP)
    sender = f"{draw(LOCAL)}@customer.example"
    message["From"] = email.headerregistry.Address(draw(WORDS), addr_spec=sender)
    message["To"] = [
        email.headerregistry.Address(addr_spec=f"{draw(LOCAL)}@desk.example")
        for _ in range(draw(st.integers(1, 4)))
    ]
    message["Subject"] = "Re " + draw(WORDS)
    message["Date"] = draw(
        st.datetimes(timezones=st.timezones()).filter(lambda date: 1971 < date.year < 2100)
    ).replace(microsecond=0)
    message["Message-ID"] = f"<{draw(LOCAL)}@customer.example>"
    encoding = draw(st.sampled_from(["base64", "quoted-printable", "8bit"]))
    message.set_content(draw(LINES), cte=encoding)
    if draw(st.booleans()):
        message.add_alternative(f"<p>{draw(WORDS)}</p>\n", subtype="html", cte=encoding)
    for content in draw(st.lists(st.binary(max_size=9_000), max_size=3)):
        message.add_attachment(
            content, maintype="application", subtype="pdf", filename=f"{draw(LOCAL)}ä.pdf"
        )
    return message


def body(message: Message, kind: str) -> str:
    """Return the text of the first part of a kind, as Python's compat32 reads it."""
    for part in message.walk():
        if part.get_content_type() == kind and not part.get_filename():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            return content.decode(part.get_content_charset("utf-8")).replace("\r\n", "\n")
    return ""


def assert_agrees_with_email(raw: bytes, ours: ParsedMessage) -> None:
    theirs = email.message_from_bytes(raw)
    modern = email.message_from_bytes(raw, policy=email.policy.default)
    assert ours.subject == str(modern["Subject"]).strip()
    assert ours.from_ is not None
    assert ours.from_.address == modern["From"].addresses[0].addr_spec
    # between encoded words Python's reader leaves the blank that RFC 2047 section 6.2 removes
    their_name = modern["From"].addresses[0].display_name
    assert ours.from_.name.replace(" ", "") == their_name.replace(" ", "")
    assert [one.address for one in ours.to] == [one.addr_spec for one in modern["To"].addresses]
    assert ours.date == parsedate_to_datetime(theirs["Date"])
    assert ours.text == body(theirs, "text/plain")
    assert (ours.html_original or "").replace("\r\n", "\n") == body(theirs, "text/html")
    files = [part for part in theirs.walk() if part.get_filename()]
    assert [one.content for one in ours.attachments] == [f.get_payload(decode=True) for f in files]
    names = [part.get_filename() for part in modern.walk() if part.get_filename()]
    assert [one.filename for one in ours.attachments] == names


def assert_agrees_with_fast_mail_parser(raw: bytes, ours: ParsedMessage) -> None:
    theirs = fast_mail_parser.parse_email(raw)
    assert theirs.from_ is not None
    assert ours.from_ is not None
    assert ours.from_.address == theirs.from_.address
    assert [one.address for one in ours.to] == [one.address for one in theirs.to]
    assert ours.date == theirs.date_parsed
    assert ours.text == theirs.text_plain[0].replace("\r\n", "\n")
    assert [one.content for one in ours.attachments] == [one.content for one in theirs.attachments]
    assert [one.filename for one in ours.attachments] == [o.filename for o in theirs.attachments]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(well_formed())
def test_readers_agree_on_generated_mail(message: EmailMessage) -> None:
    raw = message.as_bytes()

    for variant in (raw, raw.replace(b"\r\n", b"\n")):
        ours = parse(variant)

        assert_agrees_with_email(variant, ours)
        assert_agrees_with_fast_mail_parser(raw, ours)
        assert ours.problems == ()
