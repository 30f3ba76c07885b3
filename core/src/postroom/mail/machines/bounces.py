"""Reports of mail servers: bounces, delays, receipts, complaints; what they say and about what.

Structured ones are RFC 3464 and 6533 (delivery), RFC 8098 (receipts), RFC 5965 (complaints). The
rest is free text, recognised by what qmail, Exim, sendmail, Postfix, Exchange, Notes and the big
providers write; there a sender that can only be a machine is needed as well, for people quote
bounces when they ask what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from postroom.mail.header.ids import tidy
from postroom.mail.machines.phrases import (
    BOUNCE_OPENING,
    BOUNCE_REFUSAL,
    BOUNCE_SUBJECT,
    BOUNCE_SUBJECT_IS_OPEN,
    BOUNCE_TEXT,
    DELIVERED_TEXT,
    QUESTION,
)
from postroom.mail.machines.recognisable import Marks, Recognisable

MAX_IDS = 20
PARENT_HEADERS = (
    "x-ms-exchange-parent-message-id",
    "x-original-message-id",
    "original-message-id",
)
"""Headers in which a machine notes the id of the mail it answers."""
_BYTES_LOOKED_AT = 256 * 1024
_TEXT_LOOKED_AT = 64 * 1024

_STATUS_TYPES = frozenset(("message/delivery-status", "message/global-delivery-status"))
_OTHER_REPORTS = frozenset(
    (
        "message/disposition-notification",
        "message/global-disposition-notification",
        "message/feedback-report",
    )
)
_ORIGINAL_TYPES = frozenset(
    (
        "message/rfc822",
        "message/global",
        "message/rfc822-headers",
        "message/global-headers",
        "text/rfc822-headers",
    )
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says: `is_bounce` for failures and delays, `ids` of the mail it is about."""

    is_report: bool = False
    is_bounce: bool = False
    ids: tuple[str, ...] = ()


_NO_REPORT = Report()


def read_report(message: Recognisable, marks: Marks) -> Report:
    """Recognise a report and read it."""
    kind = message.content_type_parameters.get("report-type", "").strip().lower()
    if message.content_type == "multipart/report" and (kind or _is_report(message)):
        is_bounce = _structured_is_bounce(message, kind)
    elif kind == "delivery-status" or (_has_status(message) and _is_from_machine(message)):
        is_bounce = _status_is_bounce(message)
    elif (verdict := _text_verdict(message, marks)) is not None:
        is_bounce = verdict
    else:
        return _NO_REPORT
    return Report(True, is_bounce, _reported_ids(message, marks))


def _is_report(message: Recognisable) -> bool:
    """Tell a report without its parameter from junk mail that only wears the content type."""
    kinds = {kind for kind, _ in message.report_parts}
    return bool(kinds & (_STATUS_TYPES | _OTHER_REPORTS)) or _is_from_machine(message)


def _has_status(message: Recognisable) -> bool:
    return message.content_type in _STATUS_TYPES or any(
        kind in _STATUS_TYPES for kind, _ in message.report_parts
    )


def _structured_is_bounce(message: Recognisable, kind: str) -> bool:
    """RFC 6522: the parameter says what kind of report; where it is missing, the parts do."""
    if kind in ("delivery-status", "global-delivery-status"):
        return _status_is_bounce(message)
    if kind == "disposition-notification":  # so Dovecot and Sieve refuse mail (RFC 5429 2.1.1)
        return BOUNCE_REFUSAL.match(message.subject[:300]) is not None
    if kind:
        return False
    if _has_status(message):
        return _status_is_bounce(message)
    if any(one in _OTHER_REPORTS for one, _ in message.report_parts):
        return False
    return BOUNCE_SUBJECT.match(message.subject[:300]) is not None


_ACTION = re.compile(rb"^action[ \t]*:[ \t]*([a-z]+)", re.IGNORECASE | re.MULTILINE)
_STATUS = re.compile(rb"^status[ \t]*:[ \t]*([245])\.", re.IGNORECASE | re.MULTILINE)


def _status_is_bounce(message: Recognisable) -> bool:
    """RFC 3464 section 2.3.3: failed and delayed are bounces; delivered, relayed, expanded not.

    A report that says neither is taken for a failure: it was sent for a reason.
    """
    actions: set[bytes] = set()
    classes: set[bytes] = set()
    for kind, raw in message.report_parts:
        if kind in _STATUS_TYPES:
            raw = raw[:_BYTES_LOOKED_AT]
            actions.update(found.lower() for found in _ACTION.findall(raw))
            classes.update(_STATUS.findall(raw))
    if actions & {b"failed", b"delayed"}:
        return True
    if actions & {b"delivered", b"relayed", b"expanded"}:
        return False
    return classes != {b"2"}


