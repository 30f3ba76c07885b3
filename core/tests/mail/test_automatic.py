"""A person's mail is never taken for a machine's; a machine's is never answered by a machine."""

from __future__ import annotations

import time
from typing import Any

import pytest
from postroom.mail.machines.automatic import Recognition, is_no_reply, recognise
from postroom.mail.machines.recognisable import Recognisable
from postroom.mail.message import Address

ANN = Address("ann@customer.example", "Ann Reed")
DAEMON = Address("MAILER-DAEMON@mx.other.example", "Mail Delivery System")


def seen(*headers: tuple[str, str], **facts: Any) -> Recognition:
    values: dict[str, Any] = {"from_": ANN, "subject": "Rear brake squeals", "text": "It squeals."}
    return recognise(Recognisable(headers=headers, **values | facts))


def test_mail_of_a_person_may_be_answered() -> None:
    assert seen(("Received", "from a by b")) == Recognition(
        is_automatic=False, is_bounce=False, may_auto_reply=True, reported_ids=()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auto-Submitted", "auto-replied"),
        ("AUTO-SUBMITTED", 'Auto-Replied (vacation); owner-email="ann@customer.example"'),
        ("Auto-Submitted", "auto-generated"),
        ("Auto-Submitted", "auto-notified; foo=bar"),
        ("Precedence", "auto_reply"),
        ("X-Autoreply", "yes"),
        ("X-Auto-Reply", "1"),
        ("X-Autorespond", "Your repair"),
        ("X-AutoReply-From", "ann@customer.example"),
        ("X-Mail-Autoreply", "vacation"),
        ("X-Cron-Env", "<SHELL=/bin/sh>"),
        ("X-Amazon-Auto-Reply", "true"),
        ("X-Bluebottle-Request", "<1234>"),
        ("X-XARF", "PLAIN"),
        ("Preference", "auto_reply"),
        ("X-POST-MessageClass", "9; Autoresponder"),
        ("X-Apple-Action", "vacation"),
        ("Delivered-To", "Autoresponder"),
        ("X-Mailer", "MDaemon Autoresponder"),
        ("X-Mailer", "vacation 1.2.7"),
    ],
)
def test_header_of_an_auto_responder_makes_it_automatic(name: str, value: str) -> None:
    found = seen((name, value))

    assert (found.is_automatic, found.is_bounce, found.may_auto_reply) == (True, False, False)


@pytest.mark.parametrize("precedence", ["bulk", "junk"])
def test_null_return_path_and_bulk_together_make_it_automatic(precedence: str) -> None:
    mark = ("Precedence", precedence)

    assert seen(mark, return_path="").is_automatic
    assert not seen(mark, ("List-Id", "<l.x.example>"), return_path="").is_automatic
    assert not seen(mark, return_path="l-bounces@x.example").is_automatic
    assert not seen(return_path="").is_automatic


def test_daemon_is_a_machine_whatever_it_writes() -> None:
    daemon = seen(from_=Address("MAILER-DAEMON@m.example"), subject="Quota", text="90% are used.")

    assert (daemon.is_automatic, daemon.is_bounce) == (True, False)


@pytest.mark.parametrize(
    "facts",
    [
        {
            "text": "메일을 보내지 못했습니다.",
            "report_parts": (("message/rfc822", b"Subject: x\n"),),
        },
        {"text": "메일을 보내지 못했습니다.\n\nReceived: from x\nMessage-ID: <q1@desk.example>\n"},
        {"text": "보내지 못했습니다.\n\nMessage-ID: <q1@desk.example>\n\nIt was delivered.\n"},
    ],
    ids=["enclosed", "copied", "with its text"],
)
def test_daemon_that_returns_a_mail_bounces_it_in_whatever_language(facts: dict[str, Any]) -> None:
    assert seen(from_=DAEMON, subject="메일 발송 안내", **facts).is_bounce


@pytest.mark.parametrize(
    "facts",
    [
        {"report_parts": (("message/rfc822", b"Subject: x\n"),)},
        {"text": "Your message was successfully delivered.\nMessage-ID: <q1@desk.example>\n"},
    ],
    ids=["enclosed", "copied"],
)
def test_daemon_that_tells_of_a_delivery_bounces_nothing(facts: dict[str, Any]) -> None:
    told = {"text": "Your message was successfully delivered to its recipients.", **facts}

    found = seen(from_=DAEMON, subject="Mail receipt", **told)

    assert (found.is_automatic, found.is_bounce) == (True, False)


