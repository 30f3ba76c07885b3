"""Names of attachments that are safe to show, to store and to offer for download."""

from __future__ import annotations

import re

from postroom.mail.text import one_line, without_direction

LONGEST = 255
"""Bytes of UTF-8 that a file system takes."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029:*?"<>|]')
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\.|$)")

_EXTENSIONS = {
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/xml": ".xml",
    "application/rtf": ".rtf",
    "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/pkcs7-signature": ".p7s",
    "application/x-pkcs7-signature": ".p7s",
    "application/pkcs7-mime": ".p7m",
    "application/x-pkcs7-mime": ".p7m",
    "application/pgp-signature": ".asc",
    "application/pgp-keys": ".asc",
    "application/pgp-encrypted": ".asc",
    "application/ms-tnef": ".dat",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "message/rfc822": ".eml",
    "message/global": ".eml",
    "message/delivery-status": ".txt",
    "message/disposition-notification": ".txt",
    "message/feedback-report": ".txt",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/rfc822-headers": ".txt",
    "text/vcard": ".vcf",
    "text/x-vcard": ".vcf",
    "video/mp4": ".mp4",
}


def safe_name(name: str, content_type: str, number: int) -> str:
    """Return a file name made from what the sender wrote, or from the part's type and number."""
    name = without_direction(one_line(name[:4000], 4000))
    name = name.replace("\\", "/").rpartition("/")[2]
    name = _FORBIDDEN.sub("_", name).strip(" .") if not _is_plain(name) else name
    name = _shorten(name)
    if not name.strip("._ "):
        return f"part-{number}{_EXTENSIONS.get(content_type, '.bin')}"
    return f"_{name}" if _RESERVED.match(name) else name


def _is_plain(name: str) -> bool:
    return name.isascii() and name.replace(".", "").replace("_", "").isalnum() and name[0] != "."


def _shorten(name: str) -> str:
    """Cut the name to `LONGEST` bytes; the extension stays."""
    if len(name.encode("utf-8")) <= LONGEST:
        return name.rstrip(" .")
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode("utf-8")) > 20:
        stem, dot, extension = name, "", ""
    room = LONGEST - len((dot + extension).encode("utf-8"))
    return stem.encode("utf-8")[:room].decode("utf-8", "ignore").rstrip(" .") + dot + extension