_DAEMON = re.compile(
    r"mail(?:er)?[._-]?daemon(?:$|[+._@-])|mdaemon(?:$|@)|mail[._-]?system(?:$|@)"
    r"|microsoftexchange[0-9a-f]{32}",
    re.IGNORECASE,
)
"""Local parts that no person has."""
_ROLE = re.compile(
    r"""(?: post[._-]?mast | bounces?(?:$|[+._=-]) | system\b | exchange | microsoftexchange
      | ms-?exchange | smtp | mailer | mmdf | mail[._-]?admin | "?system\sadministrator
      | root$ | sysadmin$ | uucp | ndr\b
      | imss | interscan | inetgw
      | \S{0,60}(?:smtp|antivirus)
      | mail[._-]?delivery | listserv | majordomo
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Local parts of servers, which people may have as well."""
_ROLE_NAME = re.compile(
    r"mail(?:er)?[ -]?(?:delivery|daemon|admin)|system administrator|postmaster"
    r"|(?:mail|delivery) (?:sub)?system|microsoft outlook|internet mail|interscan",
    re.IGNORECASE,
)


_PROGRAM = re.compile(
    r"post[._-]mast|ms-?exchange|microsoftexchange|mmdf|uucp|ndr\b|imss|interscan|inetgw"
    r"|\S{0,60}(?:smtp|antivirus)|listserv|majordomo",
    re.IGNORECASE,
)
_PROGRAM_NAME = re.compile(
    r"mail(?:er)?[ -]?daemon|mail delivery (?:sub)?system|(?:mail|delivery) subsystem"
    r"|microsoft outlook|internet mail|interscan",
    re.IGNORECASE,
)
"""Those among them that no person has."""


def _local_part(message: Recognisable) -> str:
    """Return the local part of From, in lower case; empty where there is no sender."""
    address = message.from_.address if message.from_ else ""
    return (address.rpartition("@")[0] or address)[:100].lower()


def is_from_daemon(message: Recognisable) -> bool:
    """Is the sender MAILER-DAEMON or the like, with an address or without one?"""
    if message.from_ is None:
        return _DAEMON.search(_from_header(message)) is not None
    return _DAEMON.match(message.from_.address) is not None


def _is_postmaster(message: Recognisable) -> bool:
    sender = _local_part(message) if message.from_ else _from_header(message).lower().lstrip(' "<')
    return sender.startswith("postmaster")


def _is_nameless(message: Recognisable) -> bool:
    """Is the address of From the null one? No program of a person writes that."""
    return message.from_ is None and _from_header(message).rstrip().endswith("<>")


def _from_header(message: Recognisable) -> str:
    values = [value for name, value in message.headers if name.lower() == "from"]
    return values[0][:200] if values else ""


def _has_null_path(message: Recognisable) -> bool:
    """RFC 5321 section 4.5.5; some servers note a daemon's name for it."""
    return message.return_path == "" or _DAEMON.match(message.return_path or "") is not None


def _is_from_machine(message: Recognisable) -> bool:
    """Is the sender a mail server's: the null path (RFC 5321 section 4.5.5), a customary name?"""
    if _has_null_path(message) or message.from_ is None or is_from_daemon(message):
        return True
    name = message.from_.name[:200] if message.from_ else ""
    return bool(_ROLE.match(_local_part(message)) or _ROLE_NAME.search(name))


def _text_verdict(message: Recognisable, marks: Marks) -> bool | None:
    """Return whether a report in free text is a bounce; None where it is no report."""
    if not _is_text_bounce(message, marks):
        return None
    if BOUNCE_SUBJECT_IS_OPEN.match(message.subject[:300]) is None:
        return True
    text = message.text[:4_000]
    if "x-failed-recipients" in marks or BOUNCE_TEXT.search(text):
        return True
    if DELIVERED_TEXT.search(text):
        return False
    # else perhaps a person who looks after mail, and asks about a delivery
    is_doubtful = not _has_null_path(message) and not message.report_parts
    return None if is_doubtful and message.from_ and _is_postmaster(message) else True


def _is_text_bounce(message: Recognisable, marks: Marks) -> bool:
    """A bounce in free text. The less the sender tells, the more subject and text have to.

    From a daemon one of both is enough, or the mail that it returns; from a postmaster the
    subject; from a program, or with the null path, both. From anyone else the text must begin with
    what only a mail server writes: a person looks after "system@" or "exchange@". A report names an
    address or encloses the mail: people who write that a parcel was not delivered do not, and they
    speak of themselves.
    """
    if "x-failed-recipients" in marks and _is_from_machine(message):
        return True
    says_so = BOUNCE_SUBJECT.match(message.subject[:300]) is not None
    if is_from_daemon(message) or _is_nameless(message):
        return (
            says_so
            or BOUNCE_TEXT.search(message.text[:4_000]) is not None
            or _returns_mail(message)
        )
    if not says_so:
        return False
    if not _has_null_path(message) and _reads_like_a_person(message.text):
        return False
    if _is_postmaster(message):
        return not (_is_letter(message.text) and not _has_null_path(message))
    if not message.report_parts and _AN_ADDRESS.search(message.text[:_TEXT_LOOKED_AT]) is None:
        return False
    if BOUNCE_OPENING.match(message.text[:1_000]):
        return True
    is_machine = _has_null_path(message) or message.from_ is None or _is_from_program(message)
    return is_machine and BOUNCE_TEXT.search(message.text[:4_000]) is not None


def _returns_mail(message: Recognisable) -> bool:
    """Does it enclose a mail, or copy one's id, and not say that it was delivered? That tells in
    languages that nothing here knows."""
    copied = _ID_LINE.search(message.text[:_TEXT_LOOKED_AT])
    if copied is None and not any(kind in _ORIGINAL_TYPES for kind, _ in message.report_parts):
        return False
    says = message.text[: min(4_000, copied.start() if copied else 4_000)]
    return DELIVERED_TEXT.search(says) is None


def _is_from_program(message: Recognisable) -> bool:
    """Is this a sender that only programs have?"""
    name = message.from_.name[:200] if message.from_ else ""
    return bool(_PROGRAM.match(_local_part(message)) or _PROGRAM_NAME.search(name))


def _reads_like_a_person(text: str) -> bool:
    """Programs ask nothing, and only qmail's words greet or speak of themselves."""
    text = text[:600]
    if _SERVER_SPEAKS.match(text):
        return False
    return QUESTION.search(text) is not None or _FIRST_PERSON.search(text) is not None


def _is_letter(text: str) -> bool:
    """Does it greet or close as letters do, without a server's words or a copy of another mail,
    which may greet and close as well?"""
    text = text[:4_000]
    says_so = BOUNCE_TEXT.search(text) or _COPIED_HEADER.search(text)
    return not says_so and _LETTER.search(text) is not None


_LETTER = re.compile(
    r"(?im)\A\W*(?:dear|sehr\sgeehrte|liebe|estimad|cher|geachte|beste|gentil|egregi|madame|bonjour)"
    r"|^\W*(?:(?:kind|best|warm|many)\s(?:regards|wishes|thanks)|regards|sincerely|yours"
    r"|mit\sfreundlichen|(?:viele|beste|freundliche|liebe)\sgrüße|cordialement|bien\scordialement"
    r"|saludos|un\ssaludo|cordiali|distinti|met\svriendelijke|med\sv[äe]nlig|atentamente)\b"
)
"""Salutations and complimentary closes."""
_COPIED_HEADER = re.compile(r"(?im)^[>|\s]*(?:message-id|received|subject|return-path|from)\s*:")
_SERVER_SPEAKS = re.compile(
    r"\W*Hi\.\sThis\sis\sthe\s(?:\S{1,40}\s){1,3}(?:program|server|system)\b"
)
_FIRST_PERSON = re.compile(
    r"\A\W*(?:[Hh]ello|[Hh]allo|[Hh]ey|[Hh]i(?!\. This is the)|[Gg]uten|[Bb]onjour|[Hh]ola)\b"
    r"|(?<!afraid )\bI\b(?![/.]|['’]m (?:afraid|sorry))"
    r"|\b(?:[Mm]y|mine|[Ii]ch|[Mm]eine?[mnrs]?|mon|mes|[Mm]ijn|[Mm]eu|[Mm]inha|мо[йяи])\b"
)
_AN_ADDRESS = re.compile(r"[^\s<>@]@[^\s<>@]")
_ID = re.compile(r"<([^<>\s]{1,2000}(?:\s[^<>]{0,200})?)>")
_ID_LINE = re.compile(
    r"^[>|\s]{0,20}(?:x-)?(?:original-|orig-)?message-id[ \t]*:[ \t]*(?:\r?\n[ \t]+)?(\S{3,2000})",
    re.IGNORECASE | re.MULTILINE,
)


def ids_in(value: str) -> list[str]:
    """Return the message ids in a header value, without brackets."""
    found = _ID.findall(value[:10_000])
    if not found and "@" in value and not re.search(r"\s", value.strip()):
        found = [value.strip().strip("<>")]
    return [one for one in map(tidy, found) if one]


def _reported_ids(message: Recognisable, marks: Marks) -> tuple[str, ...]:
    """Return the ids of the mail that the report is about, the surest first."""
    found: dict[str, None] = {}
    for value in _reported_id_values(message, marks):
        found.update(dict.fromkeys(ids_in(value)))
        if len(found) >= MAX_IDS:
            break
    return tuple(found)[:MAX_IDS]


def _reported_id_values(message: Recognisable, marks: Marks) -> Iterator[str]:
    for kind, raw in message.report_parts:
        text = raw[:_BYTES_LOOKED_AT].decode("utf-8", "replace")
        if kind in _ORIGINAL_TYPES:
            text = re.split(r"\r?\n\r?\n", text.lstrip("\r\n"), maxsplit=1)[0]
        yield from _ID_LINE.findall(text)
    for name in PARENT_HEADERS:
        yield from marks.get(name, ())
    yield from _ID_LINE.findall(message.text[:_TEXT_LOOKED_AT])
