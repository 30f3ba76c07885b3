"""Dates of headers (RFC 5322 sections 3.3 and 4.3), in UTC, or None."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan gen ene jän janv",
            "feb fev fév fév. févr",
            "mar mär mrz maa mars märz",
            "apr avr abr",
            "may mai mag maj",
            "jun giu juin juni",
            "jul lug juil juli",
            "aug ago aou aoû août",
            "sep set sept",
            "oct okt ott",
            "nov",
            "dec dez dic déc",
        ),
        1,
    )
    for name in names.split()
}
_ZONES = {
    "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360,
    "pst": -480, "pdt": -420, "akst": -540, "akdt": -480, "hst": -600, "ast": -240, "adt": -180,
    "met": 60, "mez": 60, "cet": 60, "mest": 120, "mesz": 120, "cest": 120, "bst": 60, "wet": 0,
    "west": 60, "eet": 120, "eest": 180, "msk": 180, "msd": 240, "jst": 540, "kst": 540,
    "aest": 600, "aedt": 660, "nzst": 720, "nzdt": 780, "sgt": 480, "hkt": 480,
}  # fmt: skip
"""Minutes east of Greenwich. RFC 5322 names the American ones; any other name counts as UTC."""

_USUAL = re.compile(
    r"(?:[A-Z][a-z][a-z], )?([0-3]?\d) ([A-Z][a-z][a-z]) (\d{4}) (\d\d):(\d\d):([0-5]\d)"
    r" ([+-])([01]\d)([0-5]\d)",
    re.ASCII,
)
"""As RFC 5322 wants it and nearly all write it; what follows does not matter."""
_DATE = re.compile(
    r"\s*(?:[^\W\d]+\.?\s*,?\s*)?(\d{1,2})[\s.-]+([^\W\d]{3,12})\.?[\s,-]+(\d{2,4})[\s,]+"
    r"(\d{1,2})\s*[:.]\s*(\d{2})(?:\s*[:.]\s*(\d{2}))?(?:[.,]\d+)?\s*([AaPp][Mm])?\s*"
    r"(?:(?:GMT|UTC|UT)?([+-]\d{1,2}:?\d{2})|([A-Za-z]{1,5}))?"
)
_ASCTIME = re.compile(
    r"\s*[A-Za-z]{3,9},?\s+([A-Za-z]{3,9})\s+(\d{1,2}),?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?\s+"
    r"(?:([+-]\d{4}|[A-Za-z]{1,5})\s+)?(\d{4})(?:\s+([+-]\d{4}))?"
)
_MONTH_FIRST = re.compile(
    r"\s*(?:[^\W\d]+,\s*)?([^\W\d]{3,12})\.?\s+(\d{1,2}),?\s+(\d{4}),?\s+(?:at\s+)?"
    r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([AaPp][Mm])?\s*([+-]\d{4}|[A-Za-z]{1,5})?"
)
_ISO = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{2})(?::(\d{2}))?(?:[.,]\d+)?\s*"
    r"(Z|[+-]\d{2}:?\d{2})?"
)
_COMMENT = re.compile(r"\([^()]*\)")


@lru_cache(maxsize=1024)
def parse_date(value: str) -> datetime | None:
    """Return the date in UTC; None where it is no date, or none that `datetime` can hold."""
    text = value[:200]
    if "(" in text:
        text = _COMMENT.sub(" ", text)
    try:
        return _read(text)
    except (ValueError, OverflowError):
        return None


def received_date(value: str) -> datetime | None:
    """Return the date of a Received line: what follows the last semicolon."""
    return parse_date(value.rpartition(";")[2].strip())


def _read(text: str) -> datetime | None:
    if (found := _USUAL.match(text)) and (month := _MONTHS.get(found[2].lower())):
        day, _, year, hour, minute, second, sign, hours, minutes = found.groups()
        moment = datetime(
            int(year), month, int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
        east = timedelta(hours=int(hours), minutes=int(minutes))
        return moment - east if sign == "+" else moment + east
    if found := _DATE.match(text):
        day, name, year, hour, minute, second, half, offset, zone = found.groups()
        month = _month(name)
        if month is None:
            return None
        hours = _hour(hour, half)
        return _utc(
            (_year(year), month, int(day), hours, int(minute), int(second or 0)), offset or zone
        )
    if found := _MONTH_FIRST.match(text):
        name, day, year, hour, minute, second, half, zone = found.groups()
        month = _month(name)
        if month is None:
            return None
        hours = _hour(hour, half)
        return _utc((int(year), month, int(day), hours, int(minute), int(second or 0)), zone)
    if found := _ASCTIME.match(text):
        name, day, hour, minute, second, zone, year, offset = found.groups()
        month = _month(name)
        if month is None:
            return None
        return _utc(
            (int(year), month, int(day), int(hour), int(minute), int(second or 0)), offset or zone
        )
    if found := _ISO.match(text):
        *numbers, offset = found.groups()
        year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
        return _utc((year, month, day, hour, minute, second), offset)
    return None


def _hour(digits: str, half: str | None) -> int:
    hour = int(digits)
    return hour % 12 + (12 if half.lower() == "pm" else 0) if half else hour


def _month(name: str) -> int | None:
    name = name.lower()
    return _MONTHS.get(name) or _MONTHS.get(name[:3])


def _year(digits: str) -> int:
    """Read the year; two and three digits as RFC 5322 section 4.3 says."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _utc(fields: tuple[int, int, int, int, int, int], zone: str | None) -> datetime:
    year, month, day, hour, minute, second = fields
    # a leap second (60) is the last one that datetime knows
    moment = datetime(year, month, day, hour, minute, min(second, 59) if second <= 60 else second,
                      tzinfo=UTC)  # fmt: skip
    return moment - timedelta(minutes=_offset(zone))


def _offset(zone: str | None) -> int:
    if not zone:
        return 0
    if zone[0] not in "+-":
        return _ZONES.get(zone.lower(), 0)
    digits = zone[1:].replace(":", "").rjust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return 0
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
