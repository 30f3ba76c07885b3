"""The two sides of a mailbox as they are stored: the transport and its settings, secrets sealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from postroom import names, secrets
from postroom.api import codes
from postroom.api.errors import Problem, SettingsError
from postroom.api.transport import Transport
from postroom.credentials import credentials
from postroom.errors import InputError, NotFoundError
from postroom.mailboxes import dispositions, ledger
from postroom.plugin_settings import (
    CORRECT,
    MASK,
    WORDS,
    stored_columns,
    stored_values,
    up_to_date,
    validate,
)
from postroom.plugins import Plugins
from postroom.plugins import load as load_plugins
from postroom.store.database import is_sqlite, now, transaction
from postroom.store.models import Mailbox, Side

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings

FORMER: Final = "former"
"""The direction of what the incoming side was before the last migration; nothing works on it."""
_WHICH_ACCOUNT: Final = ("host", "username", "mailbox", "base_url", "url", "path")
"""A change of these, and the mailbox's messages are other ones, though their refs may be equal."""
_WHERE_TO_FETCH: Final = (*_WHICH_ACCOUNT, "port", "folders")
"""A change of these makes the cursor worthless."""


# ---------------------------------------------------------------------------- writing


def save(
    mailbox: Mailbox,
    direction: str,
    transport_name: str,
    values: Mapping[str, Any],
    *,
    send_as: str | None = None,
    reply_to: str | None = None,
    save_to_sent: bool = True,
) -> Side:
    """Set up a side from all its settings; what is absent gets its default.

    What is equal already changes nothing. A change ends any back-off, so that it is tried at once.

    :param values: as an administrator wrote them, secrets in clear
    :raises InputError: a setting is wrong, or the mailbox's disposition does not go with it
    :raises SettingsError: the transport is not installed
    """
    own = {"send_as": send_as, "reply_to": reply_to, "save_to_sent": save_to_sent}
    return put(mailbox, direction, transport_name, values, own)[0]


def put(
    mailbox: Mailbox,
    direction: str,
    transport_name: str,
    values: Mapping[str, Any],
    own: Mapping[str, Any],
    *,
    seal: Callable[[bytes], bytes] = secrets.seal,
) -> tuple[Side, list[str]]:
    """Do what `save` does; return the side and the names of what changed.

    :param own: ``send_as``, ``reply_to``, ``save_to_sent``: the core's settings of a side
    """
    plugins = load_plugins()
    transport, settings, own = prepare(direction, transport_name, values, own)
    if direction == "in":
        refuse_unfit_disposition(mailbox, transport, settings)
    with transaction():
        side = find(mailbox, direction)
        changed = _differences(side, transport, settings, own, plugins)
        if side is not None and not changed:
            return side, []
        columns = _columns(transport, settings, own, seal)
        if side is None:
            changed = ["added"]
            Side.create(mailbox=mailbox.id, direction=direction, **columns)
        else:
            Side.update(columns).where(Side.id == side.id).execute()
        if direction == "in":
            _begin_anew(mailbox, {*changed})
    saved = find(mailbox, direction)
    assert saved is not None  # noqa: S101 - it was just written
    return saved, changed


def refuse_unfit_disposition(
    mailbox: Mailbox, transport: Transport, settings: TransportSettings
) -> None:
    """Hold a mailbox's disposition against an incoming side.

    :raises InputError: it does not go with it
    """
    wanted = dispositions.of_columns(mailbox.disposition, mailbox.disposition_folder)
    dispositions.refuse_unfit(wanted, transport, getattr(settings, "folders", None))


def _columns(
    transport: Transport,
    settings: TransportSettings,
    own: Mapping[str, Any],
    seal: Callable[[bytes], bytes],
) -> dict[str, Any]:
    """Return what is stored of a side; nothing is known to be wrong with it."""
    return {
        "transport": transport.name,
        "settings_version": transport.settings_version,
        **stored_columns(settings, seal),
        **own,
        "failures": 0,
        "next_try_at": now(),
        "paused_by_server": False,
    }


def _begin_anew(mailbox: Mailbox, changed: set[str]) -> None:
    """Forget what was known of the incoming side and is no longer so."""
    ledger.settle_anew(mailbox.id)
    if changed & {"added", "transport", *_WHERE_TO_FETCH}:
        forget_cursor(mailbox)
    if changed & {"added", "transport", *_WHICH_ACCOUNT}:
        _begin_another_account(mailbox)


