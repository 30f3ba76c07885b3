"""What machines write into subjects and texts, by language."""

from __future__ import annotations

import re

_AUTO_REPLY_PREFIXES = ["", "auto", "auto[ -]?repl(?:y|ies)", "auto[ -]?respon(?:se|der)", "automat(?:ic|ed) (?:reply|response|message)", "out[ -]of[ -](?:the[ -])?office(?: (?:auto[ -]?reply|reply|message|notification|response))?", "ooo", "vacation(?: (?:auto[ -]?reply|reply|message|notice|response))?", "away(?: from (?:the )?office)?", "automatische (?:antwort|r[üu]ckantwort|nachricht|e-?mail)", "auto(?:matische )?antwort", "abwesenheits(?:notiz|nachricht|meldung|benachrichtigung|assistent|agent|info|hinweis)", "abwesen(?:d|heit)", "r[ée]ponse automatique", "absen(?:ce|t|te)(?: (?:du|de) bureau)?", "message d['’]absence", "notification d['’]absence", "respuesta autom[áa]tica", "contestador autom[áa]tico", "fuera de (?:la )?oficina", "ausencia", "automatisch antwoord", "afwezig(?:heid(?:sbericht|smelding|sassistent)?)?", "niet (?:aanwezig|op kantoor)", "risposta automatica", "fuori (?:sede|ufficio)", "resposta autom[áa]tica", "resposta autom[àa]tica", "fora d[oe] escrit[óo]rio", "aus[êe]ncia(?: tempor[áa]ria)?", "automatyczna odpowied[źz]", "odpowied[źz] automatyczna", "autoodpowied[źz]", "poza biurem", "automatick[áa] odpov[ěe][ďd]", "automatick[áa] odpove[ďd]", "nep[řr][íi]tomnost", "automatisk(?:t)? svar", "autosvar", "fr[åa]nvaro(?:meddelande)?", "frav[æa]r", "ikke p[åa] kontoret", "automaattinen (?:vastaus|poissaoloilmoitus)", "poissa(?:olo(?:ilmoitus|viesti)?)?", "automatikus v[áa]lasz", "h[áa]zon k[íi]v[üu]l", "otomatik (?:yan[ıi]t|cevap)", "r[ăa]spuns automat", "автоматический ответ", "автоматическое сообщение", "автоответ(?:чик)?", "вне офиса", "автоматична відповідь", "автоматичен отговор", "samodejni odgovor", "automatski odgovor", "аутоматски одговор", "αυτόματη απάντηση", "εκτός γραφείου", "automaatvastus", "autom[āa]tisk[āa] atbilde", "automatinis atsakymas", "תשובה אוטומטית", "מענה אוטומטי", "رد تلقائي", "الرد التلقائي", "پاسخ خودکار", "自動応答", "自動返信", "不在通知", "不在連絡", "自动回复", "自動回覆", "自動回复", "자동 ?(?:회신|응답|답장)", "부재 ?중", "trả lời tự động", "ตอบกลับอัตโนมัติ", "การตอบกลับอัตโนมัติ", "balasan otomatis", "jawapan automatik", ""]

AUTO_REPLY_SUBJECT = re.compile(
    r"\s*[\[(]?(?:" + "|".join(filter(None, _AUTO_REPLY_PREFIXES)) + r")[\])]?\s*(?:[:：]|$)",
    re.IGNORECASE,
)
"""The prefix an auto-responder puts before the subject it answers: words and a colon, or alone."""

AUTO_REPLY_TEXT = re.compile(
    r"""(?ix)
    \bi\s(?:am|will\sbe)\s(?:currently\s|now\s)?(?:out\sof\s(?:the\s)?office|away|on\s(?:vacation|leave|holiday))
    | \bi['’]m\s(?:currently\s)?(?:out\sof\s(?:the\s)?office|on\s(?:vacation|leave|holiday))
    | \bthis\sis\san\sautomat(?:ic|ed)\s(?:reply|response|message)
    | \bich\sbin\s(?:\w+\s){0,6}(?:abwesend|nicht\sim\sbüro|nicht\sim\shaus|im\surlaub)
    | \bje\s(?:suis|serai)\s(?:actuellement\s)?(?:absente?|en\scongés?)
    | \bestoy\sfuera\sde\sla\soficina | \bik\sben\s(?:\w+\s){0,3}(?:afwezig|niet\saanwezig)
    | \bsono\s(?:\w+\s)?(?:assente|fuori\sufficio)
    """
)
"""What people say in the automatic replies they set up."""

BOUNCE_SUBJECT = re.compile(
    r"""(?ix) ^\s*(?:\[?\*{0,3}\s*)?(?:
    (?:mail|message|delivery|e-?mail)?\s*failure\snotice
    | undeliver(?:ed|able|ible)\b | undelivered\smail\sreturned\sto\ssender
    | (?:mail|message|e-?mail)\s(?:delivery\s)?(?:system\s)?(?:failed|failure|error|problem)
    | (?:mail|message)\s(?:is\s)?undeliverable | returned\s(?:mail|message|e-?mail)\b
    | delivery\s(?:status\snotification|notification|failure|failed|report|has\s(?:failed|been\sdelayed))
    | (?:mail|message)\sdelivery | non[- ]?deliver(?:y|able) | could\snot\s(?:send|deliver)\smessage
    | warning:\s(?:message|could\snot\ssend) | (?:mail|message)\s(?:delivery\s)?(?:delayed|status)
    | unzustellbar | nicht\szugestellt | remise\s | non\srem(?:is|ettable)|non\sremis
    | échec\s | no\sse\spuede\sentregar | no\sentregado | onbestelbaar | non\srecapitabile
    | impossibile\srecapitare | mancato\srecapito | não\sfoi\spossível\sentregar | não\sentregue
    | недоставленное | oleverer | kan\sikke\sleveres | går\sinte\satt\sleverera | niedostarcz
    | nedoručiteln | 配信不能 | 配信できません | 无法投递 | 退信 | 無法傳遞 | 未傳遞
    | 배달되지\s않음 | 전송\s실패
    )"""
)

BOUNCE_TEXT = re.compile(
    r"""(?ix)
    this\sis\sthe\s(?:qmail|mail)(?:-send)?\s(?:program|system)
    | this\smessage\swas\screated\sautomatically\sby\s(?:the\s)?(?:mail|smtp)
    | (?:could|can)\s?not\s(?:be\s)?deliver(?:ed)?
    | unable\sto\sdeliver | delivery\s(?:to\sthe\sfollowing|has\sfailed|failed)
    | transcript\sof\ssession\sfollows | did\snot\sreach\sthe\sfollowing\srecipient
    | following\saddress(?:es)?\s(?:had|failed) | permanent\s(?:fatal\s)?error
    | user\sunknown | mailbox\s(?:is\s)?full | message\sto\sthe\sfollowing
    | undeliver(?:ed|able) | konnte\snicht\szugestellt\swerden
    | n['’]a\spas\spu\sêtre\s(?:remis|distribué)
    """
)
