"""How mail programs announce quoted text, by language: the words that are looked for.

Every pattern is used on one line (or one wrapped line) of bounded length, and none has nested
repetition, so their cost is bounded whatever a message holds.
"""

from __future__ import annotations

import re


def _table(words: str) -> frozenset[str]:
    return frozenset(word.strip() for word in words.replace("\n", "|").split("|") if word.strip())


WROTE = _table("""
    wrote|writes|schrieb|schrieben|geschrieben|écrit|escribió|escribio|escrito|escriure|escreveu
    scritto|scrisse|schreef|geschreven|skrev|skrifaði|kirjoitti|napisał|napisała|napisał(a)|napisana|pisze
    napsal|napsala|píše|napsal(a)|napísal|napísala|napísal(a)|napisao|napisala|napisao/la|napisal
    написао|написала|написал|написал(а)|писал|писал(а)|пишет|пише|написав|написав(ла)|написа
    scris|írta|yazdı|έγραψε|kirjutas|rakstīja|rašė|viết|menulis|כתב|כתב/ה|כתבה|كتب|كتبت|نوشت|نوشته
    escribiu|quoting|zitat|citando|napisao/la|написао/ла|geskryf|idatzi|missatge|escrit
    citeren|cytowanie|cituji|citerar|citerer|idézet|yazmış|yazıb|napisao(la)|napisal(a)|напісаў|напісала
    schreift|shkroi|shkruajti|skreiv|skreau|skribis|skrivaði|ysgrifennodd|scríobh|scribite
    skrivet|жазды|бичсэн|напиша|დაწერა|գրեց|लिखा|लिहीले|लिहिले|লিখেছেন
    எழுதியது|aliandika|nivîsî|yozgan|написав(-ла)
""")
"""The verb of an attribution line, "On … Desk wrote:"; a word of its own."""

BESIDE_WROTE = _table("""
    a|ha|has|har|het|je|via|von|van|av|de|el|ezt|following|folgendes|volgende|suivant|user|usuario
    utilisateur|uživatel|odesílatel|пользователь|користувач|χρήστης|oseba|lietotājs|şunu|tarihinde
    uhr|um|am|la|klo|kl|kell|kello|је|ás|vào|lúc|thg|đã|der|den|zu|di|da|dos|della|ter|bin|of|and
    تمت|كتابة|ما|يلي|بواسطة|است|igorleak|zuen|hau|du|egunean|tarixdə|ob|les
    上午|下午|早上|晚上|中午|凌晨|寫道|写道|寫到|오전|오후
""")
"""What stands beside it, and within names, in lower case."""

CITES = frozenset("quoting zitat citando citeren cytowanie cituji citerar citerer idézet".split())
"""How Horde begins its attributions, which have an address."""

NOT_NAMES = frozenset("der die das ein eine herr frau mr mrs ms monsieur madame".split())
"""How people begin who tell what somebody wrote, even where the next word has a capital."""

WROTE_UNSPACED = (
    "写道",
    "寫道",
    "寫到",
    "のメール",
    "のメッセージ",
    "書きました",
    "작성",
    "쓴 글",
    "이(가) 쓴 내용",
    "เขียนว่า",
)
"""The same in languages that do not set words apart."""

PERSONAL = frozenset(
    "i you we me us ich du ihr wir mir uns vous nous m'a yo usted io lei mi ik jij mij jag ni jeg"
    " eu você я ты вы мы мне"
    " your our mein meine meinem meiner unser unsere unserem unserer ihre ihrem ihrer"
    " votre notre vos nos vostro nostro nuestro nuestra vuestro nosso nossa mijn uw onze"
    " vår vårt vores deres мой моя ваш ваша ваше наш наша вам нам".split()
)
"""Words of sentences that mail programs do not write, in lower case."""

TOWARDS = frozenset("to an à a para ao aan till til do na la на в к στο".split())
"""What stands before the address of one to whom somebody wrote."""

