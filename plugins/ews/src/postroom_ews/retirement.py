"""The end of EWS in Exchange Online, told with the days that are left.

Microsoft switches EWS off tenant by tenant since 1 October 2026, and for good on 1 April 2027:
https://techcommunity.microsoft.com/blog/exchange/exchange-online-ews-your-time-is-almost-up/4492361.
Exchange Server on premises is not affected.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

END: Final = date(2027, 4, 1)
HOSTS: Final = (
    "outlook.office365.com", "outlook.office.com", "outlook.office365.us",
    "outlook-dod.office365.us", "partner.outlook.cn",
)  # fmt: skip


def is_online(host: str) -> bool:
    """Tell whether a host is Exchange Online."""
    name = host.lower().rstrip(".")
    return name in HOSTS or name.endswith(tuple(f".{one}" for one in HOSTS))


def days_left(now: datetime) -> int:
    """Return how many days EWS has left; 0 on the last day and after."""
    return max(0, (END - now.date()).days)


def notice(now: datetime) -> str:
    """Return what happens to EWS in Exchange Online, one or two sentences."""
    left = days_left(now)
    if left == 0:
        return "Microsoft has switched EWS off in Exchange Online for good on 1 April 2027."
    days = "1 day is" if left == 1 else f"{left} days are"
    return (
        "Microsoft switches EWS off in Exchange Online in phases since October 2026, and for good "
        f"on 1 April 2027: {days} left."
    )


def way_out(mailbox: str) -> str:
    """Return the command that moves a mailbox to Graph."""
    return f"Move the mailbox to Graph with `postroom mailbox migrate {mailbox} --to graph`."