def test_auto_responder_of_a_helpdesk_puts_its_ticket_before_the_word() -> None:
    subject = "[desk.example #33575] AutoReply: My lamp"

    text = "This message has been automatically generated in response to your ticket."

    assert seen(subject=subject, text=text, in_reply_to=("m1@customer.example",)).is_automatic


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Abwesenheit: Liefertermin", "Guten Tag, ich bin am Freitag nicht im Haus."),
        ("Auto: Bremse", "I am out of the office on Friday, please call my mobile."),
        ("Our driver is on vacation", "I am on vacation, too: please send it in June."),
        ("Absence: delivery on Friday", "I will be away, please deliver on Monday."),
        ("Out of office", "I am out of the office on Friday, please send it on Monday."),
        ("Automatische Antwort", "Was soll das? Ich bin im Urlaub und habe nichts geschrieben."),
    ],
)
def test_people_are_away_as_well(subject: str, text: str) -> None:
    assert not seen(subject=subject, text=text).is_automatic
    declared = text + "\nThis is an automatic reply.\n"
    assert seen(subject=subject, text=declared).is_automatic


def test_no_machine_answers_under_a_subject_that_only_machines_write() -> None:
    text = "Thank you for your message. Our office is closed until 5 January."

    assert not seen(subject="Automatic reply: Your order", text=text).may_auto_reply
    assert seen(subject="Out of office", text="I need a new key.").may_auto_reply


@pytest.mark.parametrize(
    "program",
    [
        ("X-Mailer", "Apple Mail (2.3774.300.61.1.2)"),
        ("X-Mailer", "Microsoft Outlook 16.0"),
        ("User-Agent", "Mozilla Thunderbird"),
    ],
    ids=lambda header: header[1][:12],
)
def test_answer_under_the_subject_of_an_automatic_reply_may_be_a_persons(
    program: tuple[str, str],
) -> None:
    facts: dict[str, Any] = {
        "subject": "Automatic reply: Your repair",
        "text": "I am out of the office on Friday, so come on Monday.",
        "in_reply_to": ("m1@desk.example",),
    }

    assert seen(**facts).is_automatic
    found = seen(program, **facts)
    assert (found.is_automatic, found.may_auto_reply) == (False, False)
    assert seen(program, ("Auto-Submitted", "auto-replied"), **facts).is_automatic


def test_sender_that_is_missing_or_cannot_be_read_is_no_bounce_yet() -> None:
    words = "Please send it to the following address: 1 High Street."
    for header in ((), (("From", "ann at customer.example (Ann)"),)):
        found = seen(*header, from_=None, subject="Undelivered parcel", text="Where is it?")
        assert not found.is_bounce
        assert not seen(*header, from_=None, subject="My lamp", text=words).is_bounce
    opening = "Your message to the driver could not be delivered to the following floor: 3."
    assert not seen(subject="Failed delivery: parcel", text=opening).is_bounce
    bounce = seen(("From", "Postmaster <>"), from_=None, subject="Undelivered mail", text="Sorry.")
    assert bounce.is_bounce


@pytest.mark.parametrize(
    ("address", "subject", "text"),
    [
        (
            "postmaster",
            "Delivery failure of our mail",
            "Hi, I look after c.example. Your MX is down.",
        ),
        (
            "postmaster",
            "Undeliverable mail to your domain",
            "Dear admin,\n\nour users report that your relay rejects them. Please whitelist"
            " 192.0.2.1.\n\nKind regards,\nJane Doe, c.example",
        ),
        (
            "postmaster",
            "Mail delivery failed",
            "What does this mean? I wrote to help@desk.example.",
        ),
        (
            "system",
            "Delivery failed",
            "The parcel could not be delivered to ann@c.example, he says.",
        ),
        (
            "exchange",
            "Message could not be delivered",
            "It was not delivered to help@desk.example.",
        ),
        ("bounce", "Delivery failed", "You were unable to deliver it. Write to bounce@c.example."),
        (
            "mailer",
            "Undelivered parcel",
            "Parcel of mailer@c.example: user unknown, says the driver.",
        ),
        ("root", "Delivery error", "Parcel 4711 was not delivered to root@c.example."),
        (
            "ann",
            "Mail delivery failed: returning message to sender",
            "This message was created automatically by mail delivery software.\n"
            "That is what I get when I write to sales@desk.example.",
        ),
    ],
)
def test_people_have_addresses_that_servers_have_too(address: str, subject: str, text: str) -> None:
    sender = Address(f"{address}@c.example", "Ann Reed")
    found = seen(from_=sender, subject=subject, text=text, return_path=sender.address)

    assert (found.is_automatic, found.is_bounce) == (False, False)


