"""Mailboxes: what an administrator sets, kept and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from postroom import names
from postroom.api.errors import Problem
from postroom.credentials.credential_expiry import Ends
from postroom.errors import InputError, NotFoundError
from postroom.leases import health
from postroom.mail.domains import address_key
from postroom.mailboxes import dispositions, sides
from postroom.mailboxes.ledger import needs_person, settle_anew
from postroom.mailboxes.mailbox_values import DEFAULTS, checked, resolve_start, written_disposition
from postroom.plugins import load as load_plugins
from postroom.store.database import now, transaction
from postroom.store.models import Mailbox, Outbox, Receipt, Segment, Side, Topic, Trouble

_FORGETS_CURSOR: Final = {"start", "max_message_bytes"}
"""What was left out because of these is looked at again when they change."""
_NOT_OF_A_VISIT: Final = {"name", "poll_seconds"}
"""A visit under way does not go by these; it does by all else. It is not to delete on the server
what is to be left there by now, and a topic that is the mailbox's no longer may be gone."""


def find(address: str) -> Mailbox:
    """Return a mailbox by its address, case ignored.

    :raises NotFoundError: with the nearest address
    """
    found: Mailbox | None = Mailbox.get_or_none(Mailbox.address_key == address_key(address))
    if found is None:
        known = [mailbox.address for mailbox in Mailbox.select(Mailbox.address)]
        raise NotFoundError(
            f"There is no mailbox {address}; {names.nearest(address, known)}",
            next_step=f"Add it with `postroom mailbox add {address}`." if not known else None,
        )
    return found


def add(address: str, **values: Any) -> Mailbox:
    """Add a mailbox; what is not given gets its default.

    :param values: as in the TOML file: `name, segment, enabled, topic, disposition, start,
        acknowledge, aliases, poll_seconds, max_message_bytes`
    :raises InputError: with every problem; or the mailbox exists
    """
    if Mailbox.get_or_none(Mailbox.address_key == address_key(address)):
        raise InputError(
            f"The mailbox {address} exists.", next_step="Change it with `postroom mailbox set`."
        )
    put(address, values)
    return find(address)


def change(mailbox: Mailbox, **values: Any) -> list[str]:
    """Change what is given, keep the rest as it is by now; return the names of what changed.

    :raises InputError: with every problem
    """
    with transaction():
        sides.lock(mailbox)
        return put(mailbox.address, settings_of(find(mailbox.address)) | values)


def put(address: object, values: Mapping[str, Any], *, incoming_follows: bool = False) -> list[str]:
    """Make a mailbox be so; what is absent gets its default. Return the names of what changed.

    :param incoming_follows: the incoming side is set up next, and compared with the disposition
    :raises InputError: with every problem, by field
    """
    problems: list[Problem] = []
    address = _checked_address(address, problems)
    with transaction():
        columns = checked({**DEFAULTS, **values}, problems)
        if problems:
            raise InputError(f"The mailbox {address} is not right.", problems)
        columns["address"] = address
        old = Mailbox.get_or_none(Mailbox.address_key == address_key(address))
        if old is None:
            return _insert(address, columns)
        if not incoming_follows:
            _check_with_incoming(old, columns)
        changed = [name for name, value in columns.items() if _differs(old, name, value)]
        if changed:
            _update(old, columns, changed)
    return sorted({"disposition" if name == "disposition_folder" else name for name in changed})


def _checked_address(address: object, problems: list[Problem]) -> str:
    try:
        return names.checked_address(address)
    except ValueError as error:
        problems.append(Problem("address", str(error)))
        return str(address)[:80]


def _insert(address: str, columns: dict[str, Any]) -> list[str]:
    instant = now()
    Mailbox.create(
        address_key=address_key(address),
        created_at=instant,
        start_at=resolve_start(columns["start"], instant),
        **columns,
    )
    return ["added"]


def _differs(old: Mailbox, name: str, value: Any) -> bool:
    stored = getattr(old, f"{name}_id") if name in ("segment", "topic") else getattr(old, name)
    return bool(stored != value)


def _update(old: Mailbox, columns: dict[str, Any], changed: list[str]) -> None:
    if "start" in changed:
        columns["start_at"] = resolve_start(columns["start"], now())
    if {*changed} - _NOT_OF_A_VISIT:
        sides.end_visits(old)
    Mailbox.update(columns).where(Mailbox.id == old.id).execute()
    if "enabled" in changed:
        _count_as_due_from_now(old)
    if _FORGETS_CURSOR & {*changed}:
        sides.forget_cursor(old)
    if {"disposition", "disposition_folder"} & {*changed}:
        settle_anew(old.id)


def _check_with_incoming(old: Mailbox, columns: Mapping[str, Any]) -> None:
    """Refuse a disposition that the incoming side, as it stands, cannot do."""
    side = sides.find(old, "in")
    plugins = load_plugins()
    wanted = dispositions.of_columns(columns["disposition"], columns["disposition_folder"])
    if wanted == dispositions.of_columns(old.disposition, old.disposition_folder):
        return
    if side is None or side.transport not in plugins.transports:
        return
    transport = plugins.transport(side.transport)
    dispositions.refuse_unfit(wanted, transport, side.settings.get("folders"))


