"""Trying a credential out, and signing in for it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from postroom import secrets
from postroom.api.credential import CredentialKind, SignIn
from postroom.api.errors import TransportError
from postroom.api.transport import CheckStep
from postroom.credentials import credential_expiry, credentials, token_memory
from postroom.credentials.credential_users import sides_with, wake_sides
from postroom.credentials.tokens import KindContext, bug
from postroom.errors import InputError, PostroomError
from postroom.leases.leases import NoLease
from postroom.plugins import Plugins
from postroom.runner.crew import HangsError
from postroom.runner.foreground import attend
from postroom.store.database import now, transaction
from postroom.store.models import Credential, CredentialToken

if TYPE_CHECKING:
    from postroom.api.settings import CredentialSettings


def check(
    credential: Credential,
    plugins: Plugins,
    *,
    purposes: Sequence[str] = (),
    mailbox: str | None = None,
) -> Iterator[CheckStep]:
    """Yield a step for each thing that is tried; new tokens are fetched, and kept for all.

    If the issuer agrees again, mailboxes that were refused are tried at once.

    :param purposes: by default what the mailboxes that use it need
    :param mailbox: an address to ask for; by default one of those
    """
    yield _end_step(credential)
    kind: CredentialKind | None = None
    try:
        kind = credentials.kind_of(credential, plugins)
        settings = credentials.load(credential, kind)
        needed, user = _needs(credential, kind, plugins)
        wanted = [*purposes] or needed or [*kind.usual_purposes(settings)]
        yield from _tried(kind, settings, credential, wanted, mailbox or user)
    except HangsError as error:
        yield CheckStep("plugin", "fail", error.sentence, error.next_step)
    except (TransportError, PostroomError) as error:
        yield CheckStep("settings", "fail", error.sentence, error.next_step)
    except Exception as error:
        assert kind is not None  # noqa: S101 - only its calls raise anything else
        yield CheckStep("plugin", "fail", bug(kind, error).sentence, "Report it to its author.")


def _tried(
    kind: CredentialKind,
    settings: CredentialSettings,
    credential: Credential,
    purposes: Sequence[str],
    mailbox: str,
) -> Iterator[CheckStep]:
    """Yield the kind's own steps; it is watched, but has nothing that could be interrupted."""
    look = NoLease(0)
    look.pulse.who = f"The plugin of the credential {kind.name}"
    look.pulse.adapt(settings)
    steps: list[CheckStep] = []

    def check() -> Iterator[CheckStep]:
        return kind.check(settings, KindContext(credential), purposes=purposes, mailbox=mailbox)

    try:
        attend(look, lambda: steps.extend(look.pulse.each("check", check)))
    finally:
        yield from [*steps]


def _end_step(credential: Credential) -> CheckStep:
    end, instant = credential_expiry.ends_at(credential), now()
    if end is None:
        return CheckStep("expiry", "skip", "Nobody said when the secret ends.")
    if not credential_expiry.is_ending(credential, instant):
        return CheckStep("expiry", "ok", f"The secret holds until {end:%Y-%m-%d}.")
    told = credential_expiry.described(credential, instant)
    outcome = "fail" if end - instant <= timedelta() else "warn"
    return CheckStep("expiry", outcome, told["sentence"], told["next_step"])  # type: ignore[arg-type]


def _needs(credential: Credential, kind: CredentialKind, plugins: Plugins) -> tuple[list[str], str]:
    """Return what the mailboxes that use it need tokens for, and the address of one."""
    purposes: dict[str, None] = {}
    address = ""
    for side in sides_with(credential):
        transport = plugins.transports.get(side.transport)
        purpose = (transport.purpose if transport else "") or side.transport
        if purpose in kind.purposes:
            purposes[purpose] = None
            address = address or side.mailbox.address
    return [*purposes], address


# ---------------------------------------------------------------------------- signing in


def begin_sign_in(credential: Credential, plugins: Plugins) -> SignIn:
    """Return what a person has to do.

    :raises InputError: nobody signs in for this credential
    :raises AuthError, SettingsError, TransientError: the issuer refuses, or cannot be reached
    """
    kind = credentials.kind_of(credential, plugins)
    settings = credentials.load(credential, kind)
    if not kind.can_sign_in(settings):
        raise InputError(
            f'Nobody has to sign in for the credential "{credential.name}".',
            next_step=f"Try it with `postroom credential check {shlex.quote(credential.name)}`.",
        )
    return kind.begin_sign_in(settings, KindContext(credential))


def finish_sign_in(
    credential: Credential,
    sign_in: SignIn,
    plugins: Plugins,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until the person has signed in, and seal what came of it.

    :param stopped: asked about once a second; True ends the wait
    :raises AuthError, SettingsError, TransientError: it came to nothing
    """
    kind = credentials.kind_of(credential, plugins)
    settings = credentials.load(credential, kind)
    # What an earlier sign-in left is replaced, not added to: it may be another account's.
    state = kind.finish_sign_in(settings, sign_in, None, KindContext(credential), stopped)
    with transaction():
        Credential.update(
            state=secrets.seal(state.encode()),
            generation=Credential.generation + 1,  # a fetch under way would write the old one back
            lease_owner=None,
            leased_until=None,
            refused_keys={},
            **credentials.AS_NEW,
        ).where(Credential.id == credential.id).execute()
        CredentialToken.delete().where(CredentialToken.credential == credential.id).execute()
        wake_sides(credential)
    token_memory.forget()
