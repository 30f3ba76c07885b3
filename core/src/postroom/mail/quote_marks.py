"""How mail programs announce quoted text, by language: the words `quoting` looks for.

Every pattern is used on one line (or one wrapped line) of bounded length, and none has nested
repetition, so their cost is bounded whatever a message holds.
"""

from __future__ import annotations

import re

_WROTE = (
    "wrote",  # English
    "writes",
    "schrieb",  # German
    "geschrieben",
    "a écrit",  # French
    "écrit",
    "escribió",  # Spanish
    "escribio",
    "ha escrito",
    "va escriure",  # Catalan
    "escreveu",  # Portuguese
    "ha scritto",  # Italian
    "scrisse",
    "schreef",  # Dutch
    "geschreven",
    "het volgende geschreven",
    "skrev",  # Swedish, Danish, Norwegian
    "skrifaði",  # Icelandic
    "kirjoitti",  # Finnish
    "napisał",  # Polish
    "napisała",
    "napisał(a)",
    "pisze",
    "napsal",  # Czech
    "napsala",
    "napsal(a)",
    "napísal",  # Slovak
    "napísala",
    "napísal(a)",
    "je napisao",  # Croatian, Bosnian, Serbian
    "je napisala",
    "je napisao/la",
    "je napisal",  # Slovene
    "је написао",
    "је написала",
    "написал",  # Russian
    "написала",
    "написал(а)",
    "писал",
    "писал(а)",
    "пишет",
    "пише",  # Ukrainian
    "написав",
    "написала",
    "написав(ла)",
    "написа",  # Bulgarian
    "a scris",  # Romanian
    "ezt írta",  # Hungarian
    "írta",
    "yazdı",  # Turkish
    "şunu yazdı",
    "şunları yazdı",
    "έγραψε",  # Greek
    "kirjutas",  # Estonian
    "rakstīja",  # Latvian
    "rašė",  # Lithuanian
    "đã viết",  # Vietnamese
    "menulis",  # Indonesian, Malay
    "כתב",  # Hebrew
    "כתב/ה",
    "כתבה",
    "كتب",  # Arabic
    "كتبت",
    "نوشت",  # Persian
    "เขียนว่า",  # Thai
    "のメール",  # Japanese
    "は書きました",
    "さんが書きました",
    "写道",  # Chinese
    "寫道",
    "于",
    "님이 작성",  # Korean
    "작성",
)

WROTE = re.compile(
    "(?i)(?:(?<!\\w)(?:"
    + "|".join(re.escape(word) for word in sorted(set(_WROTE), key=len, reverse=True))
    + ")(?!\\w)|写道|寫道|のメール|は書きました|さんが書きました|님이 작성)"
)
"""The verb of an attribution line: "On … Desk wrote:"."""

OPENER = re.compile(
    r"""(?ix) ^ [\s*_"'«„“\[(-]* (?:
      on | am | le | el | il | op | den | dne | dňa | dnia | w\sdniu | em | a | på | em | în | pe | la
      | dana | dne | 在 | 于 | 於 | vào | pada | tarihinde | στις | на | в | kell?o
      | (?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim
          |mån|tis|ons|tors|fre|lör|sön|man|tir|pon|wt|śr|czw|pt|sob|niedz|ma|ti|ke|to|pe
          |пн|вт|ср|чт|пт|сб|вс|нд)[a-zà-öø-ÿа-я]*[.,]?
      | \d{1,4}[./年년-]
      | \d{1,2}\s\w+
    ) (?=\s|\d|$)"""
)
"""How the first line of an attribution begins: a preposition or the date itself."""

DATE = re.compile(
    r"(?:19|20)\d\d|\d{1,2}[:.]\d\d|\d{1,2}[./-]\d{1,2}[./-]\d\d|\d{1,2}\s?[年月日년월일]"
)
"""Something of a date or time."""

ADDRESS = re.compile(r"[^\s<>@]@[^\s<>@]")

ORIGINAL_MESSAGE = re.compile(
    r"""(?ix) ^ [\s>]* [-–—_*=]{2,}\s? (?:
      original\s(?:message|e-?mail|appointment) | reply\smessage | message\soriginal | original[- ]?nachricht
      | urspr(?:ü|ue)ngliche\s(?:nachricht|mail|e-?mail|mitteilung) | original-?mail
      | message\sd['’]origine | message\sinitial | mensaje\soriginal | correo\soriginal | missatge\soriginal
      | mensagem\soriginal | messaggio\soriginale | oorspronkelijk(?:e)?\s(?:bericht|e-?mail)
      | ursprungligt\smeddelande | originalmeddelande | oprindelig\s(?:meddelelse|besked)
      | original\sbesked | opprinnelig\smelding | alkuperäinen\sviesti | oryginalna\swiadomość
      | wiadomość\soryginalna | původní\s(?:zpráva|e-?mail) | pôvodná\sspráva | eredeti\süzenet
      | mesaj\soriginal | orijinal\s(?:mesaj|ileti) | özgün\sileti | исходное\sсообщение
      | первоначальное\sсообщение | оригинальное\sсообщение | оригінальне\sповідомлення
      | оригинално\sсъобщение | izvorna\sporuka | originalna\sporuka | izvirno\ssporočilo
      | αρχικό\sμήνυμα | algne\ssõnum | originalus\slaiškas | הודעה\sמקורית | הודעת\sהמקור
      | الرسالة\sالأصلية | tin\snhắn\sgốc | pesan\sasli
      | 元のメッセージ | 元のメール | 原始邮件 | 原始郵件 | 原邮件 | 回复的原邮件 | 원본\s메[시세]지
    ) \s?:?\s? [-–—_*=]* \s* $"""
)
"""The rule Outlook and others draw above the mail they answer."""