def test_daemon_in_the_return_path_is_the_null_path() -> None:
    facts = {"subject": "Undelivered mail", "text": "User unknown: out@customer.example"}
    sender = Address("system@mx.other.example")

    assert seen(from_=sender, return_path="MAILER-DAEMON@mx.other.example", **facts).is_bounce
    assert not seen(from_=sender, return_path="system@mx.other.example", **facts).is_bounce


def test_null_return_path_alone_makes_no_bounce_of_what_people_write() -> None:
    found = seen(return_path="", subject="Undelivered parcel", text="Where is my parcel?")

    assert (found.is_automatic, found.may_auto_reply) == (False, False)


def test_content_type_of_a_report_without_a_report_is_worth_nothing() -> None:
    assert not seen(content_type="multipart/report").is_automatic
    named = seen(content_type="multipart/report", content_type_parameters={"report-type": "x"})
    assert named.is_automatic


def test_receipt_for_a_refused_mail_is_a_bounce() -> None:
    found = seen(
        content_type="multipart/report",
        content_type_parameters={"report-type": "disposition-notification"},
        subject="Automatically rejected mail",
        text="Your message was automatically rejected: Quota exceeded",
    )

    assert found.is_bounce


def test_auto_responder_with_its_words_in_brackets() -> None:
    junk = ("Precedence", "junk")

    assert seen(junk, subject="[Automatyczna odpowiedź] Rower").is_automatic
    assert not seen(junk, subject="[auto] My car does not start").is_automatic
    assert not seen(subject="[Automatyczna odpowiedź] Rower").is_automatic


@pytest.mark.parametrize(
    ("name", "value"),
    [("Auto-Submitted", "no"), ("Auto-Submitted", "No (a person)"), ("X-Autoreply", "no")],
)
def test_header_that_denies_it_makes_nothing_automatic(name: str, value: str) -> None:
    found = seen((name, value))

    assert (found.is_automatic, found.may_auto_reply) == (False, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Precedence", "bulk"),
        ("Precedence", "List"),
        ("Precedence", "junk"),
        ("List-Id", "<news.vendor.example>"),
        ("List-Unsubscribe", "<mailto:u@vendor.example>"),
        ("Mailing-List", "contact x"),
        ("X-Mailing-List", "<x@y.example>"),
        ("Feedback-ID", "n:1:vendor"),
        ("X-Auto-Response-Suppress", "DR, OOF, AutoReply"),
        ("X-Loop", "support@vendor.example"),
    ],
)
def test_lists_bulk_and_suppression_are_questions_that_get_no_automatic_mail(
    name: str, value: str
) -> None:
    found = seen((name, value))

    assert (found.is_automatic, found.is_bounce, found.may_auto_reply) == (False, False, False)


@pytest.mark.parametrize(
    "facts",
    [
        {"return_path": ""},
        {"return_path": "list-bounces@lists.example"},
        {"return_path": "owner-list@lists.example"},
        {"from_": None},
        {"from_": Address("ann")},
        {"from_": Address("@customer.example")},
        {"from_": Address("no-reply@shop.example")},
        {"from_": Address("do_not_reply+x@shop.example")},
        {"reply_to": (Address("noreply@shop.example"),)},
        {"headers": (("Received", "from a by b"),) * 60},
    ],
    ids=str,
)
def test_sender_that_cannot_be_answered(facts: dict[str, Any]) -> None:
    values: dict[str, Any] = {"headers": (), "from_": ANN, "subject": "Brake", "text": "Squeals."}
    found = recognise(Recognisable(**values | facts))

    assert (found.is_automatic, found.may_auto_reply) == (False, False)


