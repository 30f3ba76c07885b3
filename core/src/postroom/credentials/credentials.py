"""Credentials: named secrets, kept once, used by any number of mailboxes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from postroom import names, secrets
from postroom.api import codes
from postroom.api.credential import CredentialKind
from postroom.api.errors import Problem, SettingsError
from postroom.credentials import token_memory
from postroom.credentials.credential_expiry import days_left, ends_at
from postroom.credentials.credential_users import sides_with, wake_sides
from postroom.errors import InputError, NotFoundError
from postroom.plugin_settings import (
    MASK,
    WORDS,
    fit,
    split,
    stored_columns,
    stored_values,
    up_to_date,
)
from postroom.plugins import Plugins
from postroom.plugins import load as load_plugins
from postroom.store.database import now, transaction
from postroom.store.models import Credential, CredentialToken, Side

if TYPE_CHECKING:
    from postroom.api.settings import CredentialSettings

AS_NEW: Final[Mapping[str, Any]] = {
    "failed_at": None,
    "next_try_at": None,
    "error_kind": None,
    "code": None,
    "sentence": None,
    "next_step": None,
}
"""The columns of a credential that nothing is known to be wrong with."""


def find(name: object) -> Credential:
    """Return a credential by its name, case ignored.

    :raises NotFoundError: with the nearest name
    """
    key = names.name_key(name) if isinstance(name, str) else ""
    found: Credential | None = Credential.get_or_none(Credential.name_key == key)
    if found is None:
        known = [credential.name for credential in Credential.select(Credential.name)]
        raise NotFoundError(
            f'There is no credential "{name}"; {names.nearest(str(name), known)}',
            next_step="Add one with `postroom credential add`." if not known else None,
        )
    return found


def exists(name: str) -> bool:
    """Say whether there is a credential of that name."""
    return bool(Credential.select().where(Credential.name_key == names.name_key(name)).exists())


# ---------------------------------------------------------------------------- writing


def put(
    name: object,
    kind_name: str,
    values: Mapping[str, Any],
    *,
    expires_at: object = None,
    seal: Callable[[bytes], bytes] = secrets.seal,
) -> list[str]:
    """Make a credential be so; return the names of what changed.

    What is equal already changes nothing. A change makes tokens and errors of before forgotten, and
    mailboxes that were refused are tried at once.

    :param values: as an administrator wrote them, secrets in clear
    :param expires_at: when the secret ends, if that is known: a date (midnight UTC) or an instant
    :raises InputError: with every problem
    :raises SettingsError: the kind is not installed
    """
    kind = load_plugins().credential_kind(kind_name)
    tidy, settings, end = prepare(name, kind, values, expires_at)
    with transaction():
        old = Credential.get_or_none(Credential.name_key == names.name_key(tidy))
        changed = _differences(old, tidy, kind, settings, end)
        if changed:
            _write(old, _columns(tidy, kind, settings, end, seal))
            if old is not None:
                _begin_anew(old, kind)
    token_memory.forget()
    return changed


def prepare(
    name: object, kind: CredentialKind, values: Mapping[str, Any], expires_at: object = None
) -> tuple[str, CredentialSettings, datetime | None]:
    """Check what can be checked without the database; return name, settings and end, tidied.

    :raises InputError: with every problem
    """
    problems: list[Problem] = []
    tidy = ""
    try:
        tidy = names.checked_name(name)
    except ValueError as error:
        problems.append(Problem("name", str(error)))
    end = None
    try:
        end = checked_end(expires_at)
    except ValueError as error:
        problems.append(Problem("expires_at", str(error)))
    try:
        settings = fit(kind.settings(), values, f"The settings for {kind.name}")
    except InputError as error:
        error.problems = (*problems, *error.problems)
        raise
    if problems:
        raise InputError("The credential is not right.", problems)
    return tidy, settings, end


def checked_end(value: object) -> datetime | None:
    """Return when a secret ends, UTC.

    :raises ValueError: that is no date
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = False
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ValueError("must be a date, like 2027-05-01")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:  # the first and the last day that there are, of another zone
        raise ValueError("must be a date, like 2027-05-01") from error


def pretend(name: str) -> None:
    """Let a credential be there, in a transaction that is undone."""
    columns = {"name": name, "kind": "?", "created_at": now(), "changed_at": now()}
    Credential.insert(name_key=names.name_key(name), **columns).on_conflict_ignore().execute()


def _columns(
    name: str,
    kind: CredentialKind,
    settings: CredentialSettings,
    expires_at: datetime | None,
    seal: Callable[[bytes], bytes],
) -> dict[str, Any]:
    return {
        "name": name,
        "name_key": names.name_key(name),
        "kind": kind.name,
        "settings_version": kind.settings_version,
        **stored_columns(settings, seal),
        "set_secrets": sorted(split(settings)[1]),
        "changed_at": now(),
        "expires_at": expires_at,
        "found_expires_at": kind.expires_at(settings),
        "warned_days": None,
        "refused_keys": {},
        **AS_NEW,
    }


