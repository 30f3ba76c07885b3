"""What machines write into subjects and texts, by language."""

from __future__ import annotations

import re

_AUTO_REPLY_PREFIXES = (
    "auto",
    "auto[ -]?repl(?:y|ies)",
    "auto[ -]?respon(?:se|der)",
    "automat(?:ic|ed) (?:reply|response|message)",
    "out[ -]of[ -](?:the[ -])?office(?: (?:auto[ -]?reply|reply|message|notification|response))?",
    "ooo",
    "vacation(?: (?:auto[ -]?reply|reply|message|notice|response))?",
    "away(?: from (?:the )?office)?",
    "automatische (?:antwort|r[üu]ckantwort|nachricht|e-?mail)",
    "auto(?:matische )?antwort",
    "abwesenheits(?:notiz|nachricht|meldung|benachrichtigung|assistent|agent|info|hinweis)",
    "abwesen(?:d|heit)",
    "r[ée]ponse automatique",
    "absen(?:ce|t|te)(?: (?:du|de) bureau)?",
    "message d['’]absence",
    "notification d['’]absence",
    "respuesta autom[áa]tica",
    "contestador autom[áa]tico",
    "fuera de (?:la )?oficina",
    "ausencia",
    "automatisch antwoord",
    "afwezig(?:heid(?:sbericht|smelding|sassistent)?)?",
    "niet (?:aanwezig|op kantoor)",
    "risposta automatica",
    "fuori (?:sede|ufficio)",
    "resposta autom[áa]tica",
    "resposta autom[àa]tica",
    "fora d[oe] escrit[óo]rio",
    "aus[êe]ncia(?: tempor[áa]ria)?",
    "automatyczna odpowied[źz]",
    "odpowied[źz] automatyczna",
    "autoodpowied[źz]",
    "poza biurem",
    "automatick[áa] odpov[ěe][ďd]",
    "automatick[áa] odpove[ďd]",
    "nep[řr][íi]tomnost",
    "automatisk(?:t)? svar",
    "autosvar",
    "fr[åa]nvaro(?:meddelande)?",
    "frav[æa]r",
    "ikke p[åa] kontoret",
    "automaattinen (?:vastaus|poissaoloilmoitus)",
    "poissa(?:olo(?:ilmoitus|viesti)?)?",
    "automatikus v[áa]lasz",
    "h[áa]zon k[íi]v[üu]l",
    "otomatik (?:yan[ıi]t|cevap)",
    "r[ăa]spuns automat",
    "автоматический ответ",
    "автоматическое сообщение",
    "автоответ(?:чик)?",
    "вне офиса",
    "автоматична відповідь",
    "автоматичен отговор",
    "samodej(?:ni|en) odgovor",
    "automatski odgovor",
    "аутоматски одговор",
    "αυτόματη απάντηση",
    "εκτός γραφείου",
    "automaatvastus",
    "(?:[āa]rpus biroja (?:[^: ]+ )?)?autom[āa]tisk[āa] atbilde",
    "automatinis atsakymas",
    "תשובה אוטומטית",
    "מענה אוטומטי",
    "رد تلقائي",
    "الرد التلقائي",
    "پاسخ خودکار",
    "自動応答",
    "自動返信",
    "不在通知",
    "不在連絡",
    "自动(?:回复|答复)",
    "自動回覆",
    "自動回复",
    "자동 ?(?:회신|응답|답장)",
    "부재 ?중",
    "trả lời tự động",
    "ตอบกลับอัตโนมัติ",
    "การตอบกลับอัตโนมัติ",
    "balasan otomatis",
    "jawapan automatik",
    "erantzun automatikoa",
    "sjálfvirkt svar",
    "автоматты жауап",
    "स्वचालित उत्तर",
)

AUTO_REPLY_SUBJECT = re.compile(
    r"\s*(?:\[[^\]]{{1,60}}#\d{{1,12}}\]\s*)?(?:[\[(]?(?:{0})[\])]?\s*(?:[:：]|$|(?:re|aw|sv|fwd?):)"
    r"|\[(?=[^\]]*[\s-])(?:{0})\]\s"
    r"|[^:：]{{1,60}}\sis\s(?:currently\s)?(?:out\sof\s(?:the\s)?office|on\svacation)\b)".format(
        "|".join(_AUTO_REPLY_PREFIXES)
    ),
    re.IGNORECASE,
)
"""The prefix an auto-responder puts before the subject it answers: words and a colon, or in
brackets, or alone."""

