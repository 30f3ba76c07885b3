"""Where EWS is, asked for as Outlook does: the XML of autodiscover at the well-known addresses.

exchangelib's own keeps a pickle in the temporary folder under a name that anyone can guess, and
shares it between all accounts of the process. Only HTTPS is asked, with the mailbox's own TLS
settings, because the password goes along.
See https://learn.microsoft.com/exchange/client-developer/exchange-web-services/autodiscover-for-exchange.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import requests
from exchangelib.util import to_xml
from postroom.api import AuthError, Context, SettingsError, TransportError

from postroom_ews.errors import EWS_UNKNOWN_URL, HttpRefused
from postroom_ews.exchange import Exchange, new_link

if TYPE_CHECKING:
    from postroom_ews.link import Link
    from postroom_ews.settings import EwsSettings

ONLINE: Final = "https://outlook.office365.com/EWS/Exchange.asmx"
_PATH: Final = "/autodiscover/autodiscover.xml"
_MOST_HOPS: Final = 5
_REQUEST: Final = (
    '<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/'
    'exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>{address}'
    "</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/"
    "outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>"
)


def candidates(address: str) -> list[str]:
    """Return the addresses to ask, in their order."""
    domain = address.rpartition("@")[2]
    return [f"https://autodiscover.{domain}{_PATH}", f"https://{domain}{_PATH}"]


def find_url(settings: EwsSettings, context: Context, links: list[Link]) -> str:
    """Return the endpoint: the one that is set, Exchange Online's, or what autodiscover tells.

    :param links: receives the connections that are made, so that they can be interrupted
    :raises SettingsError: nobody tells
    :raises AuthError: autodiscover refused the password
    """
    if settings.url is not None:
        return settings.url
    if settings.method == "oauth":
        return ONLINE
    address = settings.mailbox or context.mailbox
    refused: TransportError | None = None
    for url in candidates(address):
        try:
            return _follow(url, address, settings, context, links)
        except AuthError as error:
            refused = refused or error
        except TransportError as error:
            context.logger.debug("autodiscover at %s: %s", url, error)
    if refused is not None:
        raise refused
    asked = " and ".join(urlsplit(url).hostname or "" for url in candidates(address))
    sentence = f"Neither {asked} tells where the mailbox {address} is."
    raise SettingsError(EWS_UNKNOWN_URL, sentence)


def _follow(
    url: str, address: str, settings: EwsSettings, context: Context, links: list[Link]
) -> str:
    for _ in range(_MOST_HOPS):
        answer = _ask(url, address, settings, context, links)
        found = dict(_values(answer))
        if "EwsUrl" in found:
            return found["EwsUrl"]
        if "RedirectAddr" in found:
            address = found["RedirectAddr"]
            url = candidates(address)[0]
        elif found.get("RedirectUrl", "").startswith("https://"):
            url = found["RedirectUrl"]
        else:
            break
    raise SettingsError(EWS_UNKNOWN_URL, f"{url} does not tell where EWS is.")


def _ask(
    url: str, address: str, settings: EwsSettings, context: Context, links: list[Link]
) -> bytes:
    link = new_link(url, settings.timeout_seconds)
    links.append(link)
    exchange = Exchange(settings, context, url, link)
    try:
        with exchange.protocol.create_session() as session:
            answer = session.post(
                url,
                data=_REQUEST.format(address=escape(address)).encode(),
                headers={"Content-Type": "text/xml; charset=utf-8"},
                timeout=settings.timeout_seconds,
                allow_redirects=False,
            )
        location = answer.headers.get("location", "")
        if answer.status_code in (301, 302, 307) and location.startswith("https://"):
            return f"<a><RedirectUrl>{escape(location)}</RedirectUrl></a>".encode()
        if answer.status_code != 200:
            raise HttpRefused(answer)
        return bytes(answer.content)
    except (requests.RequestException, HttpRefused) as error:
        raise exchange.explain(error, "tell where the mailbox is") from error
    finally:
        links.remove(link)


def _values(answer: bytes) -> Iterator[tuple[str, str]]:
    """Yield element names and texts, the first of each name last: it wins in a dict."""
    try:
        elements = list(to_xml(answer).getroot().iter())
    except Exception:  # what is no XML tells nothing
        return
    for element in reversed(elements):
        if isinstance(element.tag, str) and element.text and element.text.strip():
            yield element.tag.rpartition("}")[2], element.text.strip()