def prepare(
    direction: str, transport_name: str, values: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[Transport, TransportSettings, dict[str, Any]]:
    """Check what can be checked without the mailbox; return what `put` goes on with.

    :raises InputError: with every problem
    :raises SettingsError: the transport is not installed
    """
    transport = load_plugins().transport(transport_name)
    problems: list[Problem] = []
    checked = _checked_own(own, problems)
    try:
        settings = validate(transport, direction, values)
    except InputError as error:
        error.problems = (*error.problems, *problems)
        raise
    credential = getattr(settings, "credential", None)
    if credential is not None:
        try:
            credentials.find(credential)
        except NotFoundError as error:
            sentence = error.sentence
            problems.append(Problem("credential", sentence[0].lower() + sentence[1:]))
    if problems:
        what = f"The {WORDS[direction]} settings are not right."
        raise InputError(what, problems, next_step=CORRECT)
    return transport, settings, checked


def remove(mailbox: Mailbox, direction: str) -> bool:
    """Take a side away; what was received and what waits to be sent stays."""
    matches = (Side.mailbox == mailbox.id) & (Side.direction == direction)
    return bool(Side.delete().where(matches).execute())


def forget_cursor(mailbox: Mailbox) -> None:
    """Make the next visit list everything, at once; one that is under way cannot store a cursor of
    before."""
    with transaction():
        end_visits(mailbox)
        incoming_side = (Side.mailbox == mailbox.id) & (Side.direction == "in")
        Side.update(next_try_at=now()).where(incoming_side).execute()
        Mailbox.update(cursor=None).where(Mailbox.id == mailbox.id).execute()


def lock(mailbox: Mailbox) -> None:
    """Let one at a time change a mailbox, in the caller's transaction; first of all in it, as
    `end_visits`. On SQLite the transaction has the lock of the whole database."""
    if not is_sqlite():
        Side.select(Side.id).where(Side.mailbox == mailbox.id).for_update().execute()


def end_visits(mailbox: Mailbox) -> None:
    """Take the lease from whoever brings mail in, in the caller's transaction: what he goes by is
    no longer so. What was committed stays, and the next visit goes on with what is set by then.

    First of all in a transaction: a visit locks its side before anything else.
    """
    Side.update(
        generation=Side.generation + 1, lease_owner=None, leased_until=None, give_way_at=None
    ).where((Side.mailbox == mailbox.id) & Side.direction.in_(["in", "import"])).execute()


def _begin_another_account(mailbox: Mailbox) -> None:
    """A ref is a name within one account: close the receipts. The next retrieval first recognises
    what the account holds of the mail that is known."""
    begins_at = now()
    ledger.close_all(mailbox.id)
    if ledger.knows_content(mailbox.id):
        Mailbox.update(account_since=begins_at).where(Mailbox.id == mailbox.id).execute()


def _checked_own(own: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    checked: dict[str, Any] = {"save_to_sent": own.get("save_to_sent", True)}
    if not isinstance(checked["save_to_sent"], bool):
        problems.append(Problem("save_to_sent", "must be true or false"))
    for name in ("send_as", "reply_to"):
        checked[name] = None
        if own.get(name) is not None:
            try:
                checked[name] = names.checked_address(own[name])
            except ValueError as error:
                problems.append(Problem(name, str(error)))
    return checked


def _differences(
    side: Side | None,
    transport: Transport,
    settings: TransportSettings,
    own: Mapping[str, Any],
    plugins: Plugins,
) -> list[str]:
    """Return the names of what is not yet as it should be."""
    if side is None or side.transport != transport.name:
        return ["transport"]
    changed = [name for name, value in own.items() if getattr(side, name) != value]
    try:
        old = load(side, plugins)
    except SettingsError:  # what is stored is no longer valid: everything is new
        return [*changed, *type(settings).model_fields]
    changed += [
        name
        for name in type(settings).model_fields
        if getattr(old, name) != getattr(settings, name)
    ]
    if not changed and side.settings_version != transport.settings_version:
        changed.append("settings_version")
    return changed


# ---------------------------------------------------------------------------- reading


def find(mailbox: Mailbox, direction: str) -> Side | None:
    """Return the side, None if it is not set up."""
    side: Side | None = Side.get_or_none(
        (Side.mailbox == mailbox.id) & (Side.direction == direction)
    )
    return side


def incoming(mailbox: Mailbox) -> Side:
    """Return the incoming side.

    :raises InputError: it is not set up
    """
    side = find(mailbox, "in")
    if side is None:
        raise InputError(
            f"{mailbox.address} has no incoming side.",
            next_step=f"Configure it with `postroom mailbox incoming {mailbox.address} TRANSPORT`.",
        )
    return side


def is_same_account(
    side: Side, transport: Transport, settings: TransportSettings, plugins: Plugins
) -> bool:
    """Say whether refs of this side mean the same messages with these settings."""
    changed = _differences(side, transport, settings, {}, plugins)
    return not {"transport", *_WHICH_ACCOUNT} & {*changed}


def keep_former(mailbox: Mailbox) -> None:
    """Keep the incoming side as it is, under another name, so that a migration can go back to it.
    In the caller's transaction."""
    side = incoming(mailbox)
    remove(mailbox, FORMER)
    kept = ("transport", "settings_version", "settings", "secret_fields", "sealed")
    Side.create(
        mailbox=mailbox.id, direction=FORMER, **{name: getattr(side, name) for name in kept}
    )


def for_imports(mailbox: Mailbox) -> Side:
    """Return the row that holds the lease of imports, made when it is first needed: a mailbox
    that mail is imported into need not have an incoming side."""
    side: Side
    side, _ = Side.get_or_create(  # type: ignore[no-untyped-call]  # peewee's stubs
        mailbox=mailbox.id, direction="import", defaults={"transport": "import"}
    )
    return side


def load(side: Side, plugins: Plugins) -> TransportSettings:
    """Return the settings of a side, brought up to date and validated.

    :raises SettingsError: the plugin is missing or older, or what is stored does not do
    :raises KeyUnusableError: the secrets cannot be opened
    """
    transport = plugins.transport(side.transport)
    what = f"The {WORDS[side.direction]} settings are"
    values = up_to_date(stored_values(side), side.settings_version, transport, what)
    try:
        return validate(transport, side.direction, values)
    except InputError as error:
        raise SettingsError(
            codes.SETTINGS_INVALID, error.sentence, problems=error.problems
        ) from error


def shown(side: Side) -> dict[str, Any]:
    """Return a side for people and programs, secrets masked; needs neither plugin nor key."""
    values: dict[str, Any] = {"transport": side.transport, **side.settings}
    hidden: dict[str, Any] = {name: MASK for name in side.secret_fields if side.sealed is not None}
    if side.direction == "out":
        hidden |= {
            "send_as": side.send_as,
            "reply_to": side.reply_to,
            "save_to_sent": side.save_to_sent,
        }
    return values | hidden