WORD_OF_PEOPLE_TOO = re.compile(
    r"\s*(?:[^:：]*$|(?:auto|ooo|vacation|away|abwesen(?:d|heit)|absen(?:ce|t|te)|aus[eê]ncia|afwezig"
    r"|niet aanwezig|nep[řr][íi]tomnost|fr[åa]nvaro|frav[æa]r|poissa|fuori (?:sede|ufficio))"
    r"\s*[:：])",
    re.IGNORECASE,
)
"""Subjects among them that a person may choose: the word alone, or one that says "I am away"."""

AUTO_REPLY_TEXT = re.compile(
    r"""(?ix)
    \bi\s(?:am|will\sbe)\s(?:currently\s|now\s)?(?:away
        | out\sof\s(?:the\s)?office|on\s(?:vacation|leave|holiday))
    | \bi['’]m\s(?:currently\s)?(?:out\sof\s(?:the\s)?office|on\s(?:vacation|leave|holiday))
    | \bthis\sis\san\sautomat(?:ic|ed)\s(?:reply|response|message)
    | \bich\sbin\s(?:\w+\s){0,6}(?:abwesend|nicht\sim\sbüro|nicht\sim\shaus|im\surlaub)
    | \bje\s(?:suis|serai)\s(?:actuellement\s)?(?:absente?|en\scongés?)
    | \bestoy\sfuera\sde\sla\soficina | \bik\sben\s(?:\w+\s){0,3}(?:afwezig|niet\saanwezig)
    | \bsono\s(?:\w+\s)?(?:assente|fuori\sufficio)
    """
)
"""What people say in the automatic replies they set up."""

AUTO_REPLY_NOTICE = re.compile(
    r"""(?ix)
    \bi\s(?:am|will\sbe|shall\sbe)\s(?:\w+\s){0,3}(?:unavailable|back\b|travelling|traveling)
    | \bi(?:\s(?:am|will)|['’]m|['’]ll)\s(?:\w+\s){0,3}(?:absent|on\s(?:\w+\s)?(?:leave|holidays?)
        | not\s(?:available|in\sthe\soffice))
    | \b(?:no|limited|without)\saccess\sto\s(?:my\s)?e-?mail
    | \byour\s(?:e-?mail|message|request|enquiry|inquiry)\s(?:has\sbeen|was|is\sbeing)
        \s(?:received|forwarded)
    | \b(?:we|i)\s(?:have\s)?received\syour\s(?:e-?mail|message|request|enquiry|inquiry)
    | \bich\sbin\s(?:\w+\s){0,6}(?:nicht\sda|nicht\serreichbar|unterwegs|außer\shaus|auf\sreisen)
    | \b(?:has\sbeen|was|is)\sautomatically\s(?:generated|sent)
    | \bich\s(?:\w+\s){0,6}nicht\serreichbar
    | \bwir\shaben\sihre\s(?:e-?mail|nachricht|anfrage)\serhalten
    | \bihre\s(?:e-?mail|nachricht|anfrage)\s(?:ist|wurde|wird)\s(?:\w+\s){0,4}
        (?:eingegangen|erhalten|weitergeleitet|bearbeitet)
    | \bavons\s(?:bien\s)?reçu\svotre | \bje\sserai\sde\sretour
    | \bestar[ée]\s(?:ausente|fuera) | \bestoy\s(?:ausente|de\svacaciones) | \bhemos\srecibido\ssu
    | \bestou\s(?:ausente|fora|de\sférias) | \bestarei\s(?:ausente|fora) | \brecebemos\s(?:a\s)?sua
    | \bsono\s(?:\w+\s){0,2}(?:in\sferie|fuori\ssede) | \babbiamo\sricevuto\sla\ssua
    | \bik\sben\s(?:\w+\s){0,4}(?:op\svakantie|niet\sop\skantoor)
    | \bhebben\suw\s(?:e-?mail|bericht)\sontvangen
    | \bjag\s(?:är|har)\s(?:\w+\s){0,3}(?:inte\spå\skontoret|på\ssemester|semester)
    | \bjeg\s(?:er|har|holder)\s(?:\w+\s){0,3}(?:ikke\spå\skontoret|på\sferie|ferie|fraværende)
    | \bolen\s(?:\w+\s){0,3}(?:poissa|lomalla)
    | \b(?:jestem|będę)\s(?:\w+\s){0,3}(?:nieobecn|na\surlopie)
    | \b(?:jsem|budu)\s(?:\w+\s){0,3}(?:nepřítom|na\sdovolen) | \bnem\svagyok\saz\sirod
    | \bszabadságo[nm]\s(?:vagyok|leszek) | \bsunt\s(?:\w+\s){0,2}în\sconcediu | \bizindeyim
    | \b(?:я|нахожусь|буду)\s(?:\w+\s){0,3}в\sотпуске | \bотсутствую | \bбуду\sотсутствовать
    | \b(?:я|буду)\s(?:\w+\s){0,3}(?:відсутн|у\sвідпустці) | \bαπουσιάζω | \bείμαι\sεκτός\sγραφείου
    | 不在(?:にして|となり|中です|办公室|辦公室) | 休暇(?:中|を(?:いただ|取得))
    | (?:正在|目前)(?:休假|出差) | 休假中 | 出差中 | 부재\s?중 | 휴가\s?중 | 출장\s?중
    """
)
"""What stands in automatic replies, and now and then in people's: that someone is away, or that
mail has come in."""