@pytest.mark.parametrize(
    "subject",
    [
        "Automatic reply: Your repair",
        "Out of Office: Your repair",
        "Out of Office AutoReply: Your repair",
        "Out of office",
        "Autoreply: Your repair",
        "Auto: Your repair",
        "AUTO: Ann is out of the office (returning 12/01/2026)",
        "[Auto-Reply]: Your repair",
        "[Auto-Reply] Re: Your repair",
        "Out of the office Re: Your repair",
        "Ann Reed is out of the office",
        "Ann Reed is currently on vacation",
        "Automatische Antwort: Ihre Reparatur",
        "Abwesenheitsnotiz: Ihre Reparatur",
        "Abwesenheitsnotiz",
        "Réponse automatique : Votre réparation",
        "Absence du bureau : votre réparation",
        "Respuesta automática: Su reparación",
        "Fuera de la oficina: Su reparación",
        "Risposta automatica: La riparazione",
        "Resposta automática: O conserto",
        "Automatisch antwoord: Uw reparatie",
        "Afwezig: Uw reparatie",
        "Automatiskt svar: Din reparation",
        "Autosvar: Din reparation",
        "Automatisk svar: Din reparation",
        "Automaattinen vastaus: Korjaus",
        "Odpowiedź automatyczna: Naprawa",
        "Automatyczna odpowiedź: Naprawa",
        "Automatická odpověď: Oprava",
        "Automatická odpoveď: Oprava",
        "Automatikus válasz: Javítás",
        "Samodejen odgovor: Popravilo",
        "Ārpus biroja atrašanās automātiska atbilde: Remonts",
        "Sjálfvirkt svar: Viðgerð",
        "Răspuns automat: Reparația",
        "Otomatik yanıt: Onarım",
        "Автоматический ответ: Ремонт",
        "Αυτόματη απάντηση: Επισκευή",
        "自動応答: 修理",
        "自动回复: 修理",
        "自动答复: 修理",
        "자동 회신: 수리",
    ],
)
def test_subject_of_an_auto_responder_with_evidence(subject: str) -> None:
    about = {"subject": subject, "in_reply_to": ("out1@desk.example",)}
    answered = seen(**about, text="I am away until Friday.")
    received = seen(**about, text="We have received your message.")
    by_a_person = seen(**about)
    words_alone = seen(subject=subject)

    assert (answered.is_automatic, answered.may_auto_reply) == (True, False)
    assert (received.is_automatic, received.may_auto_reply) == (True, False)
    assert (by_a_person.is_automatic, by_a_person.may_auto_reply) == (False, False)
    assert words_alone.is_automatic is False


@pytest.mark.parametrize(
    "text",
    [
        "Ich bin nicht da.",
        "Je suis en congés jusqu'au 3 mars.",
        "Estaré ausente hasta el viernes.",
        "Sono in ferie fino a venerdì.",
        "Ik ben op vakantie.",
        "Jag är inte på kontoret.",
        "Do piątku jestem na urlopie.",
        "Я в отпуске до пятницы.",
        "休暇中です。",
        "Ihre Nachricht ist bei uns eingegangen.",
    ],
)
def test_notice_of_an_auto_responder_makes_its_subject_count(text: str) -> None:
    about = {"subject": "Automatic reply: Your repair", "in_reply_to": ("out1@desk.example",)}

    assert seen(**about, text=text).is_automatic
    assert not seen(
        subject="Your repair", in_reply_to=("out1@desk.example",), text=text
    ).is_automatic


@pytest.mark.parametrize(
    "text",
    [
        "It still squeals. Please let a person look at it.",
        "Your machine says that you have received my message. Does anyone read it?",
        "I am away on holiday next week, can you do it before?",
        "Das ist die dritte automatische Antwort. Wann kommt jemand?",
        "Thank you for your answer. Friday suits me.",
        "Do you not have people?",
        "I need it this semester.",
        "В посылке отсутствует лампа.",
        "我不在家，请明天再送。",
        "Ich war nicht da, als der Monteur kam.",
        "La pièce est absente.",
        "We have received your parcel, thank you.",
        "Thanks for the automatic reply. I am on holiday until Monday, my neighbour takes it.",
    ],
)
@pytest.mark.parametrize("subject", ["Auto-reply: Your repair", "Automatische Antwort: Bremse"])
def test_person_who_answers_a_machine_under_its_subject_is_a_person(
    subject: str, text: str
) -> None:
    found = seen(subject=subject, text=text, in_reply_to=("out1@desk.example",))

    assert (found.is_automatic, found.is_bounce) == (False, False)