OPENER = re.compile(
    r"""(?ix) [\s*_"'«„“\[(\u200e-\u202b-]* (?:
      on | at | am | le | el | il | op | v | den | dne | dňa | dnia | w\sdniu | em | a | på | em
      | în | pe | la
      | dana | dne | më | në | tann | þann | mnamo
      | 在 | 于 | 於 | vào | pada | tarihinde | בתאריך | في | στις | на | в | kell?o
      | in\sdata | no\sdia | missatge\sde | wiadomość\snapisana\sprzez
      | (?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim
          |mån|tis|ons|tors|fre|lör|sön|man|tir|pon|wt|śr|czw|pt|sob|niedz|ma|ti|ke|to|pe
          |пн|вт|ср|чт|пт|сб|вс|нд)[a-zà-öø-ÿа-я]*(?:[.,]{1,2}|(?=\s\d))
      | \d{1,4}[./年년-]
      | \d{1,2}\s\w+
    ) (?=\s|\d|$)"""
)
"""How the first line of an attribution begins: a preposition or the date itself."""

EVEN_WITH_YOU = re.compile(
    r"(?:At |In message <|In article <)|.{0,60}\d:\d\d:\d\d.{0,12}, you wrote:"
    r"|On \w+,? \d{1,2} \w+ \d{4},? \d{1,2}:\d\d, you wrote:"
)
"""Attributions of Eudora, exmh, news readers, The Bat! and KMail address the reader: "At 09:15
3.3.2026 +0100, you wrote:"; nobody types the seconds, or the weekday with the year and the time."""

LATE_OPENER = re.compile(
    r"(?<=\S )(?:On|Am|Le|El|Il|Op|Den|Em|Dne|Dnia|W\sdniu|In\sdata)\s(?=.{0,30}\d)"
)
"""An attribution begins behind words of the writer's own: "Thanks On Tue, 3 Mar 2026 …". Programs
write the capital only where theirs begins."""

DATE = re.compile(
    r"(?:19|20)\d\d|[١٢۱۲১২१२]\d{3}|\d{1,2}[:.]\d\d|\d{1,2}[./-] ?\d{1,2}[./-] ?\d\d"
    r"|\d{1,2}\s?[年月日년월일]"
)
"""Something of a date or time."""

TIME = re.compile(
    r"\d{1,2}:\d\d(?::\d\d)?|\b\d{1,2} ?h ?\d\d\b|\d\d\.\d\d\.\d\d(?= (?:GMT|UTC|WI))"
    r"|\b(?:kl\.?|klo|kello|pukul|ore|alle) \d{1,2}\.\d\d"
)
"""A time of day."""