QUESTION = re.compile(
    r"[?？](?=[\s\"')]|$)|[？؟]"
    r"|\b(?:thanks|thank you|danke|merci|gracias|grazie|bedankt|dank|tack|takk?)\b"
    r"[^.!\n]{0,20}\bauto",
    re.IGNORECASE,
)
"""What people ask and machines do not; people also give thanks for an automatic reply."""

AUTO_REPLY_DECLARATION = re.compile(
    r"""(?ix) \bthis\s(?:e-?mail\s|message\s)?is\san\sautomat(?:ic|ed)\s(?:reply|response|message)
    | \bdies(?:es)?\sist\seine\sautomati | \bceci\sest\s(?:un|une)\s(?:message|réponse)\sautomatique
    | \b(?:este|esto)\ses\sun(?:a)?\s(?:mensaje|respuesta)\sautom"""
)
"""What a machine says of itself."""

_SUBJECTS_OF_BOUNCES = (
    r"(?:mail |message |delivery |e-?mail )?failure notice",
    r"undeliver(?:ed|able|ible)\b",
    r"(?:mail|message|e-?mail)(?: delivery)?(?: system)? (?:failed|failure|error|warning)",
    r"(?:your )?(?:mail|message|e-?mail)(?: to .{1,80})? is undeliverable",
    r"(?:your )?(?:mail|message|e-?mail)(?: to .{1,80})? could not be (?:sent|delivered)",
    r"failed (?:mail|delivery)|(?:mail|message) delivery has failed|\[bounce\]",
    r"there was an error sending your (?:mail|message)",
    r"returned (?:mail|message|e-?mail)\b",
    r"(?:permanent |mail |message )?delivery (?:fail(?:ure|ed|ing)|error|status\b|report\b)",
    r"delivery (?:notification|has (?:failed|been delayed)|delayed)",
    r"(?:delayed|deferred) (?:mail|message|delivery)",
    r"(?:mail|message)(?: delivery)? (?:delayed|status|deferred|still being retried)",
    r"non[- ]?deliver(?:y|able)|ndn: |ndr: ",
    r"could not (?:send|deliver) (?:message|mail)",
    r"warning: (?:message|could not send|.{1,80}user unknown)",
    r"user (?:unknown|not known)|unknown user|processing error|automatically rejected mail",
    r"re: .{1,200} : non remis",
    r"unzustellbar|nicht zugestellt|zustellung (?:fehlgeschlagen|nicht)|fehler bei der zustellung",
    r"non remis|non remettable|échec de (?:la )?remise|remise (?:impossible|retardée)",
    r"no se p(?:uede|udo) entregar|no entregado|error de entrega|correo devuelto",
    r"onbestelbaar|niet (?:bezorgd|afgeleverd)|non recapitabile|mancato recapito",
    r"impossibile recapitare|não foi possível entregar|não entregue|falha na entrega",
    r"недоставлен|не доставлено|(?:ваше )?сообщение не доставлено",
    r"kan ikke leveres|ikke lever(?:e)?t|går inte att leverera|kunde inte levereras|olevererbart",
    r"niedostarcz|nie można dostarczyć|nedoručiteln|nedoručen|toimittamaton|kézbesíthetetlen",
    r"teslim edilemedi|(?:メールを)?配信できません|配信不能|送信できません",
    r"邮件传输失败|无法投递|系统退信|退信",
    r"無法傳遞|未傳遞|배달되지 않음|전송 실패|배달 실패",
)
BOUNCE_SUBJECT = re.compile(r"[\s*\[!]*(?:" + "|".join(_SUBJECTS_OF_BOUNCES) + ")", re.IGNORECASE)
"""How mail servers name their reports; at the beginning, for people answer and forward them."""