@pytest.mark.parametrize(
    "facts",
    [
        {"references": ("out1@desk.example",), "text": "I shall be back on Friday."},
        {"return_path": ""},
        {"headers": (("X-Auto-Response-Suppress", "All"),)},
        {"text": "I am currently out of the office until Friday."},
        {"text": "Ich bin bis Freitag nicht im Büro."},
    ],
    ids=str,
)
def test_evidence_that_makes_the_subject_count(facts: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "headers": (),
        "from_": ANN,
        "subject": "Out of Office: Your repair",
        "text": "Away.",
    }

    assert recognise(Recognisable(**values | facts)).is_automatic


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Out of office reply does not work", "My colleague's automatic reply says undeliverable."),
        ("Re: Automatic reply: Your repair", "I am back."),
        ("Fwd: Out of Office: Your repair", "What does this mean?"),
        ("Automatic reply: Your repair", "I am back.\n\n> I am away until Friday.\n"),
        ("Auto repair: when?", "Hello"),
        ("Autos: which one?", "Hello"),
        ("Absence of oil in my bike", "Hello"),
        ("Ausencia de respuesta", "Hola"),
        ("Undeliverable mail", "My mail could not be delivered to you. Why?"),
        ("Mail delivery failed", "I got this: This message was created automatically by mail."),
        ("Re: Undelivered Mail Returned to Sender", "Please use my other address."),
        ("Delivery failure: my parcel", "It could not be delivered, user unknown, they say."),
        ("failure notice", "Hi. I keep getting these when I write to you. Unable to deliver."),
    ],
)
@pytest.mark.parametrize("local", ["ann", "mail", "info", "admin", "administrator"])
def test_words_alone_make_no_machine(subject: str, text: str, local: str) -> None:
    sender = Address(f"{local}@customer.example", "Ann Reed")

    found = seen(from_=sender, subject=subject, text=text, in_reply_to=("out1@desk.example",))

    assert found == Recognition(False, False, True, ())


DELIVERY = {
    "content_type": "multipart/report",
    "content_type_parameters": {"report-type": "delivery-status"},
    "from_": DAEMON,
    "return_path": "",
    "subject": "Delivery report",
}
HEADERS = (
    "text/rfc822-headers",
    b"Subject: Your repair\r\nMessage-ID:\r\n <out1@desk.example>\r\n\r\nMessage-ID: <no@x>\r\n",
)


@pytest.mark.parametrize(
    ("status", "is_bounce"),
    [
        (b"Action: failed\r\nStatus: 5.1.1", True),
        (b"Action: delayed\r\nStatus: 4.4.1", True),
        (b"Action: delivered\r\nStatus: 2.0.0", False),
        (b"Action: relayed\r\n", False),
        (b"action:  EXPANDED (list)\r\n", False),
        (b"Action: delivered\r\n\r\nFinal-Recipient: rfc822;b\r\nAction: failed", True),
        (b"Status: 5.0.0", True),
        (b"Status: 2.0.0", False),
        (b"", True),
    ],
)
@pytest.mark.parametrize("kind", ["message/delivery-status", "message/global-delivery-status"])
def test_delivery_report(kind: str, status: bytes, is_bounce: bool) -> None:
    head = b"Reporting-MTA: dns; mx.other.example\r\n\r\nFinal-Recipient: rfc822;a@b\r\n"

    found = seen(**DELIVERY, report_parts=((kind, head + status + b"\r\n"), HEADERS))

    assert found == Recognition(True, is_bounce, False, ("out1@desk.example",))


def test_read_receipt_names_the_mail_it_is_about() -> None:
    found = seen(
        content_type="multipart/report",
        content_type_parameters={"report-type": "disposition-notification"},
        subject="Read: Your repair",
        report_parts=(
            (
                "message/disposition-notification",
                b"Final-Recipient: rfc822;ann@customer.example\r\n"
                b"Original-Message-ID: <out1@desk.example>\r\nDisposition: x; displayed\r\n",
            ),
        ),
    )

    assert found == Recognition(True, False, False, ("out1@desk.example",))