# ---------------------------------------------------------------------------- showing


def settings_of(mailbox: Mailbox) -> dict[str, Any]:
    """Return what an administrator set, in the form of the TOML file."""
    topic = Topic.get_or_none(Topic.id == mailbox.topic_id)
    return {
        "name": mailbox.name,
        "segment": Segment.get_by_id(mailbox.segment_id).name,
        "enabled": mailbox.enabled,
        "topic": topic.name if topic else None,
        "disposition": written_disposition(mailbox.disposition, mailbox.disposition_folder),
        "start": mailbox.start,
        "acknowledge": mailbox.acknowledge,
        "aliases": list(mailbox.aliases),
        "poll_seconds": mailbox.poll_seconds,
        "max_message_bytes": mailbox.max_message_bytes,
    }


def listed() -> Iterator[dict[str, Any]]:
    """Yield every mailbox with its states and what waits, by address."""
    ends = Ends()
    for mailbox in Mailbox.select(Mailbox, Segment).join(Segment).order_by(Mailbox.address_key):
        incoming, outgoing = sides.find(mailbox, "in"), sides.find(mailbox, "out")
        yield {
            "address": mailbox.address,
            "name": mailbox.name,
            "segment": mailbox.segment.name,
            "enabled": mailbox.enabled,
            "incoming": incoming.transport if incoming else None,
            "outgoing": outgoing.transport if outgoing else None,
            "incoming_state": health.state_of(incoming, enabled=mailbox.enabled),
            "outgoing_state": health.state_of(outgoing),
            "last_success_at": incoming.last_success_at if incoming else None,
            **waiting(mailbox),
            "credential_expires_at": ends.of(incoming, outgoing),
        }


def waiting(mailbox: Mailbox) -> dict[str, int]:
    """Return how much is quarantined, queued, and sent with unknown outcome."""
    quarantined = (
        (Receipt.mailbox == mailbox.id) & (Receipt.outcome == "quarantined") & needs_person()
    )

    def outgoing(state: str) -> int:
        matches = (Outbox.mailbox == mailbox.id) & (Outbox.state == state)
        return Outbox.select().where(matches).count()

    return {
        "quarantined": Receipt.select().where(quarantined).count(),
        "queued": outgoing("queued"),
        "unknown": outgoing("unknown"),
    }


def shown(mailbox: Mailbox) -> dict[str, Any]:
    """Return everything about a mailbox, secrets masked."""
    return {
        "address": mailbox.address,
        **settings_of(mailbox),
        "start_at": mailbox.start_at,
        "created_at": mailbox.created_at,
        "incoming": _shown_side(mailbox, "in"),
        "outgoing": _shown_side(mailbox, "out"),
        **waiting(mailbox),
        "errors": [error for error in errors(mailbox) if error["cleared_at"] is None],
    }


def _shown_side(mailbox: Mailbox, direction: str) -> dict[str, Any] | None:
    side = sides.find(mailbox, direction)
    if side is None:
        return None
    enabled = mailbox.enabled or direction == "out"
    return {
        **sides.shown(side),
        "state": health.state_of(side, enabled=enabled),
        "last_success_at": side.last_success_at,
        "last_tried_at": side.last_tried_at,
    }


def errors(mailbox: Mailbox) -> Iterator[dict[str, Any]]:
    """Yield what went wrong with a mailbox, cleared or not, the latest first; before that, which
    of its credentials end soon."""
    yield from Ends().errors(mailbox)
    query = (
        Trouble.select(Trouble, Side)
        .join(Side)
        .where(Side.mailbox == mailbox.id)
        .order_by(Trouble.last_seen_at.desc(), Trouble.id.desc())
    )
    for trouble in query:
        yield {
            "code": trouble.code,
            "direction": trouble.side.direction,
            "sentence": trouble.sentence,
            "next_step": trouble.next_step,
            "first_seen_at": trouble.first_seen_at,
            "last_seen_at": trouble.last_seen_at,
            "count": trouble.count,
            "next_try_at": trouble.next_try_at,
            "cleared_at": trouble.cleared_at,
        }


def enable(mailbox: Mailbox, *, enabled: bool) -> bool:
    """Switch retrieval on or off, also in the middle of a visit; say whether that changed
    anything."""
    matches = (Mailbox.id == mailbox.id) & (Mailbox.enabled != enabled)
    with transaction():
        sides.lock(mailbox)
        if not enabled:
            sides.end_visits(mailbox)
        changed = bool(Mailbox.update(enabled=enabled).where(matches).execute())
        if changed:
            _count_as_due_from_now(mailbox)
    return changed


def _count_as_due_from_now(mailbox: Mailbox) -> None:
    """Nobody was late with it while it was disabled: see `overdue`."""
    instant = now()
    is_incoming = (Side.mailbox == mailbox.id) & (Side.direction == "in")
    Side.update(next_try_at=instant).where(is_incoming & (Side.next_try_at < instant)).execute()