BOUNCE_SUBJECT_IS_OPEN = re.compile(
    r"[\s*\[!]*(?:mail |message )?delivery (?:status|report|notification)\b"
    r"(?!.{0,40}(?:fail|delay|undeliver|error))",
    re.IGNORECASE,
)
"""Those that do not say whether it was delivered; people write of delivery reports as well."""

DELIVERED_TEXT = re.compile(
    r"successfully (?:delivered|relayed)|(?:was|were|has been|have been) (?:delivered|relayed)"
    r"|wurden? (?:erfolgreich )?zugestellt|a été (?:bien )?(?:remis|distribué|délivré)"
    r"|(?:ha sido|fue) entregad|è stato (?:consegnato|recapitato)|foi entregue"
    r"|is (?:afgeleverd|bezorgd)|доставлено",
    re.IGNORECASE,
)
"""What servers write in reports of success."""

BOUNCE_REFUSAL = re.compile(r"\s*(?:automatically )?rejected (?:mail|message)", re.IGNORECASE)
"""How servers name the receipt for a mail that a rule or a quota refused."""

_WORDS_OF_BOUNCES = (
    r"this is the \S{1,40} ?(?:program|mail system|mail agent|mail server)|no valid recipients",
    r"this message was created automatically by (?:the )?(?:mail|smtp)",
    r"could ?n[o'’]t (?:be )?deliver|can ?not (?:be )?deliver|(?:was|were) not delivered",
    r"unable to deliver|delivery (?:to the following|has failed|failed|has been delayed)",
    r"did not reach the following recipient|failed recipient|there was an error delivering",
    r"transcript of session follows|the original message was received at",
    r"following address(?:es)? (?:had|failed)|permanent (?:fatal )?(?:delivery )?error",
    r"user unknown|unknown user|no such user|mailbox (?:is )?(?:full|unavailable|unknown)",
    r"not a valid (?:user|recipient|address)",
    r"(?:to|by) the following (?:recipient|address)|undeliver(?:ed|able)",
    r"has been returned because|message is being returned|returned to sender",
    r"konnte nicht (?:zugestellt|gesendet) werden|nicht zustellbar|unzustellbar",
    r"n['’]a pas pu (?:être|etre) (?:remis|d[ée]livr|distribu)",
    r"no se (?:pudo|ha podido) entregar",
    r"non (?:è stato possibile|ha potuto) (?:recapitare|consegnare)|não (?:pôde|pode) ser entregue",
    r"не (?:может|могло|удалось) (?:быть )?доставлен|не доставлено|无法(?:发送|送达|投递)",
    r"配信できません|送信できません|届けることができません|未送达|未送達|전송되지 않|배달되지 않",
    r"trouble delivering|rejected recipient|nicht (?:an \S{1,100} )?zugestellt",
    r"n['’]a pas été (?:remis|distribu|livr)|no se (?:ha entregado|entregó)",
    r"non è stat[oa] (?:recap|conseg)|não foi entregue|niet (?:bezorgd|afgeleverd)",
    r"nie został[oa]? dostarcz|inte levereras",
    r"ikke lever|iletilemedi|teslim edilemedi",
)
BOUNCE_TEXT = re.compile("|".join(_WORDS_OF_BOUNCES), re.IGNORECASE)
"""What mail servers write in their reports, and people when they ask about one."""

BOUNCE_OPENING = re.compile(
    r"""\W* (?:
        this\ message\ was\ created\ automatically\ by\ (?:the\ )?(?:mail|smtp)
      | this\ is\ the\ \S{1,40}\ (?:program|mail\ system|mail\ agent)
      | this\ is\ an\ automatically\ generated\ delivery
      | message\ from\ interscan
      | non-delivery\ report\b | failed\ recipients? | a\ message\ that\ you\ sent\ could\ not
      | your\ message\ (?:with\ subject|to)\b [^.]{0,200}
        could\ not\ be\ delivered\ to\ the\ following
      | your\ message\ with\ subject: [^\n]{0,200} \s could\ not\ be\ delivered\ to\ the\ following
      | (?:could\ not|unable\ to)\ deliver\ (?:the\ |your\ )?message\ to\ the\ following
      | votre\ message\ n'a\ pas\ pu\ etre\ delivre
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""First words that no person begins a mail with."""