@pytest.mark.parametrize("parameters", [{"report-type": "feedback-report"}, {}], ids=str)
def test_complaint_is_a_report_and_no_bounce(parameters: dict[str, str]) -> None:
    found = seen(
        content_type="multipart/report",
        content_type_parameters=parameters,
        subject="Undelivered? Abuse report",
        report_parts=(
            ("message/feedback-report", b"Feedback-Type: abuse\r\n"),
            ("message/rfc822", b"Message-ID: <out1@desk.example>\r\n\r\nBuy\r\n"),
        ),
    )

    assert found == Recognition(True, False, False, ("out1@desk.example",))


def test_status_part_in_a_mail_of_a_person_is_no_bounce() -> None:
    found = seen(
        content_type="multipart/mixed",
        subject="Fwd: Undelivered Mail",
        report_parts=(("message/delivery-status", b"Action: failed\r\n"),),
    )

    assert found == Recognition(False, False, True, ())


POSTMASTER = Address("postmaster@other.example", "Eve Gray")


@pytest.mark.parametrize(
    ("facts", "is_automatic", "is_bounce"),
    [
        ({"text": "Please send me the delivery report of parcel 12."}, False, False),
        ({"text": "The message to ann@x.example was not delivered: user unknown"}, True, True),
        ({"text": "Your message to ann@x.example was successfully delivered."}, True, False),
        ({"text": "Some words.", "return_path": ""}, True, True),
        ({"text": "Some words.", "report_parts": (HEADERS,)}, True, True),
        ({"text": "It was delivered.", "from_": DAEMON}, True, False),
        ({"text": "Some words.", "from_": DAEMON}, True, True),
        ({"text": "Some words.", "subject": "Delivery status: failed"}, True, True),
        ({"text": "When?", "from_": ANN}, False, False),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "subject", ["Delivery report", "Delivery Status Notification", "delivery status"]
)
def test_delivery_report_without_its_structure_is_what_its_text_says(
    subject: str, facts: dict[str, Any], is_automatic: bool, is_bounce: bool
) -> None:
    found = seen(**{"subject": subject, "from_": POSTMASTER} | facts)

    assert (found.is_automatic, found.is_bounce) == (is_automatic, is_bounce)


BOUNCES = {
    "qmail": (
        Address("MAILER-DAEMON@mx.other.example"),
        "failure notice",
        "Hi. This is the qmail-send program at mx.other.example.\nI'm afraid I wasn't able to\n",
    ),
    "exim": (
        Address("Mailer-Daemon@mx.other.example", "Mail Delivery System"),
        "Mail delivery failed: returning message to sender",
        "This message was created automatically by mail delivery software.\n",
    ),
    "exim-delay": (
        Address("Mailer-Daemon@mx.other.example"),
        "Warning: message 1a2b3c delayed 24 hours",
        "This message was created automatically by mail delivery software.\n",
    ),
    "postfix": (
        Address("MAILER-DAEMON@mx.other.example", "Mail Delivery System"),
        "Undelivered Mail Returned to Sender",
        "This is the Postfix program at host mx.other.example.\n",
    ),
    "sendmail": (
        Address("MAILER-DAEMON@mx.other.example", "Mail Delivery Subsystem"),
        "Returned mail: User unknown",
        "   ----- The following addresses had permanent fatal errors -----\n",
    ),
    "exchange-5.5": (
        Address("postmaster@other.example", "System Administrator"),
        "Undeliverable: Your repair",
        "Your message did not reach the following recipient(s):\n",
    ),
    "exchange-daemon": (
        Address("MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@other.example"),
        "Non remis : Votre réparation",
        "Échec de la remise aux destinataires ou groupes suivants.\n",
    ),
    "james": (
        Address("postmaster@james.example"),
        "[BOUNCE]",
        "I'm afraid I wasn't able to deliver your message.\n",
    ),
    "james-from-its-beginning": (
        Address("postmaster@james.example"),
        "[BOUNCE]",
        "Hi. This is the James mail server at mx.example.\nI'm afraid I wasn't able to deliver "
        "your message to the following addresses.\nThis is a permanent error; I've given up.\n",
    ),
    "in-unknown-words": (
        Address("postmaster@other.example"),
        "Undeliverable: Your repair",
        "Nil Zustellung.\n\nSubject: Your repair\n\nDear Ann,\nit is done.\nKind regards,\nDesk\n",
    ),
    "gmail-german": (
        DAEMON,
        "Benachrichtigung zum Übermittlungsstatus",
        "Ihre Nachricht wurde nicht an ann@other.example zugestellt.\n",
    ),
    "interscan-japanese": (
        Address("mss@other.example", "InterScan Notification"),
        "メールを配信できません。",
        "RCPT TO:<ann@other.example>\n550 5.1.1 user unknown\n",
    ),
    "exchange-german": (
        Address("postmaster@other.example"),
        "Unzustellbar: Ihre Reparatur",
        "Fehler bei der Nachrichtenzustellung.\n",
    ),
    "notes": (
        Address("Postmaster@other.example"),
        "DELIVERY FAILURE: User ann (ann@other.example) not listed in Domino Directory",
        "Your message could not be delivered.\n",
    ),
    "groupwise": (
        Address("Mailer-Daemon@other.example"),
        "Message status - undeliverable",
        "The message that you sent was undeliverable to the following:\n",
    ),
    "yahoo": (Address("MAILER-DAEMON@yahoo.example"), "Delivery failure", "Unable to deliver.\n"),
    "unknown-gateway": (
        Address("gateway7@other.example"),
        "Mail delivery failed",
        "A message that you sent could not be delivered to one or more of its recipients.\n",
    ),
}


@pytest.mark.parametrize(("sender", "subject", "text"), BOUNCES.values(), ids=BOUNCES)
def test_bounce_without_structure(sender: Address, subject: str, text: str) -> None:
    copy = "\n--- Below this line is a copy of the message.\n\nMessage-ID: <out1@desk.example>\n"

    found = seen(from_=sender, subject=subject, text=text + copy)

    assert found == Recognition(True, True, False, ("out1@desk.example",))


def test_exchange_names_the_parent_of_its_automatic_reply() -> None:
    found = seen(
        ("Auto-Submitted", "auto-generated"),
        ("X-MS-Exchange-Parent-Message-Id", "<out1@desk.example>"),
    )

    assert found.reported_ids == ("out1@desk.example",)


def test_ids_that_a_report_names_can_be_stored_and_found() -> None:
    status = b"Original-Message-ID: <out\x001\x07@desk.example>\n\nAction: failed\n"
    found = seen(
        from_=DAEMON,
        report_parts=(
            ("message/delivery-status", status),
            ("message/rfc822", b"Message-ID: <" + b"\xe9" * 1_500 + b"@desk.example>\n"),
        ),
    )

    assert found.reported_ids[0] == "out1@desk.example"
    assert all(len(one.encode()) < 2_704 for one in found.reported_ids)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("no-reply@a.example", True),
        ("noreply123@a.example", True),
        ("shop.noreply@a.example", True),
        ("nicht-antworten@a.example", True),
        ("bounce+123=x@a.example", True),
        ("list-request@a.example", True),
        ("owner-list@a.example", True),
        ("postmaster@a.example", True),
        ("ann@noreply.example", False),
        ("noreen@a.example", False),
        ("bruno.reply@a.example", False),
        ("requests@a.example", False),
        ("anno.rep@a.example", False),
    ],
)
def test_addresses_that_nobody_reads(address: str, expected: bool) -> None:
    assert is_no_reply(address) is expected


@pytest.mark.parametrize(
    "facts",
    [
        {"subject": "automatic " * 100_000, "in_reply_to": ("a@b",)},
        {"subject": "*" * 1_000_000, "from_": DAEMON},
        {"text": "Message-ID:\n" * 100_000, "from_": DAEMON, "subject": "failure notice"},
        {"text": "> " * 500_000, "from_": DAEMON, "subject": "failure notice"},
        {"text": "this is the " + "x" * 1_000_000, "from_": DAEMON},
        {"from_": Address("no" * 500_000 + "@a.example")},
        {"from_": Address("a" * 1_000_000)},
    ],
    ids=lambda facts: str(facts)[:30],
)
def test_a_megabyte_of_anything_takes_a_moment(facts: dict[str, Any]) -> None:
    started = time.perf_counter()

    seen(**facts)

    assert time.perf_counter() - started < 1