def _write(old: Credential | None, columns: Mapping[str, Any]) -> None:
    if old is None:
        Credential.create(created_at=columns["changed_at"], **columns)
    else:
        Credential.update(columns).where(Credential.id == old.id).execute()


def _begin_anew(old: Credential, kind: CredentialKind) -> None:
    """Forget what was fetched; a fetch that is under way loses its lease."""
    CredentialToken.delete().where(CredentialToken.credential == old.id).execute()
    Credential.update(
        generation=Credential.generation + 1,
        lease_owner=None,
        leased_until=None,
        state=old.state if old.kind == kind.name else None,
    ).where(Credential.id == old.id).execute()
    wake_sides(old)


def remove(name: str) -> None:
    """Remove a credential that no mailbox uses.

    :raises InputError: some do; names them
    """
    with transaction():
        credential = find(name)
        users = [_who(side) for side in sides_with(credential)]
        if users:
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            raise InputError(
                f'The credential "{credential.name}" is used by {", ".join(users[:3])}{more}.',
                next_step="Set those mailboxes up without it first.",
            )
        Credential.delete().where(Credential.id == credential.id).execute()
    token_memory.forget()


def _differences(
    old: Credential | None,
    name: str,
    kind: CredentialKind,
    settings: CredentialSettings,
    expires_at: datetime | None,
) -> list[str]:
    """Return the names of what is not yet as it should be."""
    if old is None:
        return ["added"]
    if old.kind != kind.name:
        return ["kind"]
    changed = [
        key
        for key, value in {"name": name, "expires_at": expires_at}.items()
        if getattr(old, key) != value
    ]
    try:
        stored = load(old, kind)
    except SettingsError:  # what is stored is no longer valid: everything is new
        return [*changed, *type(settings).model_fields]
    fields = type(settings).model_fields
    changed += [key for key in fields if getattr(stored, key) != getattr(settings, key)]
    if not changed and old.settings_version != kind.settings_version:
        changed.append("settings_version")
    return changed


# ---------------------------------------------------------------------------- reading


def load(credential: Credential, kind: CredentialKind) -> CredentialSettings:
    """Return the settings, brought up to date and validated.

    :raises SettingsError: the plugin is older, or what is stored does not do
    :raises KeyUnusableError: the secrets cannot be opened
    """
    values = present_values(credential, kind)
    try:
        return fit(kind.settings(), values, f'The settings of the credential "{credential.name}"')
    except InputError as error:
        command = f"postroom credential replace {shlex.quote(credential.name)}"
        raise SettingsError(
            codes.SETTINGS_INVALID,
            error.sentence,
            problems=error.problems,
            next_step=f"Correct them with `{command}`.",
        ) from error


def present_values(credential: Credential, kind: CredentialKind) -> dict[str, Any]:
    """Return what is stored, brought up to date, secrets in clear.

    :raises SettingsError: the plugin is older
    :raises KeyUnusableError: the secrets cannot be opened
    """
    what = f'The credential "{credential.name}" is'
    return up_to_date(stored_values(credential), credential.settings_version, kind, what)


def kind_of(credential: Credential, plugins: Plugins) -> CredentialKind:
    """Return the kind of a credential.

    :raises SettingsError: its plugin is missing
    """
    return plugins.credential_kind(credential.kind)


def listed() -> Iterator[dict[str, Any]]:
    """Yield every credential and how it fares, by name."""
    for credential in Credential.select().order_by(Credential.name_key):
        row = shown(credential)
        row["mailboxes"] = len({user["mailbox"] for user in row["mailboxes"]})
        del row["settings"]
        yield row


def shown(credential: Credential) -> dict[str, Any]:
    """Return everything about a credential, secrets masked; needs neither plugin nor key."""
    instant = now()
    hidden = dict.fromkeys(credential.set_secrets, MASK)
    return {
        "name": credential.name,
        "kind": credential.kind,
        "state": state_of(credential),
        "expires_at": ends_at(credential),
        "expires_in_days": days_left(credential, instant),
        "last_success_at": credential.last_success_at,
        "code": credential.code,
        "sentence": credential.sentence,
        "next_step": credential.next_step,
        "next_try_at": credential.next_try_at,
        "changed_at": credential.changed_at,
        "settings": {**credential.settings, **hidden},
        "mailboxes": [
            {"mailbox": side.mailbox.address, "direction": side.direction}
            for side in sides_with(credential)
        ],
    }


def state_of(credential: Credential) -> str:
    """Return `ok`, `failing`, `attention` or `never`, as the sides of mailboxes have it."""
    if credential.failed_at is not None:
        return "failing" if credential.error_kind == "transient" else "attention"
    return "ok" if credential.last_success_at else "never"


def _who(side: Side) -> str:
    return f"{side.mailbox.address} ({WORDS[side.direction]})"