FORWARDED = re.compile(
    r"""(?ix) ^ \s* (?: [-–—_*=]{2,}\s? | >\s )? (?:
      forwarded\s(?:message|by) | begin\sforwarded\smessage | inicio\sdel\smensaje\sreenviado
      | weitergeleitete\s(?:nachricht|e-?mail) | anfang\sder\sweitergeleiteten
      | message\s(?:transféré|réexpédié|transmis) | début\sdu\smessage\s(?:transféré|réexpédié)
      | mensaje\sreenviado | mensagem\s(?:encaminhada|reencaminhada) | início\sda\smensagem
      | messaggio\s(?:inoltrato|in\sinoltro) | inizio\smessaggio\sinoltrato
      | doorgestuurd(?:e)?\sbericht | begin\sdoorgestuurd | vidarebefordrat\smeddelande
      | videresendt\s(?:meddelelse|melding|besked) | välitetty\sviesti | edelleenlähetetty
      | przekazana\swiadomość | wiadomość\sprzekazana | treść\sprzekazanej | přeposlaná\szpráva
      | preposlaná\sspráva | továbbított\süzenet | mesaj\sredirecționat | iletilen\s(?:mesaj|ileti)
      | пересылаемое\sсообщение | пересланное\s(?:сообщение|письмо) | начало\sпереадресованного
      | переслане\sповідомлення | препратено\sсъобщение | προωθημένο\sμήνυμα
      | proslijeđena\sporuka | prosleđena | posredovano\ssporočilo
      | 転送された?メッセージ | 転送メッセージ | 转发的?邮件 | 轉寄的?郵件 | 被转发邮件 | 전달된\s메[시세]지
    )"""
)
"""A forward begins: what follows is what the mail is about, so nothing below is cut."""

FORWARD_SUBJECT = re.compile(
    r"\s*(?:fwd?|wg|wtr|tr|rv|enc|i|vs|vb|doorst|vl|pd|továbbítás|пересылка|転送|转发|轉寄)\s*[:：]",
    re.IGNORECASE,
)

REPLY_ABOVE = re.compile(
    r"""(?ix) (?:
      (?:type|write|enter|post|add)\s(?:your\s)?(?:reply|response|answer|comment)s?\s(?:above|before)
      | (?:reply|respond)\s(?:above|before)\sthis\s(?:line|text)
      | (?:antwort\w*|schreib\w*)\s.{0,40}(?:über|oberhalb)\s(?:dieser|der|diese)\s(?:linie|zeile)
      | (?:réponse|répondre|répondez)\s.{0,40}au-dessus\sde\scette\sligne
      | respuesta\s.{0,40}(?:encima\sde|sobre)\sesta\slínea | risposta\s.{0,40}sopra\squesta\s(?:riga|linea)
      | (?:antwoord|reageer)\w*\s.{0,40}boven\sdeze\s(?:regel|lijn)
      | resposta\s.{0,40}acima\sd(?:esta|a)\slinha
    )"""
)
"""The line helpdesks put on top of their mail, with or without `##-` around it."""


def _labels(table: str) -> frozenset[str]:
    return frozenset(
        label.strip() for label in table.replace("\n", "|").split("|") if label.strip()
    )


FROM_LABELS = _labels("""
    from|von|de|da|van|från|fra|lähettäjä|od|odesílatel|odosielateľ|feladó|kimden|gönderen|от
    від|от кого|kellelt|nuo|no|από|expéditeur|expeditor|remitente|remetente|mittente|afzender
    sender|absender|avsändare|差出人|送信元|发件人|寄件者|寄件人|보낸 사람|보낸사람|מאת|من|từ|dari
    จาก|pošiljatelj|šalje
""")
DATE_LABELS = _labels("""
    sent|date|sent on|gesendet|gesendet am|datum|envoyé|envoyé le|date d'envoi|date d’envoi
    enviado|enviado el|enviado em|enviada em|enviada|fecha|data|data de envio|enviat
    inviato|inviato il|data invio|verzonden|verzonden op|datum verzonden|skickat|skickat den
    sendt|dato|lähetetty|päivämäärä|wysłano|wysłane|data wysłania|odesláno|odoslané|dátum|elküldve
    küldve|gönderildi|gönderilme tarihi|tarih|trimis|отправлено|дата|дата отправки|надіслано
    изпратено|στάλθηκε|ημερομηνία|saadetud|išsiųsta|nosūtīts|poslano|datum slanja
    送信日時|日時|发送时间|日期|时间|傳送時間|寄件日期|보낸 날짜|보낸날짜|날짜|נשלח|תאריך
    تاريخ|التاريخ|تم الإرسال|ngày|đã gửi|tanggal|dikirim
""")
SUBJECT_LABELS = _labels("""
    subject|betreff|betr.|objet|sujet|asunto|assunto|assumpte|oggetto|onderwerp|ämne|emne|vedr.
    aihe|temat|předmět|predmet|tárgy|konu|subiect|тема|относно|θέμα|teema|tema|temats|zadeva
    件名|主题|主旨|主題|제목|נושא|الموضوع|chủ đề|subjek|perihal
""")
"""The labels of a header block as Outlook, Apple Mail and Notes copy it above a mail."""

