"""The right to fetch a token, one holder at a time for each credential; and what came of it.

It is a lease: whoever lost it, because the settings were changed say, writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from postroom import secrets
from postroom.api.context import Token
from postroom.api.errors import AuthError, SettingsError, TransientError, TransportError
from postroom.credentials import credentials
from postroom.credentials.credential_users import wake_sides
from postroom.leases.owners import is_dead, new_owner
from postroom.store.database import now, transaction
from postroom.store.fields import to_micros
from postroom.store.models import Credential, CredentialToken

LEASE: Final = timedelta(minutes=2)
AUTH_PAUSE: Final = timedelta(minutes=5)
"""After a refusal the issuer is asked that seldom, for all mailboxes together."""
REFUSED_EVERY: Final = timedelta(seconds=10)
"""By so much a token's `refused_until` runs ahead each time that a server refused it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to fetch, and the credential as it is now."""

    credential: Credential
    generation: int

    def release(self) -> None:
        """Give it back."""
        Credential.update(lease_owner=None, leased_until=None).where(self._mine()).execute()

    def note_failure(self, key: str, error: TransportError) -> None:
        """Keep what everybody is told now: all who use the credential, or want this token."""
        instant = now()
        if isinstance(error, AuthError) and error.only_this_token:
            self._note_refused_key(key, error, instant)
            return
        kind, next_try_at = "transient", None
        if isinstance(error, AuthError):
            kind, next_try_at = "auth", instant + AUTH_PAUSE
        elif isinstance(error, SettingsError):
            kind = "settings"
        elif isinstance(error, TransientError) and error.retry_after:
            next_try_at = instant + timedelta(seconds=error.retry_after)
        Credential.update(
            failed_at=instant,
            next_try_at=next_try_at,
            error_kind=kind,
            code=error.code.name,
            sentence=error.sentence,
            next_step=error.next_step,
        ).where(self._mine()).execute()

    def _note_refused_key(self, key: str, error: AuthError, instant: datetime) -> None:
        refused = _refused_but(self.credential, key, instant)
        refused[key] = {
            "at": to_micros(instant),
            "until": to_micros(instant + AUTH_PAUSE),
            "code": error.code.name,
            "sentence": error.sentence,
            "next_step": error.next_step,
        }
        Credential.update(refused_keys=refused).where(self._mine()).execute()

    def note_success(
        self,
        key: str,
        fetched: Token,
        state: str | None,
        refresh_at: datetime | None,
        *,
        replaces_refused: bool,
    ) -> bool:
        """Seal state and token; False if the lease was lost, and nothing was written."""
        credential, instant = self.credential, now()
        sealed_state = secrets.seal(state.encode()) if state is not None else None
        sealed = secrets.seal(fetched.value.encode())
        with transaction():
            held = (
                Credential.update(
                    state=sealed_state,
                    last_success_at=instant,
                    refused_keys=_refused_but(credential, key, instant),
                    **credentials.AS_NEW,
                )
                .where(self._mine())
                .execute()
            )
            if not held:
                return False
            renewal = {
                "sealed": sealed,
                "fetched_at": instant,
                "refresh_at": refresh_at,
                "expires_at": fetched.expires_at,
            }
            _put_token(credential, key, renewal, instant if replaces_refused else None)
            _sweep(credential, instant)
            if credential.error_kind in ("auth", "settings") or key in credential.refused_keys:
                wake_sides(credential)
        return True

    def _mine(self) -> Any:
        return (Credential.id == self.credential.id) & (Credential.generation == self.generation)


def claim(credential: Credential) -> Turn | None:
    """Take the right to fetch, if it is free; by the generation, so that one wins."""
    seen = Credential.get_or_none(Credential.id == credential.id)
    if seen is None:
        return None
    instant = now()
    busy = seen.leased_until is not None and seen.leased_until > instant
    if busy and not is_dead(seen.lease_owner or ""):
        return None
    with transaction():
        taken = (
            Credential.update(
                generation=seen.generation + 1,
                lease_owner=new_owner(),
                leased_until=instant + LEASE,
            )
            .where((Credential.id == seen.id) & (Credential.generation == seen.generation))
            .execute()
        )
    if not taken:
        return None
    return Turn(Credential.get_by_id(seen.id), seen.generation + 1)


def row_of(credential: Credential, key: str) -> CredentialToken | None:
    """Return the token that is kept under a key."""
    row: CredentialToken | None = CredentialToken.get_or_none(
        (CredentialToken.credential == credential.id) & (CredentialToken.key == key)
    )
    return row


def _refused_but(credential: Credential, key: str, instant: datetime) -> dict[str, Any]:
    """Return what else is refused, less what is over."""
    limit = to_micros(instant)
    return {
        one: told
        for one, told in credential.refused_keys.items()
        if one != key and told["until"] > limit
    }


def _put_token(
    credential: Credential, key: str, renewal: dict[str, Any], refused_at: datetime | None
) -> None:
    """Write a token over the one that is there.

    :param refused_at: when that was refused by a server: how often that may be is bounded
    """
    row = row_of(credential, key)
    if row is None:
        CredentialToken.create(credential=credential.id, key=key, **renewal)
        return
    if refused_at is not None:
        renewal["refused_until"] = max(row.refused_until or refused_at, refused_at) + REFUSED_EVERY
    CredentialToken.update(renewal).where(CredentialToken.id == row.id).execute()


def _sweep(credential: Credential, instant: datetime) -> None:
    """Delete what nobody renewed for a day: tokens of mailboxes that are no more."""
    CredentialToken.delete().where(
        (CredentialToken.credential == credential.id)
        & (CredentialToken.expires_at < instant - timedelta(days=1))
    ).execute()
