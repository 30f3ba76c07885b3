"""What a reply adds is kept, whole; what it quotes is cut only where that is certain."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postroom.mail.quoting.quoting import strip_quotes

ATTRIBUTIONS = {
    "english-gmail": "On Tue, Mar 3, 2026 at 9:15 AM Desk <help@desk.example> wrote:",
    "english-gmail-wrapped": (
        "On Tue, Mar 3, 2026 at 9:15 AM The Desk of a Long Name\n<help@desk.example> wrote:"
    ),
    "english-wrapped-twice": (
        "On Tue,\nMar 3, 2026 at 9:15 AM The Desk of a Long Name\n<help@desk.example> wrote:"
    ),
    "english-apple": "On 3 Mar 2026, at 09:15, Desk <help@desk.example> wrote:",
    "english-thunderbird": "On 03/03/2026 09:15, Desk wrote:",
    "english-no-date": "Desk wrote:",
    "english-claws": "On Tue, 3 Mar 2026 09:15:00 +0100\nDesk <help@desk.example> wrote:",
    "english-emacs": "At Tue, 3 Mar 2026 09:15:00 +0100,\nDesk wrote:",
    "english-eudora": "At 09:15 AM 3/3/2026 -0500, you wrote:",
    "english-the-bat": "Tuesday, March 3, 2026, 9:15:00 AM, you wrote:",
    "english-kmail": "On Tuesday 3 March 2026 09:15, you wrote:",
    "english-exmh": "In message <m1@desk.example> you wrote:",
    "german-gmail": "Am Di., 3. März 2026 um 09:15 Uhr schrieb Desk <help@desk.example>:",
    "german-wrapped": "Am Di., 3. März 2026 um 09:15 Uhr schrieb Desk (lang)\n<h@desk.example>:",
    "german-thunderbird": "Am 03.03.26 um 09:15 schrieb Desk:",
    "german-name-first": "Desk <help@desk.example>\nschrieb am Di., 3. März 2026, 09:15:",
    "german-web-de": "Desk schrieb am 03.03.2026 09:15:",
    "french-gmail": "Le mar. 3 mars 2026 à 09:15, Desk <help@desk.example> a écrit :",
    "spanish-gmail": "El mar, 3 mar 2026 a las 9:15, Desk (<help@desk.example>) escribió:",
    "italian-gmail": "Il giorno mar 3 mar 2026 alle ore 09:15 Desk <help@desk.example> ha scritto:",
    "italian-long": "In data 3 marzo 2026 alle ore 09:15, Desk <help@desk.example> ha scritto:",
    "dutch-gmail": "Op di 3 mrt 2026 om 09:15 schreef Desk <help@desk.example>:",
    "portuguese-gmail": "Em ter., 3 de mar. de 2026 às 09:15, Desk <help@desk.example> escreveu:",
    "polish-gmail": "wt., 3 mar 2026 o 09:15 Desk <help@desk.example> napisał(a):",
    "portuguese-apple": "No dia 3 de mar. de 2026, às 09:15, Desk <h@desk.example> escreveu:",
    "polish-apple": "Wiadomość napisana przez Desk <h@desk.example> w dniu 3 mar 2026, o 09:15:",
    "czech-evolution": "Desk píše v Út 03. 03. 2026 v 09:15 +0100:",
    "polish-thunderbird": "W dniu 03.03.2026 o 09:15, Desk pisze:",
    "swedish-gmail": "Den tis 3 mars 2026 kl 09:15 skrev Desk <help@desk.example>:",
    "danish-gmail": "Den tirs. 3. mar. 2026 kl. 09.15 skrev Desk <help@desk.example>:",
    "norwegian-gmail": "tir. 3. mars 2026 kl. 09:15 skrev Desk <help@desk.example>:",
    "finnish-gmail": "ti 3. maalisk. 2026 klo 9.15 Desk (help@desk.example) kirjoitti:",
    "czech-gmail": "út 3. 3. 2026 v 9:15 odesílatel Desk <help@desk.example> napsal:",
    "slovak-gmail": "ut 3. 3. 2026 o 9:15 Desk <help@desk.example> napísal(a):",
    "hungarian-gmail": "Desk <help@desk.example> ezt írta (időpont: 2026. márc. 3., K, 9:15):",
    "romanian-gmail": "mar., 3 mar. 2026 la 09:15, Desk <help@desk.example> a scris:",
    "turkish-gmail": "Desk <help@desk.example>, 3 Mar 2026 Sal, 09:15 tarihinde şunu yazdı:",
    "russian-gmail": "вт, 3 мар. 2026 г. в 09:15, Desk <help@desk.example>:",
    "russian-mail": "Вторник, 3 марта 2026, 9:15 +03:00 от Desk <help@desk.example>:",
    "russian-thunderbird": "03.03.2026 09:15, Desk пишет:",
    "ukrainian-gmail": "вт, 3 бер. 2026 р. о 09:15 Desk <help@desk.example> пише:",
    "bulgarian-gmail": "На вт, 3.03.2026 г. в 9:15 Desk <help@desk.example> написа:",
    "greek-gmail": "Στις Τρί 3 Μαρ 2026 στις 9:15 π.μ., ο χρήστης Desk <h@desk.example> έγραψε:",
    "croatian-gmail": "uto, 3. ožu 2026. u 09:15 Desk <help@desk.example> napisao je:",
    "japanese-gmail": "2026年3月3日(火) 9:15 Desk <help@desk.example>:",
    "japanese-apple": "2026/03/03 9:15、Desk <help@desk.example>のメッセージ:",
    "chinese-gmail": "Desk <help@desk.example> 于2026年3月3日周二 09:15写道：",
    "taiwanese-gmail": "Desk <help@desk.example> 於 2026年3月3日 週二 上午9:15寫道：",
    "korean-gmail": "2026년 3월 3일 (화) 오전 9:15, Desk <help@desk.example>님이 작성:",
    "vietnamese-gmail": "Vào Th 3, 3 thg 3, 2026 vào lúc 09:15 Desk <help@desk.example> đã viết:",
    "indonesian-gmail": "Pada tanggal Sel, 3 Mar 2026 pukul 09.15 Desk <h@desk.example> menulis:",
    "hebrew-gmail": "‫בתאריך יום ג׳, 3 במרץ 2026 ב-9:15 מאת ‪Desk‬‏ <‪help@desk.example‬‏>:‬",
    "english-company-wrapped": (
        "On Tue, Mar 3, 2026 at 9:15 AM Max Mustermann Support (Firma GmbH & Co.\n"
        "KG) <max@desk.example> wrote:"
    ),
    "english-list": "annlee via Desk Help wrote:",
    "english-particles": "Jan van der Berg wrote:",
    "english-girls-name": "Mia Lee wrote:",
    "german-name-first-wrapped": (
        "Customer Support Team <customer-support@desk.example> schrieb am Di., 3. März\n"
        "2026, 09:15:"
    ),
    "german-shortened": "Aa Bb <abc@abc.example> schrieb am Di., 3.\nMärz 2026, 09:15:",
    "catalan-gmail": "Missatge de Desk <help@desk.example> del dia dt., 3 de març 2026 a les 9:15:",
    "czech-wrapped": (
        "po 2. 3. 2026 v 9:15 odesílatel Customer Support Team\n"
        "<customer-support+a1b2c3@mail.desk.example> napsal:"
    ),
    "slovak-wrapped": (
        "po 2. 3. 2026 o 9:15 Anne-Marie de la Fontaine <anne-marie@desk.example>\nnapísal(a):"
    ),
    "hungarian-wrapped": (
        "Jan Novák <jan.novak@mail.desk-company.example> ezt írta (időpont: 2026.\n"
        "márc. 3., K, 9:15):"
    ),
    "turkish-wrapped": (
        "Jan Novák <jan.novak@mail.desk-company.example>, 3 Mar 2026 Sal, 09:15\n"
        "tarihinde şunu yazdı:"
    ),
    "hebrew-wrapped": (
        "‫בתאריך יום ג׳, 3 במרץ 2026 ב-9:15 מאת ‪Customer Support Team‬‏\n"
        "<‪customer-support@mail.desk.example‬‏>:‬"
    ),
    "chinese-wrapped": (
        "Customer Support Team\n<customer-support+a1b2c3@mail.desk-company.example>\n"
        "于2026年3月3日周二 09:15写道："
    ),
    "chinese-apple": "在 2026年3月3日，上午9:15，Desk <help@desk.example> 写道：",
    "afrikaans-gmail": "Desk <help@desk.example> het op Di., 3 Mrt. 2026 om 09:15 geskryf:",
    "chinese-roundcube": "在 2026-03-03 09:15，Desk 写道：",
    "chinese-yahoo": "Desk <h@desk.example> 在 2026年3月3日 星期二 上午09:15:00 [GMT+8] 寫道﹕",
    "chinese-roundcube-tw": "Desk 於 2026-03-03 09:15 寫到:",
    "korean-roundcube": "2026-03-03 09:15에 Desk이(가) 쓴 내용:",
    "indonesian-yahoo": "Pada Selasa, 3 Maret 2026 09.15.00 GMT+7, Desk <h@d.example> menulis:",
    "italian-evolution": "Il giorno mar, 03/03/2026 alle 09.15 +0100, Desk ha scritto:",
    "slovenian-thunderbird": "Dne 3. 03. 2026 ob 09:15 je Desk napisal(a):",
    "catalan-thunderbird": "El 3/3/26 a les 9:15, Desk ha escrit:",
    "turkish-roundcube": "2026-03-03 09:15, Desk yazmış:",
    "albanian-gmail": "Më mar, 3 mar 2026 në 9:15 Desk <help@desk.example> shkroi:",
    "bengali-gmail": "মঙ্গল, ৩ মার্চ, ২০২৬ তারিখে ৯:১৫ AM টায় Desk <help@desk.example> লিখেছেন:",
    "luxembourgish-roundcube": "Den 2026-03-03 09:15, Desk schreift:",
    "dutch-horde": "Citeren Desk <help@desk.example>:",
    "hungarian-horde": "Idézet (Desk <help@desk.example>):",
    "english-gmail-bracket": (
        "On Tue, Mar 3, 2026 at 9:15 AM Desk <help+the-tag-of-a-question@desk.example\n> wrote:"
    ),
    "norwegian-gmail-bracket": "tir. 3. mars 2026 kl. 09:15 skrev The Desk <help@desk.example\n>:",
    "arabic-gmail": "في الثلاثاء، 3 مارس 2026 في 9:15 ص تمت كتابة ما يلي بواسطة D <h@d.example>:",
}


@pytest.mark.parametrize("attribution", ATTRIBUTIONS.values(), ids=ATTRIBUTIONS)
def test_announced_quote_below_the_answer_is_cut_with_its_announcement(attribution: str) -> None:
    text = f"Friday suits me.\n\n{attribution}\n\n> When can you come?\n>\n> Desk\n"

    assert strip_quotes(text) == "Friday suits me."


@pytest.mark.parametrize(
    "name", [name for name, line in ATTRIBUTIONS.items() if "2026" in line and "@" in line]
)
def test_quote_without_marks_is_cut_below_a_line_that_only_programs_write(name: str) -> None:
    text = f"Friday suits me.\n\n{ATTRIBUTIONS[name]}\n\nWhen can you come?\n"

    assert strip_quotes(text) == "Friday suits me."


@pytest.mark.parametrize("mark", ["\t", "    ", "| "], ids=repr)
@pytest.mark.parametrize("name", ["english-thunderbird", "german-web-de", "english-gmail-wrapped"])
def test_quote_that_is_set_apart_is_cut_below_any_attribution(name: str, mark: str) -> None:
    quote = f"{mark}When can you come?\n\n{mark}Desk\n"

    assert strip_quotes(f"Friday suits me.\n\n{ATTRIBUTIONS[name]}\n\n{quote}") == (
        "Friday suits me."
    )
    answered = f"Friday.\n\n{ATTRIBUTIONS['english-thunderbird']}\n\n{quote}\nAnd the lamp?\n"
    assert strip_quotes(answered) == answered


def test_blank_lines_may_stand_between_an_attribution_and_its_quote() -> None:
    line = ATTRIBUTIONS["english-thunderbird"]

    assert strip_quotes(f"Friday suits me.\n\n{line}\n\n\n\n\n> When?\n") == "Friday suits me."


@pytest.mark.parametrize(
    "block",
    [
        "________________________________\nFrom: Desk <help@desk.example>\n"
        "Sent: Tuesday, March 3, 2026 9:15 AM\nTo: Ann\nSubject: Your repair\n",
        "*From:* Desk <help@desk.example>\n*Sent:* Tuesday, March 3, 2026 9:15 AM\n*To:* Ann\n"
        "*Subject:* Your repair\n",
        "Von: Desk <help@desk.example>\nGesendet: Dienstag, 3. März 2026 09:15\nAn: Ann\n"
        "Betreff: Ihre Reparatur\n",
        "De : Desk <help@desk.example>\nEnvoyé : mardi 3 mars 2026 09:15\nÀ : Ann\n"
        "Objet : Votre réparation\n",
        "De: Desk\nEnviado el: martes, 3 de marzo de 2026 9:15\nPara: Ann\nAsunto: Su bici\n",
        "Da: Desk\nInviato: martedì 3 marzo 2026 09:15\nA: Ann\nOggetto: La bici\n",
        "Van: Desk\nVerzonden: dinsdag 3 maart 2026 09:15\nAan: Ann\nOnderwerp: Uw fiets\n",
        "Från: Desk\nSkickat: den 3 mars 2026 09:15\nTill: Ann\nÄmne: Cykeln\n",
        "Fra: Desk\nSendt: 3. marts 2026 09:15\nTil: Ann\nEmne: Cyklen\n",
        "Od: Desk\nWysłano: wtorek, 3 marca 2026 09:15\nDo: Ann\nTemat: Rower\n",
        "Od: Desk\nOdesláno: úterý 3. března 2026 9:15\nKomu: Ann\nPředmět: Kolo\n",
        "От: Desk\nОтправлено: 3 марта 2026 г. 9:15\nКому: Ann\nТема: Велосипед\n",
        "差出人: Desk\n送信日時: 2026年3月3日 9:15\n宛先: Ann\n件名: 修理\n",
        "发件人: Desk\n发送时间: 2026年3月3日 9:15\n收件人: Ann\n主题: 修理\n",
        "No: Desk <h@desk.example>\nNosūtīts: otrdiena, 2026. gada 3. marts 9:15\nKam: Ann\n"
        "Tēma: x\n",
        "מאת: Desk\n\u200f\u200fנשלח: יום שלישי 03 מרץ 2026 09:15\nאל: Ann\nנושא: x\n",
        "De: Desk\nPara: Ann\nEnviados: Martes, 3 de Marzo 2026 9:15:00\nAsunto: x\n",
        "Afsender: Desk <h@desk.example>\nDato: 2026-03-03 09:15\nModtager: Ann\nEmne: x\n",
        '03.03.2026, 09:15, "Desk" <help@desk.example>:\n',
        '-----\nКому: a@x.example;\nТема: x;\n03.03.2026, 09:15, "Desk" <help@desk.example>:\n',
        "Wednesday, 3 March 2026, 9:15 AM +0300 from Desk <help@desk.example>:\n",
        "От: Desk\nОтправлено: \u200e3\u200e \u200eмарта\u200e \u200e2026\u200e г. "
        "\u200e9\u200e:\u200e15\nКому: Ann\n",
        "‐‐‐‐‐‐‐ Original Message ‐‐‐‐‐‐‐\n",
        "---- Replied Message ----\n| From | Desk<help@desk.example> |\n",
        "-----邮件原件-----\n发件人: Desk\n",
        "-------- 원본 이메일 --------\n발신: Desk\n",
        "-------- Оригинално писмо --------\n От: Desk\n",
        "-----Original Message-----\nFrom: Desk\n",
        "-----Ursprüngliche Nachricht-----\nVon: Desk\n",
        "----- Message d'origine -----\n",
        "-----Mensaje original-----\n",
        "-----Messaggio originale-----\n",
        "-----Oorspronkelijk bericht-----\n",
        "-----Исходное сообщение-----\n",
        "##- Please type your reply above this line -##\n",
        "## In replies all text above this line is added to the ticket ##\n"
        "--- Please reply above this line ---\n",
    ],
    ids=lambda block: block.strip("_-*#\n ").split("\n")[0][:24],
)
def test_block_of_a_mail_program_ends_the_reply(block: str) -> None:
    reply = strip_quotes(f"Friday suits me.\n\n{block}\nWhen can you come?\n")

    assert reply.startswith("Friday suits me.")
    assert "When can you come?" not in reply


@pytest.mark.parametrize(
    "text",
    [
        "On Friday I wrote:\nplease call me. That still holds.\n",
        "On 3 March 2026 at 9:15 your colleague wrote:\nWe come on Friday.\n\nNobody came.\n",
        "Nobody came.\n\nOn 3.3.2026 10:15, Desk wrote:\n\nWe come on Friday.\n\nWhy?\n",
        "I read on 3.3.2026 what your desk wrote:\n\n    We come on Friday.\n",
        "These are broken:\n\n    lamp, since 3.3.2026\n    brake\n",
        "> When can you come?\nFriday.\n\n> Which bike?\nThe red one.\n",
        "Hello,\n\n> When can you come?\n\nFriday.\n",
        "I tried these:\n> ls\n> cat\n",
        "> 30 kg is what it carries, you said.\nIt broke under 20.\n",
        "My address is <ann@customer.example>, you wrote:\n> no:\n\nIt is.\n",
        "From: London\nTo: Paris\nDate: 3 March 2026\n\nIs a bike allowed on this train?\n",
        "Name: Ann\nSubject: Brake\nMessage: it squeals\n",
        "The original message said Friday.\n",
        "Please type your reply above this line, it says, but where?\n",
        "My phone is dead.\n\nSent from my desk I have three letters, and no answer to any.\n",
        "Sent from my iPhone\n",
        "-- \nAnn Reed\n",
        "----------\nA line above all.\n",
        "Here it is:\n--\nA\n\n" + "B\n" * 30,
        "I do not understand what your colleague wrote:\n> We come on Friday.\n",
        "I got this:\n\nFrom: Bo\nSent: 3 March 2026 9:15\nTo: Ann\nSubject: You won\n\nPay.\n\n"
        "Is it from you?\n",
        "As I wrote to you on 03.03.2026:\n> the brake squeals\n\nPlease answer.\n",
        "Thanks!\n-----Original Message-----\n> When?\nFriday. And bring the lamp.\n",
        "Thanks!\n\n------- Original Message -------\nOn Tue, March 3rd, 2026 at 9:15 AM, Desk\n"
        "<h@desk.example> wrote:\n\n> When?\n\nFriday.\n\n> Which?\n\nThe red one.\n",
        "Hello Desk,\n\nGet Outlook for iOS<https://aka.ms/o0ukef>\n________\nFrom: Desk\n"
        "Sent: 3 March 2026 9:15\nTo: Ann\nSubject: x\n\nWhen?\n\nFriday suits me.\n",
        "Thanks!\n\nFrom: Desk\nSent: Tue, 3 Mar 2026 9:15\nTo: Ann\nSubject: x\n\n"
        "> When?\nFriday.\n> Which bike?\nThe red one.\n",
        "Meine Antworten im Text.\n\nVon: Desk\nGesendet: 3. März 2026 09:15\nAn: Ann\n"
        "Betreff: x\n\nWann?\nFreitag.\n",
        "Hello Desk,\n\n-- \nAnn Reed\n\nThe lamp never came. I want it back.\n",
        "Friday.\n\n-- \nAnn\n\nPS: the lamp is broken, too.\n",
        "Friday.\n\n-- \nAnn\n\nBy the way, can you bring a lamp?\n",
        "A new lamp, or\n--\nthe money back.\n\nWhich is better?\n",
        "The log:\n--\nstarted\nstopped\n",
        "Lamp: broken\n--\nBike: fine\n--\nBell: lost\n",
        "The lamp never came.\n--\nThe bike came twice.\n",
        "The lamp never came.\n\n--\n\nThe bike came twice.\n",
        "Words\n--\nbetween\n--",
        "Sent from my iPhone\n\n-----Original Message-----\nFrom: Desk\n\nWhen?\n\nFriday.\n",
        "- invoice\n- original message\n- photo\n",
        "Rules:\n- sign here\n- write your answer above the red line\n- send it\n",
        "It came from\n\nFrom: London\nSent: yesterday\nTracking: 12\n",
        "Yes\n2026-03-03 it broke\nmy address is ann@customer.example\nI wrote you twice:\nlamp\n",
        "It is dead.\n\nSent from my phone because my computer is broken\n",
        "It is dead.\n\nSent from my iPhone. Please call!\n",
        "Hi Desk,\n\n-----Original Message-----\nFrom: Desk\nSent: 3 March 2026 9:15\n"
        "Subject: x\n\nWhen?\n\nFriday suits me.\n",
        "Please check\n\nNo: 4711\nDate: 3 March 2026\nSubject: Lamp\n\nIt never came.\n",
        "Look at this\nFrom: Bo\nSent: 3 March 2026 9:15\nTo: Ann\nSubject: You won\nIs it true?\n",
        "I sent it.\n\nFrom my phone.\n",
        "I sent it.\n\nSent by Galaxy Couriers on Monday\n",
        "It is dead.\n\nSent from my phone 0171 2345678\n",
        "Bozuldu.\n\nTelefon gönderildi\n",
        "Ma commande.\n\nProvenance : courrier pour la direction\n",
        "No bike.\n\nOn 3 March 2026 Bo <bo@x.example> wrote to me:\nIt is there.\n\nIt is not!\n",
        "Kein Rad.\n\nAm 3.3.2026 hat Bo <bo@x.example> mir geschrieben:\nEs ist da.\n\nNein!\n",
        "No lamp.\n\nOn 3 March 2026 Bo wrote to help@desk.example:\nWhere is it?\n\nNo idea.\n",
        "No lamp.\n\nOn 3/3/2026 at 9:15 Bo wrote to h@desk.example:\nWhere is it?\n\nNo idea.\n",
        "Pas de lampe.\n\nLe 3 mars 2026 Bo a écrit à help@desk.example :\nOù est-elle ?\n",
        "Nessuna lampada.\n\nIl 3/3/2026 Bo ha scritto a help@desk.example:\nDov'è?\n",
        "Ninguna.\n\nEl 3/3/2026 a las 9:15 hemos escrito a help@desk.example:\n¿Dónde está?\n",
        "Keine Lampe.\n\nAm 3.3.2026 schrieb Frau Lind von <bo@x.example>:\nSie kommt.\n\nNein!\n",
        "It fails\n\n2026-03-03 09:15:00 mail of <bo@x.example>:\n2026-03-03 09:15:01 no space\n",
        "It says\n\n03.03.2026 09:15 <bo@x.example>:\n550 no such user\n\nSo what now?\n",
        "Is this yours?\n\nFrom: Bo <bo@x.example>\nDate: 3 March 2026 9:15\nSubject: Lamp\n",
        "Wo ist es?\n\nAbsender: Laden Lind\nGesendet am: 03.03.2026\nNummer: 12\n\nIch warte.\n",
        "Where is it?\n\nFrom: Leeds\nSent: 3/3/2026\nTracking: 12\n\nI wait.\n",
        "I book\n\nSubject: Mathematics\nFrom: 10 am\nDate: 3 March 2026\nRoom: 1\n\nFree?\n",
        "Look at this\nFrom: Bo <b@x.example>\nSent: 3/3/26 9:15\nTo: A\nSubject: x\nIs it?\n",
        "Look at this\nFrom: Bo <b@x.example>\nSent: Monday\nTo: Ann\nSubject: Won\n\nIs it?\n",
        "No bike.\n\n03.03.2026, 09:15, no mail from <bo@x.example>:\n\nWhy?\n",
        "Je réserve\n\nDate : 3/3/2026\nDe : 10 à 12\nObjet : fête\n\nEst-ce possible ?\n",
    ],
    ids=lambda text: text.strip("> \n").split("\n")[0][:30],
)
def test_words_of_the_customer_are_all_kept(text: str) -> None:
    assert strip_quotes(text) == text


@pytest.mark.parametrize("answer", ["From my iPhone.", "Sent via Outlook"])
def test_answer_that_reads_like_the_line_of_a_mobile_is_kept(answer: str) -> None:
    above = "On Tue, 3 Mar 2026 at 09:15, Desk <desk@example.org> wrote:\n> How did you send it?\n"
    assert strip_quotes(f"{above}\n{answer}") == answer


@pytest.mark.parametrize(
    "line",
    [
        "Your colleague Sam wrote:",
        "The shop wrote:",
        "On 3 March 2026 the driver wrote:",
        "At 09:15 the server wrote:",
        "Order 2026-17 is still missing. Sam wrote:",
        "It arrived on 3 March 2026. Sam wrote:",
        "My address is ann@customer.example since 2024:",
        "Order 2026-17 for ann@customer.example:",
        "Rechnung vom 3.3.2026 an ann@customer.example:",
        "Der Händler schrieb:",
        "Zitat von Ihrer Seite:",
        "Citando Laura:",
        "Gestern schrieb der Fahrer:",
        "Am 3.3.2026 schrieb der Fahrer:",
        "Votre vendeur a écrit :",
        "El pedido no llega, la tienda escribió:",
        "Il pacco è rotto, il negozio ha scritto:",
        "Il tecnico alle 09.15 del 3/3/2026 ha scritto:",
        "Le technicien Durand le 3 mars 2026 à 9:15 a écrit :",
        "Op 3 maart 2026 schreef de bezorger:",
        "Den 3 mars 2026 skrev butiken:",
        "Zamówienie z 3.3.2026 nie dotarło, a sklep napisał:",
        "Zboží objednané 3.3.2026 stále nedorazilo, ale obchod napsal:",
        "Az eladó ezt írta:",
        "Заказ номер 2026-15 до сих пор не пришёл, хотя магазин написал:",
        "Вчера пришло письмо от info@desk.example с датой 3.3.2026 и вот что там было:",
        "Παραγγελία της 3.3.2026 δεν ήρθε, αλλά το κατάστημα shop@desk.example έγραψε:",
        "我在2026年3月3日收到info@desk.example的邮件,里面写道:",
        "2026年3月3日，客服写道：",
        "3월 3일 9:15에 기사님이 쓴 내용:",
        "店铺写道：",
    ],
)
def test_line_that_tells_what_somebody_wrote_is_kept(line: str) -> None:
    assert line in strip_quotes(f"Nothing came.\n\n{line}\n\n> It comes on Friday.\n> Sam\n")


def test_answer_below_the_quote_is_kept_without_it() -> None:
    text = "On Tue, Mar 3, 2026, Desk wrote:\n> When can you come?\n\nFriday suits me.\n"

    assert strip_quotes(text) == "Friday suits me."


def test_answer_below_a_quote_that_announces_itself_is_kept_without_it() -> None:
    text = "> On 3 Mar 2026, at 09:15, Desk <h@desk.example> wrote:\n>\n> When?\n\nFriday.\n"

    assert strip_quotes(text) == "Friday."


def test_answer_below_the_quote_may_look_like_a_header_block() -> None:
    own = "From: London\nSent: 3 March 2026\nSubject: my parcel"
    text = f"On 3 Mar 2026, at 09:15, Desk <h@desk.example> wrote:\n> Which?\n\n{own}\n"

    assert strip_quotes(text) == own


def test_answers_between_quotes_keep_them_but_not_the_rest_of_the_mail() -> None:
    text = "Desk wrote:\n> When?\nFriday.\n> Which?\nRed.\n\n> Yours,\n> Desk\n"

    assert strip_quotes(text).endswith("> Which?\nRed.")


def test_whole_header_block_right_below_the_answer_is_cut() -> None:
    block = (
        "From: Desk [mailto:h@desk.example]\nSent: Tuesday, March 3, 2026 9:15 AM\nTo: Ann\n"
        "Subject: x\n\nWhen?\n"
    )

    assert strip_quotes(f"Friday suits me.\nAnn\n{block}") == "Friday suits me.\nAnn"
    assert strip_quotes(f"I got this:\n{block}").endswith(block)
    assert strip_quotes(f"A message\n{block}", is_reply=False).endswith(block)


def test_mail_that_the_writer_of_a_first_mail_asks_about_is_kept() -> None:
    text = "I got this mail, is it yours?\n\nFrom: Bo <b@x.example>\nSent: 3 March 2026 9:15\n" + (
        "To: Ann\nSubject: You won\n\nPay 100 now.\n\nAnn\n"
    )

    assert strip_quotes(text, subject="Strange mail", is_reply=False) == text
    assert strip_quotes(text, is_reply=True) == "I got this mail, is it yours?"


def test_rule_above_the_quote_belongs_to_it() -> None:
    quote = "__________\n> Od: Desk <h@desk.example>\n> Datum: 3.3.2026 9:15\n>\n> When?\n"

    assert strip_quotes(f"Friday suits me.\n\n{quote}") == "Friday suits me."
    assert strip_quotes(f"Friday suits me.\n{quote}") == "Friday suits me."
    own = "I tried these:\n-----\n> ls\n> cat"
    assert strip_quotes(own) == own


def test_form_that_a_web_site_sends_is_kept() -> None:
    text = "A message\n\nFrom: Ann\nSent: 3 March 2026 9:15\nPhone: 12\n\nThe lamp is broken.\n"

    assert strip_quotes(text, subject="Contact form", is_reply=False) == text


@pytest.mark.parametrize("own", ["Vorrei tornare alla lampada rossa.", "Tack alla, den är röd."])
def test_word_that_means_below_in_finnish_alone_keeps_no_quote(own: str) -> None:
    block = "From: Desk\nSent: 3 March 2026 9:15\nTo: Ann\nSubject: x\n\nWhen?\n"

    assert strip_quotes(f"{own}\n\n{block}") == own
    assert strip_quotes(f"Vastaukseni ovat alla.\n\n{block}").endswith(block)


def test_answers_announced_below_a_header_block_are_kept() -> None:
    text = (
        "See my answers below in red.\n\nFrom: Desk\nSent: Tuesday, March 3, 2026 9:15 AM\n"
        "To: Ann\nSubject: Your repair\n\nWhen? FRIDAY\n"
    )

    assert strip_quotes(text) == text


def test_form_that_a_web_site_sends_is_kept_whole() -> None:
    text = (
        "News from your site\n\nFrom: Ann <a@b.example>\nDate: 3 May\nSubject: Lamp\n\nIt broke.\n"
    )

    assert strip_quotes(text, subject="Contact form", is_reply=False) == text
    assert strip_quotes(text, subject="Re: Lamp", is_reply=False) == "News from your site"
    assert strip_quotes(text, subject="Lamp", is_reply=True) == "News from your site"


BLOCK = "From: Desk\nSent: 3 March 2026 9:15\nTo: Ann\nSubject: x"


@pytest.mark.parametrize(
    ("own", "announcement"),
    [
        ("2026-03-03 it broke", "On Tue, 3 Mar 2026 09:15:00 +0100\nDesk <h@desk.example> wrote:"),
        ("Today I tried it", "Desk wrote:"),
        ("1. Friday", "W dniu 3.03.2026 o 10:15, Desk pisze:"),
        ("Ann <ann@customer.example>", "Zitat von Desk <h@desk.example>:"),
        ("Martin", "On Tue, 3 Mar 2026 at 9:15, Desk <h@desk.example> wrote:"),
        ("Am 3.3.2026 ging es kaputt und liess sich dann nicht reparieren", "Desk schrieb:"),
        ("Date: Friday\nPlace: here", f"\n{BLOCK}"),
        ("From: London\nTo: Paris", f"\n{BLOCK}"),
        ("From: London\nTo: Paris", BLOCK),
        (
            "ANN REED, CUSTOMER 4711, HAMBURG, ORDER OF 3 MARCH 2026, PLEASE CALL BACK",
            "On Tue, 3 Mar 2026 at 9:15, Desk <h@desk.example> wrote:",
        ),
        (
            "Best regards, Ann Reed, Example Company, Tel. +44 1632 960001, ann@customer.example",
            "Desk kirjoitti 3.3.2026 klo 9:15:",
        ),
        (
            "Die Lampe kam mit Herrn Müller aus Hamburg am 3. März 2026 um 10:15 Uhr in Bonn an",
            "Desk <h@desk.example>\nschrieb am Di., 3. März 2026, 09:15:",
        ),
    ],
)
@pytest.mark.parametrize("after", ["", "\nThe red one.\n"])
def test_own_line_right_above_an_announcement_is_kept(
    own: str, announcement: str, after: str
) -> None:
    assert own in strip_quotes(f"{own}\n{announcement}\n> When?\n> Desk\n{after}")


def test_name_that_is_a_word_for_you_elsewhere_is_a_name() -> None:
    text = "Friday.\n\nOn 3 Mar 2026, Lei Zhang wrote:\n> When?\n"

    assert strip_quotes(text) == "Friday."


def test_words_on_the_line_that_announces_the_quote_are_kept() -> None:
    line = "Friday suits me. On Tue, Mar 3, 2026 at 9:15 AM, Desk <h@desk.example> wrote:"

    assert strip_quotes(f"Hello,\n{line}\n> When can you come?\n") == f"Hello,\n{line}"


@pytest.mark.parametrize(
    "line",
    [
        "Outlook für iOS stürzt ab",
        "Sent via registered mail on Monday",
        "Sent via DHL with my old phone",
        "Sent with the wrong mail address",
        "Gesendet via E-Mail am Montag",
        "Von meinem Nachbarn gesendet",
        "Sent from Berlin",
        "Sent from my desk, which is easier than my mobile phone.",
        "From my iPhone I can not log in",
        "Sent via Canary Wharf on Monday",
        "Get Outlook back for me",
        "Sent from Mail for the shop",
        "I use Outlook for iOS<https://aka.ms/o0ukef>",
        "My phone has no Outlook for iOS<https://aka.ms/o0ukef>",
        "How is it with Outlook for iOS<https://aka.ms/o0ukef>?",
        "私のiPhoneから送信できません",
        "iPhoneより送信不可",
        "来自我的手机的照片无法上传",
        "发自我的内心感谢你们",
        "从我的手机发送的邮件没有回复",
        "내 폰에서 보냈습니다만 답이 없습니다",
        "iPhone에서 보냄 안됨",
        "Von meinem Handy habe ich das Foto gesendet.",
        "Von Samsung wurde mir das Falsche gesendet.",
        "Diese Nachricht wurde von meinem Handy aus nicht gesendet",
        "Samsung telefon dün servisten gönderildi",
        "Samsung servisinden gönderildi",
        "נשלח מהאייפון שלי אבל לא הגיע",
        "تم الإرسال من هاتف قديم ولم يصل",
        "ส่งจาก Samsung ไม่ได้",
    ],
)
def test_last_line_that_only_begins_like_a_mobile_programs_is_kept(line: str) -> None:
    assert strip_quotes(f"Friday suits me.\n\n{line}\n") == f"Friday suits me.\n\n{line}\n"


@pytest.mark.parametrize(
    "line",
    [
        "Thanks On Wed, Mar 3, 2026 at 3:59 PM, help@desk.example wrote:",
        "Passt Am 03.03.26 um 09:15 schrieb Desk:",
    ],
)
def test_one_word_before_what_announces_the_quote_is_kept(line: str) -> None:
    assert strip_quotes(f"Hello,\n{line}\n> When?\n") == f"Hello,\n{line}"


def test_marked_lines_at_the_end_of_a_first_mail_are_the_writers_own() -> None:
    text = "It says\n\n> connection refused\n> at line 3\n"

    assert strip_quotes(text, is_reply=False) == text
    assert strip_quotes(text, subject="Re: x", is_reply=False) == "It says"


@pytest.mark.parametrize(
    "own", ["Lamp and bell:\n> lamp: yes\n> bell: no", "I click >> Next\n>> and nothing happens"]
)
def test_list_of_the_writer_above_an_announced_quote_is_kept(own: str) -> None:
    text = f"{own}\n\nOn Tue, Mar 3, 2026 at 9:15 AM Desk <h@desk.example> wrote:\n> Which?\n"

    assert strip_quotes(text, subject="Re: x") == own


def test_answer_below_a_header_block_is_kept() -> None:
    text = "From: Desk\nSent: 3 March 2026\nTo: Ann\nSubject: Your repair\n\nWhen?\n\nFriday.\n"

    assert strip_quotes(text) == text


@pytest.mark.parametrize(
    "mark",
    [
        "---------- Forwarded message ---------",
        "-------- Weitergeleitete Nachricht --------",
        "Begin forwarded message:",
        "---------- Mensaje reenviado ---------",
        "----- İletilmiş Mesaj -----",
        "-------- Перенаправленное сообщение --------",
        "---------- Wiadomość przesłana dalej ---------",
        "Początek przekazywanej wiadomości:",
        "İleti başlangıcı:",
        "---------- メッセージを転送 ---------",
        "---------- הודעה שהועברה ---------",
        "---------- Thư được chuyển tiếp ---------",
        "---------- Missatge reenviat ---------",
        "---------- 전달된 메일 ----------",
    ],
)
def test_forward_is_kept_whole(mark: str) -> None:
    text = (
        f"Can you handle this?\n\n{mark}\nFrom: Bo <bo@other.example>\nDate: 3 March 2026\n"
        "Subject: Lamp\n\nMy lamp is broken.\n\nOn Monday Desk wrote:\n> Is it?\n"
    )

    assert strip_quotes(text) == text


def test_what_is_a_forward_in_norwegian_is_a_reply_in_finnish() -> None:
    finnish = (
        "Perjantai.\n\nLähettäjä: Desk\nLähetetty: 3. maaliskuuta 2026 9.15\nAihe: x\n\nMilloin?\n"
    )
    norwegian = "Se under.\n\nFra: Desk\nSendt: 3. mars 2026 09:15\nEmne: x\n\nNår?\n"

    assert strip_quotes(finnish, subject="VS: x") == "Perjantai."
    assert strip_quotes(norwegian, subject="VS: x") == norwegian


@pytest.mark.parametrize(
    "subject", ["FW: Lamp", "Fwd: Lamp", "WG: Lampe", "TR: lampe", "RV: x", "İLT: x"]
)
def test_subject_of_a_forward_keeps_the_header_block(subject: str) -> None:
    text = "Please see.\n\nFrom: Bo\nSent: 3 March 2026\nTo: Ann\nSubject: Lamp\n\nIt is broken.\n"

    assert strip_quotes(text, subject=subject) == text
    assert strip_quotes(text, subject="Re: " + subject) == "Please see."


@pytest.mark.parametrize(
    "line",
    [
        "Sent from my iPhone",
        "Sent from my Samsung Galaxy smartphone.",
        "Sent from Yahoo Mail on Android",
        "Sent from Mail for Windows",
        "Get Outlook for iOS<https://aka.ms/o0ukef>",
        "Von meinem iPhone gesendet",
        "Gesendet mit der GMX Mail App",
        "Gesendet mit der Telekom Mail App",
        "<<sent by galaxy>>",
        "Envoyé de mon iPhone",
        "Enviado desde mi iPhone",
        "Inviato da iPhone",
        "Verstuurd vanaf mijn iPhone",
        "Skickat från min iPhone",
        "Sendt fra min iPhone",
        "iPhoneから送信",
        "发自我的iPhone",
        "Отправлено с iPhone",
        "Sent from my iPhone, please excuse typos and brevity.",
        "Sent from my Android device with K-9 Mail. Please excuse my brevity.",
        "Diese Nachricht wurde von meinem Android-Gerät mit K-9 Mail gesendet.",
        "Sent from my Verizon, Samsung Galaxy smartphone",
        "(Sent from mobile device)",
        "Holen Sie sich Outlook für Android<https://aka.ms/AAb9ysg>",
        "Odesláno z iPhonu",
        "Küldve az iPhone-omról",
        "iPhone'umdan gönderildi",
        "Надіслано з iPhone",
        "Στάλθηκε από το iPhone μου",
        "נשלח מה-iPhone שלי",
        "Được gửi từ iPhone của tôi",
        "從我的 iPhone 傳送",
        "Outlook für Android<https://aka.ms/AAb9ysg> beziehen",
        "Outlook voor iOS<https://aka.ms/o0ukef> downloaden",
        "Pobierz program Outlook dla systemu iOS<https://aka.ms/o0ukef>",
        "Получите Outlook для iOS<https://aka.ms/o0ukef>",
        "iOS için Outlook’u edinin<https://aka.ms/o0ukef>",
        "Az iOS Outlook beszerzése<https://aka.ms/o0ukef>",
        "Outlook for iOS<https://aka.ms/o0ukef> を入手",
        "Android용 Outlook 받기",
        "Sent from Yahoo Mail. Get the app",
        "Sent from Mailspring (https://getmailspring.com/)",
        "Von unterwegs gesendet",
        "Envoyé depuis mon appareil Galaxy",
        "Inviato dal mio dispositivo Samsung",
        "Enviado a partir do meu smartphone Samsung Galaxy.",
        "Skickades från Outlook för Android",
        "Wysłane z mojego iPhone'a",
        "Odesláno z mého iPhonu",
        "Отправлено со смартфона Samsung Galaxy.",
        "Išsiųsta iš mano iPhone",
        "נשלח מהאייפון שלי",
        "تم الإرسال من iPhone الخاص بي",
        "私のiPhoneから送信",
        "내 iPhone에서 보냄",
        "来自我的华为手机",
        "发自我的 HUAWEI Mate 40",
        "发自我的小米手机",
        "Von meinem Samsung Galaxy Smartphone gesendet.",
        "Diese Nachricht wurde von meinem Android-Mobiltelefon mit WEB.DE Mail gesendet.",
        "Samsung telefonumdan gönderildi",
        "ส่งจาก iPhone ของฉัน",
    ],
)
@pytest.mark.parametrize("tail", ["", "\nOn 3 Mar 2026, Desk <h@desk.example> wrote:\n> When?\n"])
def test_line_of_a_mobile_program_is_cut(line: str, tail: str) -> None:
    assert strip_quotes(f"Friday suits me.\n\n{line}\n{tail}") == "Friday suits me."


@pytest.mark.parametrize("mark", ["-- ", "--", "-- \r"], ids=repr)
def test_signature_is_cut(mark: str) -> None:
    assert strip_quotes(f"Friday suits me.\n\n{mark}\nAnn Reed\n+44 1632 960001\n") == (
        "Friday suits me."
    )


def test_answer_below_quote_and_signature_is_kept() -> None:
    text = "Desk wrote:\n> When?\n\n-- \nAnn Reed\n\nFriday suits me.\n"

    assert "Friday suits me." in strip_quotes(text)


def test_signature_may_be_a_sentence() -> None:
    assert strip_quotes("Friday.\n\n--\nWe repair what others throw away.\n") == "Friday."


def test_signature_above_and_below_the_quote_is_cut() -> None:
    text = (
        "Friday suits me.\n\n-- \nAnn\n\nOn 3 Mar 2026, Desk <h@desk.example> wrote:\n> When?\n\n"
        "-- \nYou get this because you are on our list.\n"
    )

    assert strip_quotes(text) == "Friday suits me."


@pytest.mark.parametrize("text", ["> When can you come?\n", "", "\n\n", ">\n" * 3])
def test_whole_text_where_nothing_is_new(text: str) -> None:
    assert strip_quotes(text) == text


HOSTILE = {
    "one-line": "squeals " * 125_000,
    "quote-marks": ">" * 500_000 + "\n" + "> " * 250_000,
    "spaces": "On " + " " * 500_000 + "wrote\n" + "-" * 500_000,
    "inline": "> a\nb\n" * 150_000,
    "attributions": "On 3 Mar 2026 a@b.example wrote:\n" * 30_000,
    "labels": "From: a\n" * 120_000,
    "signatures": "-- \n" * 250_000,
    "rules": ("-" * 400 + "\n") * 2_500,
    "blank": "\n" * 1_000_000,
    "sent-from": "\n\nsent from " + "my " * 300_000,
    "colons": ":\n" * 500_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_megabyte_of_anything_takes_a_moment(text: str) -> None:
    started = time.perf_counter()

    strip_quotes(text)

    assert time.perf_counter() - started < 3


LINES = st.sampled_from(
    [
        "",
        "Friday suits me.",
        "> quoted",
        "-- ",
        "On Tue, Mar 3, 2026 at 9:15 AM Desk <help@desk.example> wrote:",
        "-----Original Message-----",
        "From: Desk",
        "Date: 3 March 2026",
        "Subject: Brake",
        "Sent from my iPhone",
        "_______________",
        "Desk schrieb:",
    ]
)


@pytest.mark.parametrize(
    "quote",
    [
        "> On 3 Mar 2026, at 09:15, Desk <help@desk.example> wrote:\n>\n> When?\n",
        "\n---- On Tue, 03 Mar 2026 09:15:00 +0100 Desk <h@desk.example> wrote ----\n\nWhen?\n",
        "\n---- On Tue, 03 Mar 2026 09:15:00 +0100 Desk wrote ----\n\n> When?\n",
        "\n-----Antwort Nachricht-----\nWhen?\n",
        "\n---- Desk wrote ----\n\n> When?\n",
        "\n------On 12/29/2025 17:32 PM, Desk wrote-----\n\nWhen?\n",
        '\n>>> "Desk" <h@desk.example> 3/3/2026 9:15 AM >>>\nWhen?\n',
        '\n\n------ Original ------\nFrom: "Desk" <h@desk.example>;\n'
        "Date: Tue, Mar 3, 2026 09:15 AM\nSubject: x\n\nWhen?\n",
        "\n----- Mail original -----\nDe: Desk\nÀ: Ann\nEnvoyé: Mardi 3 Mars 2026 09:15:00\n"
        "Objet: x\n\nWhen?\n",
        "\nОт: Desk\nОтправлено: 3 марта 2026 г. 9:15\nКому: Ann\n\nWhen?\n",
        "\nFrom: The Desk of a Long Name\n<h@desk.example>\nSent: 3 March 2026 09:15\nTo: Ann;\n"
        "Bo <bo@b.example>; Carl <c@b.example>; Dora\n<d@b.example>; Eve\n<e@b.example>\n"
        "Subject: x\n\nWhen?\n",
        "\n2026/3/3 Desk <h@desk.example>\n\n> When?\n",
        "\nQuoting Desk <h@desk.example>:\n\n> When?\n",
        "\n>>> Desk <h@desk.example> schrieb am 03.03.2026 um 09:15 in Nachricht\n<a1@d.example>:\n"
        "> When?\n",
        "\nاز: Desk\nارسال شده: 3 مارس 2026 9:15\nبه: Ann\nموضوع: x\n\nWhen?\n",
    ],
    ids=[
        *("apple-mail", "zoho", "zoho-marked", "german-reply", "android", "rules", "groupwise"),
        *("qq", "zimbra", "windows-mail", "wrapped", "old-gmail", "horde"),
        *("groupwise-id", "persian"),
    ],
)
def test_quote_of_other_programs_is_cut(quote: str) -> None:
    assert strip_quotes(f"Friday suits me.\n{quote}") == "Friday suits me."


@given(st.lists(LINES, max_size=15).map("\n".join) | st.text(max_size=200))
def test_result_is_a_piece_of_the_text_and_never_empty(text: str) -> None:
    reply = strip_quotes(text)

    assert reply in text
    assert reply.strip() or not text.strip()


@given(st.lists(LINES, min_size=1, max_size=12))
def test_what_the_writer_puts_first_is_never_cut(lines: list[str]) -> None:
    assert strip_quotes("\n".join(["My own words.", *lines])).startswith("My own words.")


def test_forward_that_the_program_marks_like_a_quote_is_kept() -> None:
    text = "Handle this, please.\n\n> Begin forwarded message:\n>\n> From: Bo\n>\n> It broke.\n"

    assert strip_quotes(text) == text
