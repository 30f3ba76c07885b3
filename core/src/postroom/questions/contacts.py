"""Contacts: people by their e-mail address, made on first sight."""

from __future__ import annotations

from collections.abc import Iterable

from postroom.mail.domains import address_key
from postroom.mail.message import Address
from postroom.store.database import execute, insert_rows, now
from postroom.store.models import Contact

_LONGEST_KEY = 500


def contact_key(address: str) -> str:
    """Return an address as it is compared and indexed."""
    return address_key(address)[:_LONGEST_KEY]


def ensure(people: Iterable[Address]) -> dict[str, int]:
    """Return contact ids by `contact_key`, adding those never seen; in the caller's transaction.

    Sorted, so that two transactions that add the same people do not wait for each other in turn.
    """
    wanted: dict[str, Address] = {}
    for person in people:
        key = contact_key(person.address)
        if key not in wanted or (person.name and not wanted[key].name):
            wanted[key] = person
    found = _find(wanted)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        instant = now()
        insert_rows(
            Contact,
            ("address", "address_key", "name", "created_at"),
            ((wanted[key].address, key, wanted[key].name, instant) for key in missing),
            ignore_conflicts=True,  # another runner may have met them meanwhile
        )
        found |= _find(missing)
    return found


def _find(keys: Iterable[str]) -> dict[str, int]:
    found = "SELECT address_key, id FROM contact WHERE address_key = ANY(%s)"
    return dict(execute(found, [list(keys)]))