MOBILE = re.compile(
    r"""(?ix) ^ [\s_*-]* (?:
      (?:sent|composed|written)\s(?:from|via|with|by|using)\s(?:my\s|the\s)?(?:new\s|awesome\s)?(?:DEVICE)
      | sent\sfrom\s(?:a|my)\s(?:mobile|phone|smartphone|tablet|handheld|cell)\b
      | (?:von\smeinem|gesendet\s(?:von|mit|via)(?:\s(?:meinem|der|dem|mein))?)\s.{0,30}(?:DEVICE)
      | von\smeinem\s.{0,30}gesendet
      | (?:envoyé|expédié)\s(?:de|depuis|à\spartir\sde|avec|via|par)\s(?:mon\s|ma\s|l['’]|un\s)?.{0,20}(?:DEVICE)
      | (?:enviado|enviada)\s(?:desde|do|de|a\spartir|con|com|via|pelo)\s(?:mi\s|meu\s|o\s)?.{0,20}(?:DEVICE)
      | (?:inviato|spedito)\s(?:da|dal|con)\s?(?:mio\s)?.{0,20}(?:DEVICE)
      | (?:verzonden|verstuurd)\s(?:vanaf|van|met|via)\s(?:mijn\s)?.{0,20}(?:DEVICE)
      | (?:skickat|skickad)\sfrån\s(?:min\s)?.{0,20}(?:DEVICE) | sendt\s(?:fra|med)\s(?:min\s)?.{0,20}(?:DEVICE)
      | lähetetty\s.{0,30}(?:DEVICE).{0,12} | (?:wysłane|wysłano)\s(?:z|ze)\s.{0,25}(?:DEVICE).{0,4}
      | odesláno\s(?:z|ze)\s.{0,25}(?:DEVICE).{0,4} | отправлено\s(?:с|из)\s.{0,25}(?:DEVICE)
      | надіслано\s(?:з|із)\s.{0,25}(?:DEVICE)
      | (?:DEVICE)['’]?\S{0,4}\s?(?:から送信|より送信|에서\s보냄|ile\sgönderildi|dan\sgönderildi|-?ról\sküldve)
      | 发自我的.{0,20} | 從我的.{0,20}傳送 | 나의\s.{0,20}에서\s보냄
      | get\soutlook\sfor\s(?:ios|android).{0,60} | outlook\sfür\s(?:ios|android)\s(?:beziehen|herunterladen).{0,60}
      | télécharger\soutlook\spour\s(?:ios|android).{0,60} | obtener\soutlook\spara\s(?:ios|android).{0,60}
      | obter\s(?:o\s)?outlook\spara\s(?:ios|android).{0,60} | download\soutlook\svoor\s(?:ios|android).{0,60}
      | scarica\soutlook\sper\s(?:ios|android).{0,60} | hämta\soutlook\sför\s(?:ios|android).{0,60}
    ) .{0,40} $""".replace(
        "DEVICE",
        r"i(?:phone|pad|pod)|android|galaxy|samsung|blackberry|huawei|xiaomi|htc\b|nokia|sony|lumia"
        r"|windows|outlook|yahoo|gmail|aol\b|mail\b|protonmail|proton\b|gmx|web\.de|mobil|handy"
        r"|smartphone|mobile|téléphone|portable|móvil|celular|cellulare|telefo|telephone|tablet"
        r"|thunderbird|spark|airmail|bluemail|mailbox|mac\b|macbook|apple|айфон|почты|смартфон",
    )
)
"""The line a mobile mail program adds on its own; always the whole line, always the last one."""

ANSWERS_BELOW = re.compile(
    r"""(?ix) \b (?:
      (?:see|find|put|added?|wrote|comments?|answers?|replies|reply)\b.{0,30}\b(?:below|in-?line)
      | in[ -]?line\b | below\sin\s(?:red|blue|green|bold)
      | s\.\s?u\. | siehe\s(?:weiter\s)?unten | im\stext\s(?:unten)? | unten\sim
      | ci-dessous | plus\sbas | más\sabajo | abajo | qui\ssotto | di\sseguito | abaixo
      | hieronder | zie\sonder | poniżej | nedan | nedenfor | alla | níže | nižšie | alább | ниже
    ) \b"""
)
"""The writer says that there is more below: then nothing is cut."""
