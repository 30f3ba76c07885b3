"""Microsoft's clouds: where tokens come from, and what they are for.

Source: https://learn.microsoft.com/graph/deployments
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

DEFAULT_AUTHORITY: Final = "https://login.microsoftonline.com"


@dataclass(frozen=True, slots=True)
class Cloud:
    """The resources that tokens are for: Graph, and Exchange for applications and for people."""

    graph: str
    exchange: str
    exchange_for_people: str


_WORLD: Final = Cloud(
    "https://graph.microsoft.com", "https://outlook.office365.com", "https://outlook.office.com"
)
_US: Final = Cloud(
    "https://graph.microsoft.us", "https://outlook.office365.us", "https://outlook.office365.us"
)
_CHINA: Final = Cloud(
    "https://microsoftgraph.chinacloudapi.cn",
    "https://partner.outlook.cn",
    "https://partner.outlook.cn",
)
_BY_HOST: Final = {
    "login.microsoftonline.us": _US,
    "login.usgovcloudapi.net": _US,
    "login.partner.microsoftonline.cn": _CHINA,
    "login.chinacloudapi.cn": _CHINA,
}


def cloud_of(authority: str) -> Cloud:
    """Return the cloud of a login's address; one that is not known is taken for the world's."""
    return _BY_HOST.get((urlsplit(authority).hostname or "").lower(), _WORLD)
