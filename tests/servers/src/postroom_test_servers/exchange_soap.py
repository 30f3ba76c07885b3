"""SOAP as EWS speaks it, held to Microsoft's schemas in both directions."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from lxml import etree
from lxml.builder import ElementMaker

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"
ERRORS: Final = "http://schemas.microsoft.com/exchange/services/2006/errors"
M = ElementMaker(namespace=MESSAGES, nsmap={"m": MESSAGES, "t": TYPES})
T = ElementMaker(namespace=TYPES, nsmap={"t": TYPES})
NAMES: Final = {"s": SOAP, "m": MESSAGES, "t": TYPES, "e": ERRORS}
Element = Any
VERSION: Final = {
    "MajorVersion": "15", "MinorVersion": "2", "MajorBuildNumber": "2562",
    "MinorBuildNumber": "17", "Version": "V2018_01_08",
}  # fmt: skip
_SCHEMA: Final = Path(__file__).parent / "exchange_schema" / "ews.xsd"


@functools.cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(_SCHEMA)))


def problems(parts: Iterable[Element]) -> list[str]:
    """Return what Microsoft's schemas have against the elements."""
    found = []
    for part in parts:
        if part.tag.startswith((f"{{{MESSAGES}}}", f"{{{TYPES}}}")):
            alone = etree.ElementTree(part) if part.getparent() is None else _copied(part)
            if not _schema().validate(alone):
                name = etree.QName(part).localname
                found += [f"{name}: {error.message}" for error in _schema().error_log]
    return found


def _copied(part: Element) -> Any:
    return etree.fromstring(etree.tostring(part), etree.XMLParser(huge_tree=True))


def parse(body: bytes) -> tuple[list[Element], list[Element]]:
    """Return the elements in header and body of an envelope.

    :raises ValueError: it is none
    """
    try:
        root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"no XML: {error}") from error
    if root.tag != f"{{{SOAP}}}Envelope":
        raise ValueError("no SOAP envelope")
    return list(root.iterfind(f"{{{SOAP}}}Header/*")), list(root.iterfind(f"{{{SOAP}}}Body/*"))


def envelope(content: Element, *, version: bool = True) -> bytes:
    """Return the bytes of an envelope around an element."""
    s = ElementMaker(namespace=SOAP, nsmap={"s": SOAP})
    parts = [s.Header(T.ServerVersionInfo(**VERSION))] if version else []
    root = s.Envelope(*parts, s.Body(content))
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def fault(code: str, text: str, *, back_off: int | None = None) -> bytes:
    """Return the envelope of a SOAP fault, as Exchange answers with HTTP 500.

    :param back_off: milliseconds
    """
    detail = etree.Element("detail")
    e = ElementMaker(namespace=ERRORS, nsmap={"e": ERRORS})
    detail.extend([e.ResponseCode(code), e.Message(text)])
    if back_off is not None:
        detail.append(T.MessageXml(T.Value(str(back_off), Name="BackOffMilliseconds")))
    body = etree.Element(f"{{{SOAP}}}Fault", nsmap={"s": SOAP})
    for name, value in (("faultcode", f"a:{code}"), ("faultstring", text)):
        etree.SubElement(body, name, nsmap={"a": TYPES}).text = value
    body.append(detail)
    return envelope(body, version=False)


def result(operation: str, *parts: Element) -> Element:
    """Return a response message that tells of success."""
    message = M(f"{operation}ResponseMessage", ResponseClass="Success")
    message.append(M.ResponseCode("NoError"))
    message.extend(parts)
    return message


def refusal(
    operation: str, code: str, text: str = "", *more: Element, inner: str = "",
    back_off: int | None = None,
) -> Element:  # fmt: skip
    """Return a response message that tells of an error.

    :param inner: an error code behind ErrorInternalServerError
    :param back_off: milliseconds, with an inner code
    """
    message = M(f"{operation}ResponseMessage", ResponseClass="Error")
    message.append(M.MessageText(text or code))
    message.append(M.ResponseCode(code))
    message.append(M.DescriptiveLinkKey("0"))
    if inner:
        value = T.Value(inner, Name="InnerErrorResponseCode")
        details = M.MessageXml(value, T.Value(inner, Name="InnerErrorMessageText"))
        if back_off is not None:
            details.append(T.Value(str(back_off), Name="BackOffMilliseconds"))
        message.append(details)
    message.extend(more)
    return message


def response(operation: str, messages: Iterable[Element]) -> Element:
    """Return the body of an answer."""
    return M(f"{operation}Response", M.ResponseMessages(*messages))


class Refused(Exception):  # noqa: N818 - what the server answers
    """An operation on one item or folder failed with a response code."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code)
        self.code, self.text = code, text