INVISIBLE = (
    " \t\r\xa0\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)
"""White space, and marks of direction, which programs put around lines in Hebrew and Arabic."""

UNMARKED = re.compile(
    r"""\d\d\.\d\d\.\d{4},\ \d\d:\d\d,\ "[^"<>]*"\ <[^\s<>]+@[^\s<>]+>:$
    | \w+,\ \d{1,2}\ \w+\ \d{4},\ \d{1,2}:\d\d(?:\ [AP]M)?\ [+-]\d\d:?\d\d\ from\ .*<\S+@\S+>:$
    """,
    re.VERBOSE,
)
"""The attributions of Yandex and Mail.ru, which need not mark the lines below: nobody types their
commas and quotes."""
UNMARKED_LABELS = frozenset(("кому", "копия", "тема", "to", "cc", "subject"))
"""What Yandex puts above it."""

ADDRESS = re.compile(r"[^\s<>@]@[^\s<>@]")

COLONS = ":：﹕"

RULES = "-‐–—_*=#~[]+<> \t:："
"""Characters of drawn rules and what goes with them."""

ORIGINAL_MESSAGE = _table("""
    original message|original e-mail|original email|original appointment|reply message
    originalnachricht|original-nachricht|original nachricht|ursprüngliche nachricht|original-mail
    urspruengliche nachricht|ursprüngliche mail|ursprüngliche e-mail|ursprüngliche mitteilung
    message original|message d'origine|message d’origine|message initial|messaggio originale
    mensaje original|correo original|missatge original|mensagem original|antwort nachricht
    oorspronkelijk bericht|oorspronkelijke e-mail|ursprungligt meddelande|originalmeddelande
    oprindelig meddelelse|oprindelig besked|original besked|opprinnelig melding
    alkuperäinen viesti|oryginalna wiadomość|wiadomość oryginalna|původní zpráva|původní e-mail
    pôvodná správa|eredeti üzenet|mesaj original|mesajul original|orijinal mesaj|orijinal ileti
    özgün ileti|исходное сообщение|первоначальное сообщение|оригинальное сообщение
    оригінальне повідомлення|оригинално съобщение|izvorna poruka|originalna poruka
    izvirno sporočilo|αρχικό μήνυμα|algne sõnum|originalus laiškas|sākotnējais ziņojums
    הודעה מקורית|הודעת המקור|الرسالة الأصلية|tin nhắn gốc|pesan asli|ข้อความต้นฉบับ
    元のメッセージ|元のメール|原始邮件|原始郵件|原邮件|回复的原邮件|邮件原件|원본 메시지
    원본 메세지|원본메시지|원본 이메일|원본 메일|replied message|оригинално писмо|eredeti levél
    mensaxe orixinal|orijinal məktub|арыгінальнае паведамленне|jatorrizko mezua|esialgne kiri
    mesazhi origjinal|opphavleg melding|upprunaleg skilaboð|ข้อความเดิม|thư gốc|mesej asal
    оригинална порука|sākotnējā vēstule|الرسالة الأساسية|original-message|neges wreiddiol
    originala mesaĝo|oarspronklik berjocht
""")
"""What Outlook and others write between rules above the mail they answer."""

FORWARDED = re.compile(
    r"""(?ix) ^ \s* (?: [-–—_*=]{2,}\s? | >\s )? (?:
      forwarded\s(?:message|by) | begin\sforwarded\smessage | inicio\sdel\smensaje\sreenviado
      | weitergeleitete\s(?:nachricht|e-?mail) | anfang\sder\sweitergeleiteten
      | message\s(?:transféré|réexpédié|transmis) | début\sdu\smessage\s(?:transféré|réexpédié)
      | mensaje\sreenviado | mensagem\s(?:encaminhada|reencaminhada) | missatge\sreenviat
      | início\sda\smensagem\s(?:encaminhada|reencaminhada)
      | messaggio\s(?:inoltrato|in\sinoltro) | inizio\smessaggio\sinoltrato
      | doorgestuurd(?:e)?\sbericht | begin\sdoorgestuurd
      | vidarebefordrat\s(?:meddelande|mejl)
      | (?:start\spå\s)?videresendt\s(?:meddelelse|melding|besked)
      | välitetty\sviesti | edelleenlähetetty | edastatud\skiri
      | przekazana\swiadomość | wiadomość\s(?:przekazana|przesłana\sdalej)
      | treść\sprzekazanej | początek\sprzekazywanej
      | přeposlaná\szpráva | začátek\spřeposílané | preposlaná\sspráva | začiatok\spreposlanej
      | továbbított\s(?:üzenet|levél) | (?:începe\s)?mesaj(?:ul)?\sredirecționat
      | ileti(?:len|lmiş)\s(?:mesaj|ileti) | ileti\sbaşlangıcı
      | (?:пересылаемое|пере(?:на|ад)правленное)\sсообщение | пересланное\s(?:сообщение|письмо)
      | начало\sпереадресованного | (?:переслане|перенаправлене)\sповідомлення
      | початок\sлиста,\sщо\sпересилається | препратено\sсъобщение | προωθημένο\sμήνυμα
      | (?:započni\s)?proslijeđen[au]\sporuk[au] | prosleđena | прослеђена
      | posredovano\ssporočilo
      | persi[ųu][sn]\w{1,8}\slaiškas | pārsūtīt\w{1,4}\szi[ņn]ojums
      | הודעה\sשהועברה | رسالة\sم[ُ]?عاد | thư\sđược\schuyển\stiếp | ข้อความที่ส่งต่อ
      | pesan\s(?:yang\sdi)?terus | 転送された?メッセージ | 転送メッセージ | メッセージを転送
      | (?:以下是)?转发的?邮件 | (?:開始)?轉寄的?郵件 | (?:下面是)?被转发的?邮件
      | 전달된\s메[시세일]지? | 다음에서\s전달된\s메[시세]지
    )"""
)
"""A forward begins: what follows is what the mail is about, so nothing below is cut."""

FORWARD_SUBJECT = re.compile(
    r"\s*(?:fwd?|wg|wtr|tr|rv|enc|i|vs|vb|doorst|vl|pd|videresend|redir\.?|továbbítás|i̇?lt"
    r"|пересылка|πρθ|הועבר"
    r"|إعادة توجيه|chuyển tiếp|전달|転送|转发|轉寄|轉發)\s*[:：]",
    re.IGNORECASE,
)
FINNISH_SENDER = "Lähettäjä:"
"""Outlook's "VS:" is a forward in Norwegian and a reply in Finnish; this tells which."""

REPLY_SUBJECT = re.compile(
    r"""(?ix) \s* (?: \[ [^\]]{0,60} \] \s* ){0,3} (?:
      re | aw | antw? | antwort | sv | vs | odp | ynt | yan | res | rif | r | ref | bls | balas
      | atb | απ | σχετ | на | отв(?:ет)? | відп | hs | va | vá | ha | ref | リプライ | 回[复覆復]
      | 答[复覆復] | 回信 | 답장 | 회신 | השב | تعقيب | رد | ตอบ | trả\slời
    ) \s* (?: [\[(^]? \d{1,3} [\])]? )? \s* [:：]"""
)
"""How programs begin the subject of a reply."""

REPLY_ABOVE = re.compile(
    r"""(?ix) (?:
      (?:type|write|enter|post|add)\s(?:your\s)?(?:reply|response|answer|comment)s?\s(?:above|before)
      | (?:reply|respond)\s(?:above|before)\sthis\s(?:line|text)
      | (?:antwort\w*|schreib\w*)\s.{0,40}(?:über|oberhalb)\s(?:dieser|der|diese)\s(?:linie|zeile)
      | (?:réponse|répondre|répondez)\s.{0,40}au-dessus\sde\scette\sligne
      | respuesta\s.{0,40}(?:encima\sde|sobre)\sesta\slínea
      | risposta\s.{0,40}sopra\squesta\s(?:riga|linea)
      | (?:antwoord|reageer)\w*\s.{0,40}boven\sdeze\s(?:regel|lijn)
      | resposta\s.{0,40}acima\sd(?:esta|a)\slinha
    )"""
)
"""The line helpdesks put on top of their mail, with or without `##-` around it."""


FROM_LABELS = _table("""
    from|von|de|da|van|från|fra|frá|lähettäjä|od|odesílatel|odosielateľ|feladó|kimden|gönderen|от
    від|від кого|от кого|отправитель|kellelt|saatja|nuo|από|nadawca|expeditor|expeditorul
    de la|expéditeur|remitente|remetente|mittente
    afzender|sender|absender|avsändare|差出人|送信元|发件人|寄件者|寄件人|보낸 사람|보낸사람|מאת
    من|từ|dari|จาก|pošiljatelj|šalje|از|فرستنده|remitent|afsender|avsender|αποστολέας|од|ад|vun
    frå|fan|siuntėjas|daripada|pengirim|発信者|المرسل|kimdən|şandyar|nga|sendanto|gönderici|gửi từ
""")
SENT_LABELS = _table("""
    sent|sent on|gesendet|gesendet am|envoyé|envoyé le|date d'envoi|date d’envoi|data de envio
    enviado|enviado el|enviado em|enviada em|enviada|enviat|enviat el|inviato|inviato il
    enviados|enviadas
    data invio|verzonden|verzonden op|datum verzonden|skickat|skickat den|sendt|lähetetty
    wysłano|wysłane|data wysłania|odesláno|odoslané|elküldve|küldve|gönderildi|gönderilme
    gönderilme tarihi|gönderilen|trimis|отправлено|дата отправки|відправлено|надіслано|изпратено
    изпратено на|στάλθηκε|saadetud
    saatmisaeg|išsiųsta|nosūtīts|poslano|poslato|datum slanja|送信日時|发送时间|傳送時間
    寄件日期|보낸 날짜|보낸날짜|נשלח|تم الإرسال|ارسال شده|فرستاده شده|đã gửi|dikirim|ส่ง
""")
DATE_LABELS = SENT_LABELS | _table("""
    date|datum|fecha|data|dată|dato|päivämäärä|päiväys|dátum|tarih|дата|ημερομηνία|日時|日付|日期
    时间|날짜|תאריך
    تاريخ|التاريخ|تاریخ|ngày|tanggal|วันที่|kuupäev|dagsetning|tarix|tarikh|datums|datë
""")
SUBJECT_LABELS = _table("""
    subject|betreff|betr.|objet|sujet|asunto|assunto|assumpte|oggetto|onderwerp|ämne|emne|vedr.
    aihe|temat|předmět|predmet|naslov|tárgy|konu|subiect|subiectul|тема|относно|θέμα|teema|tema
    temats|tēma|zadeva|efni|เรื่อง
    件名|主题|主旨|主題|제목|נושא|الموضوع|موضوع|chủ đề|subjek|perihal|pealkiri
    mövzu|тэма|заглавие|наслов|ûnderwerp|subjekt|judul|tiêu đề|asuntu|subjecto|ogg|หัวจดหมาย
""")
"""The labels of a header block as Outlook, Apple Mail and Notes copy it above a mail. The Latvian
"No" is not among them: it heads a number in other languages."""

_DEVICE = (
    r"(?:i(?:phon|pad|pod)|android|galaxy|samsung|blackberry|huawei|xiaomi|htc\b|nokia|sony|lumia"
    r"|pixel|oneplus|redmi|oppo\b|motorola|alcatel|kindle|windows|outlook|yahoo|gmail|aol\b|proton"
    r"|tuta|gmx|web\.de|telekom\b|aqua mail|mobil|handy|smartphone|téléphone|portable|móvil|celular"
    r"|cellulare|telefo|telephone|tablet|phone|puhelim|thunderbird|spark|airmail|bluemail|k-9"
    r"|superhuman|xfinity|one boxer|mail\.ru|mailspring|missive|polymail|canary \(|mailtrack"
    r"|fairemail|em client|zoho mail|hushmail|fastmail|newton mail|mail orange|libero mail"
    r"|seznam email|mac\b|macbook|apple\smail|айфон|почты|смартфон|устройств|אייפון|هاتف|小米|手机)"
)
_PLATFORM = r"(?:ios|android|windows|mac)"
_NAMES = (
    r"(?-i:(?:(?:my|the|a|all|new|mobile|meine[mnr]?|de[mr]|mobilen|mon|ma|notre|la|mis?|el|mio|il"
    r"|meu|o|mijn|de|mi[nt]|mitt|min|programu|aplikace|aplikácie|app|pe|od|mojega|mojego|mého|mog"
    r"|mano|mana|minu|l'application|mog|del|dispositivo|appareil|messagerie|sécurisée|mobilní"
    r"|моего|моя|мог|мобильной|мобильного|приложения)\s|[^a-z\s]\S*\s){0,6})\S{0,12}"
)
"""What may stand before the name of a device: other names and little words, no sentence."""
_GERMAN_NAMES = r"(?-i: (?:aus|mit|der|über|[^a-zäöüß\s]\S*)){0,8}"
"""What may stand before the verb, which is the last word in German."""
_SENT_FROM = (
    r"(?:sent|composed|written) (?:from|via|with|using)|gesendet (?:von|mit|via|über|aus)"
    r"|(?:envoyé|expédié) (?:de|depuis|à partir de|avec|via)"
    r"|(?:enviad[oa]|enviat) (?:desde|des|do|de|con|com|via|pelo|a partir d[eo])"
    r"|(?:inviato|spedito) (?:da|dal|con)|(?:verzonden|verstuurd) (?:vanaf|vanuit|van|met|via)"
    r"|skicka(?:t|d|des) från|sendt (?:fra|med)|sent fra|lähetetty|wysłan[eo] ze?|odesláno ze?"
    r"|odoslané zo?|отправлено (?:со?|из?)|надіслано (?:з|із)|изпратено от|poslano [sz]"
    r"|poslato sa|послато са|στάλθηκε από|trimis (?:de pe|din)|küldve(?: az?)?|saadetud"
    r"|išsiųsta iš|nosūtīts no|dikirim dari|dihantar daripada"
)
"""How such a line begins, by language."""
_GET = (
    r"get|télécharge[rz]|obtenir|obtener|obter(?: o)?|download|descargar|scarica|hämta|hent"
    r"|pobierz(?: aplikację| program)?|baixar(?: o)?|obtenez|ottieni|skaffa|skaff deg|få|hanki"
    r"|získat|holen sie sich|hol dir|получит[ье]|отримати|obține|λήψη του|获取|取得|下载|下載"
)
_MOBILE_LINES = (
    rf"sent from yahoo mail\. get the app|(?:{_SENT_FROM}) {_NAMES}{_DEVICE}",
    r"sent from (?:a|my) (?:handheld|cell|mi\b)|sent by galaxy\W*$",
    rf"sent from mailbox|(?:sent from mail for|gesendet von mail für) {_PLATFORM}",
    r"from my (?:i(?:phone|pad|pod)|android|blackberry|galaxy)|get bluemail for",
    r"(?:gesendet )?von unterwegs(?: gesendet)?\W*$|yahoo mail: search, organize, conquer",
    r"(?:diese (?:nachricht|e-?mail) wurde )?von (?:mein(?:em|er)(?:/meiner)? )?"
    rf"{_NAMES}{_DEVICE}\S{{0,20}}{_GERMAN_NAMES} ?gesendet",
    r"(?:envoyé (?:de|depuis|à partir de)|provenance ?:) (?:courrier|mail) pour windows",
    r"(?:נשלח מ|أ[ُ]?رسلت من|تم الإرسال من|ارسال شده از|(?:được|đã) gửi từ|ส่งจาก)"
    rf".{{0,12}}{_DEVICE}",
    rf"(?:yahoo!メール for |私の)?{_DEVICE}"
    r"(?:\S{0,4} ?(?:から送信|より送信|에서 보냄|ile gönderildi)"
    r"|(?:.{0,20} (?:telefon|cihaz|tablet|app|e?-?posta))?\S{0,8}[dt][ae]n gönderildi)\W*$",
    r"[发發来來]自我的(?:[ -~]{0,30}"
    r"|[ -~]{0,20}\w{0,4}(?:手[机機]|小米|魅族|平板|[电電][脑腦]))\W*$",
    r"[从從](?:我的| ?(?:outlook|iphone|android)).{0,40}(?:發送|发送|傳送)\W*$",
    r"(?:(?:나의|내) .{0,20}에서 보(?:냄|냈습니다)|네이버 메일 앱에서 보냄)\W*$",
    r"발신: ?(?:samsung|iphone)",
    rf"(?:{_GET}) (?:outlook (?:\S{{1,8}} ){{0,2}}{_PLATFORM}|{_PLATFORM} 版 outlook)",
    rf"outlook (?:für|voor) {_PLATFORM} (?:herunterladen|beziehen|downloaden)",
    rf"az {_PLATFORM} outlook beszerzése|outlook for {_PLATFORM} ?を入手",
    rf"{_PLATFORM}(?:용 outlook 받기| için outlook\S* .{{0,15}}edinin)",
    r"(?!(?:i|we|ich|wir|je|nous|yo|io|ik) )(?:[^<\s]{1,20} ){0,2}outlook[^<\n]{0,20}"
    r"<https?://aka\.ms/\w+>[^.!?<]{0,20}$",
)
MOBILE = re.compile(
    r"[\s_*(<«-]*(?:" + "|".join(_MOBILE_LINES) + r")(?P<rest>.{0,80})$",
    re.IGNORECASE,
)
"""The line a mobile mail program adds on its own; always the whole line, always the last one."""

MOBILE_REST = _table("""
    for|on|from|with|via|using|app|apps|device|phone|mobile|mobil|tablet|smartphone|network|wireless
    secure|email|e-mail|mail|client|edition|the|my|für|auf|mit|von|der|gesendet|pour|sur|avec|para
    en|con|desde|per|con|voor|op|met|för|på|til|dla|systemu|pro|de|und|and|pc|sur|meu|mea|μου|của|tôi
    saya|на|для|мобильных|alkalmazásból|pe|di|app|appareil|telefonu|telefonumdan|שלי|الخاص|بي
    ของฉัน
""")
"""Words that may follow in it, besides names; in lower case, where there is one."""

EXCUSE = re.compile(r"excuse|typo|brevity|spelling|autocorrect|tippfehler|kürze", re.IGNORECASE)
"""What people have their mobile add to that line."""

GREETING = re.compile(
    r"""(?ix) \W* (?: hi | hello | hey | dear | good\s(?:morning|afternoon|evening|day)
      | hallo | guten\s(?:tag|morgen|abend) | moin | servus | liebe[rs]? | sehr\sgeehrte[rs]?
      | bonjour | bonsoir | salut | ch[eè]re?s? | madame | monsieur | hola | buen[oa]s | estimad\w+
      | querid\w+ | ciao | buongiorno | buonasera | salve | gentil[ei]\w* | egregi\w* | hoi | beste
      | geachte | goede\w* | hej | hei | god\s\w+ | k(?:æ|j[æä])re | bästa | cześć | dzień\sdobry
      | witam | szanown\w+ | dobrý | ahoj | vážen\w+ | szia | tisztelt | kedves | bună | stimat\w+
      | merhaba | sayın | здравствуйте | добрый | привет | уважаем\w+ | здравей\w* | γεια | καλημέρα
      | olá | oi | prezad\w+ | caro | bo[ma]\s\w+ ) \b [^.!?]{0,60} ,\s*$"""
)
"""A line that greets and says no more."""

ANSWERS_BELOW = re.compile(
    r"""(?ix) \b (?:
      (?:see|find|put|added?|wrote|comments?|answers?|replies|reply)\b.{0,30}\b(?:below|in-?line)
      | in[ -]?line\b | below\sin\s(?:red|blue|green|bold)
      | (?:answers?|comments?|antwort|kommentar|anmerkung|réponse|commentaire|respuesta|risposte
        |commenti|antwoord|opmerking|svar|odpowied|odpověd|ответ)\w{0,4}\b.{0,30}
        \b(?:red|blue|green|bold|caps|rot|blau|grün|fett|rouge|bleu|vert|rojo|rosso|rood|blauw
        |rött|rødt|texte?|testo|texto|tekst|tekście|тексте)
      | (?:katso|ks\.|vastau|kommen|huomau)\w{0,8}\b.{0,30}\balla
      | s\.\s?u\. | siehe\s(?:weiter\s)?unten | im\stext\b | unten\sim
      | ci-dessous | plus\sbas | más\sabajo | abajo | qui\ssotto | di\sseguito | abaixo
      | hieronder | zie\sonder | poniżej | nedan | nedenfor | níže | nižšie | alább | ниже
    ) \b"""
)
"""The writer says that there is more below: then nothing is cut."""
