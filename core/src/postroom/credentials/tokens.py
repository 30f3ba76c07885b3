"""Access tokens: one fetch at a time for each credential, however many mailboxes wait for it.

A token that was fetched is sealed in the database, so that all runners share it. Who finds none
queues, within its process at a lock, among processes at the credential's lease; whoever has it asks
the issuer with no transaction open. Those who queued share what came of it, the refusal too.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from postroom import clock, names, secrets
from postroom.api import codes
from postroom.api.context import Token
from postroom.api.credential import CredentialContext, CredentialKind
from postroom.api.errors import AuthError, SettingsError, TransientError, TransportError
from postroom.credentials import credentials, token_memory
from postroom.credentials.tls import shared_context
from postroom.credentials.token_turns import REFUSED_EVERY, Turn, claim, row_of
from postroom.errors import NotFoundError
from postroom.plugins import load as load_plugins
from postroom.store.database import connection, insist, now
from postroom.store.fields import to_micros
from postroom.store.models import Credential, CredentialToken

if TYPE_CHECKING:
    import ssl

    from postroom.api.settings import CredentialSettings

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 90.0
"""Less than a session may be still before it counts as hanging."""
MARGIN: Final = timedelta(minutes=5)
"""A token is renewed that long before it ends, or in the last fifth of its life."""
REFUSED_AT_ONCE: Final = 10
"""So many tokens that servers refuse are replaced at once, then one every `REFUSED_EVERY`."""
_ERRORS: Final[dict[str, type[TransportError]]] = {
    "auth": AuthError,
    "settings": SettingsError,
    "transient": TransientError,
}


def token(name: str, purpose: str, mailbox: str, *, rejected: Token | None = None) -> Token:
    """Return a token of a credential.

    :param rejected: the token that a server refused: another is returned, or fetched
    :raises SettingsError: there is no such credential, or nothing of it for this purpose
    :raises AuthError: the issuer refused, now or minutes ago; or servers refuse every token
    :raises TransientError: the issuer could not be reached
    """
    asked = (names.name_key(name), purpose, mailbox)
    memory = token_memory.here()
    if rejected is not None:
        memory.drop(rejected.value)
    known = memory.get(asked)
    if known is not None:
        return known
    with connection():
        return _Search(name, purpose, mailbox, rejected=rejected.value if rejected else None).run()


def new_token(name: str, purpose: str, mailbox: str) -> Token:
    """Fetch a token now, whatever is there and whatever was refused; for checks and sign-ins.
    A pause that the issuer named is kept.

    :raises SettingsError, AuthError, TransientError: as `token`
    """
    with connection():
        return _Search(name, purpose, mailbox, insists=True).run()


class KindContext(CredentialContext):
    """What the core lends to a kind of credential."""

    def __init__(self, credential: Credential) -> None:
        self.name = credential.name
        self.logger = logging.getLogger(f"postroom.credential.{credential.kind}")

    def now(self) -> datetime:
        """Return the time."""
        return clock.now()

    def tls(self, settings: CredentialSettings, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a shared context."""
        return shared_context(settings.ca_file, alpn=alpn)

    def token(self, purpose: str, mailbox: str) -> Token:
        """Fetch a new one by the way of all."""
        return new_token(self.name, purpose, mailbox)


class _Search:
    """One look for a token, up to its fetch."""

    def __init__(
        self,
        name: str,
        purpose: str,
        mailbox: str,
        *,
        rejected: str | None = None,
        insists: bool = False,
    ) -> None:
        self._name, self._purpose, self._mailbox = name, purpose, mailbox
        self._rejected = rejected
        self._insists = insists
        self._began = now()
        self._deadline = time.monotonic() + PATIENCE_SECONDS

    def run(self) -> Token:
        """Return the token."""
        credential = _find(self._name)
        found = self._ready(credential)
        if found is not None:
            return found
        with self._queue(credential.id):
            while True:
                found = self._ready(credential) or self._take_turn(credential)
                if found is not None:
                    return found
                self._wait()
                credential = _find(self._name)

    # ------------------------------------------------------------------------ what is there

    def _ready(self, credential: Credential) -> Token | None:
        """Return a token that is there already.

        :raises TransportError: what others were told, if it is still true
        """
        kind = credentials.kind_of(credential, load_plugins())
        key = kind.token_key(credentials.load(credential, kind), self._purpose, self._mailbox)
        row = row_of(credential, key)
        instant = now()
        if row is not None and self._may_use(row, instant):
            found = _opened(row)
            if found.value != self._rejected:
                self._remember(found, row.refresh_at)
                return found
        _tell_of_key(credential, key, self._began, instant, insists=self._insists)
        _tell_again(credential, self._began, instant, insists=self._insists)
        if row is not None and self._rejected is not None:
            _refuse_if_too_many(row, instant, credential.name)
        return None

    def _may_use(self, row: CredentialToken, instant: datetime) -> bool:
        fresh = row.refresh_at is None or instant < row.refresh_at
        return fresh and (not self._insists or row.fetched_at >= self._began)

    def _remember(self, found: Token, refresh_at: datetime | None) -> None:
        asked = (names.name_key(self._name), self._purpose, self._mailbox)
        token_memory.here().keep(asked, found, refresh_at)

    # ------------------------------------------------------------------------ taking turns

    @contextmanager
    def _queue(self, credential_id: int) -> Iterator[None]:
        """Wait among the threads of this process."""
        turn = token_memory.here().turn(credential_id)
        if not turn.acquire(timeout=PATIENCE_SECONDS):
            raise self._took_too_long()
        try:
            yield
        finally:
            turn.release()

    def _wait(self) -> None:
        if time.monotonic() >= self._deadline:
            raise self._took_too_long()
        threading.Event().wait(0.1)

    def _took_too_long(self) -> TransientError:
        return TransientError(
            codes.TIMEOUT, f'Another fetch of a token for "{self._name}" does not come to an end.'
        )

    def _take_turn(self, credential: Credential) -> Token | None:
        """Fetch, if nobody else does; None: look again."""
        turn = claim(credential)
        if turn is None:
            return None
        try:
            return self._fetch(turn)
        finally:
            insist(turn.release)  # else nobody may fetch until the lease ends

    # ------------------------------------------------------------------------ fetching

    def _fetch(self, turn: Turn) -> Token | None:
        credential = turn.credential
        found = self._ready(credential)  # what came between the look and the claim
        if found is not None:
            return found
        kind = credentials.kind_of(credential, load_plugins())
        settings = credentials.load(credential, kind)
        key = kind.token_key(settings, self._purpose, self._mailbox)
        try:
            fetched, state = self._ask(kind, settings, credential)
        except TransportError as error:
            turn.note_failure(key, error)
            still_good = self._still_good(credential, key)
            if still_good is not None and isinstance(error, TransientError):
                logger.warning("%s %s", credential.name, error.sentence)
                return still_good
            raise
        refresh_at = _refresh_at(fetched.expires_at, clock.now())

        def note() -> bool:
            replaces = bool(self._rejected)
            return turn.note_success(key, fetched, state, refresh_at, replaces_refused=replaces)

        if not insist(note):  # an issuer may take the next state, and this one no more
            return None
        self._remember(fetched, refresh_at)
        return fetched

    def _ask(
        self, kind: CredentialKind, settings: Any, credential: Credential
    ) -> tuple[Token, str | None]:
        """Ask the issuer; what the contract does not know becomes a passing trouble."""
        state = secrets.unseal(credential.state).decode() if credential.state else None
        context = KindContext(credential)
        try:
            return kind.fetch(settings, self._purpose, state, context, mailbox=self._mailbox)
        except TransportError:
            raise
        except Exception as error:
            raise bug(kind, error) from None

    def _still_good(self, credential: Credential, key: str) -> Token | None:
        """Return a token that ends soon, but not yet."""
        row = row_of(credential, key)
        if row is None or self._insists or (row.expires_at and row.expires_at <= now()):
            return None
        found = _opened(row)
        return found if found.value != self._rejected else None


def bug(kind: CredentialKind, error: Exception) -> TransientError:
    """Log where a kind failed, and return what to raise. The exception's own words stay out: a
    library may have put a secret into them."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("The kind of credential %s failed: %s\n%s", kind.name, type(error).__name__, where)
    sentence = f"The plugin of the credential {kind.name} failed: {type(error).__name__}."
    return TransientError(codes.PLUGIN_BUG, sentence)


def _find(name: str) -> Credential:
    try:
        return credentials.find(name)
    except NotFoundError as error:
        raise SettingsError(codes.CREDENTIAL_UNKNOWN, error.sentence) from None


def _opened(row: CredentialToken) -> Token:
    return Token(secrets.unseal(row.sealed).decode(), row.expires_at)


def _refresh_at(expires_at: datetime | None, instant: datetime) -> datetime | None:
    if expires_at is None:
        return None
    return expires_at - min(MARGIN, (expires_at - instant) / 5)


# ---------------------------------------------------------------------------- refusals


def _tell_again(
    credential: Credential, began: datetime, instant: datetime, *, insists: bool
) -> None:
    """Raise what is known to be wrong: what came of the fetch that the caller waited for, and
    what is not to be tried again yet."""
    if credential.failed_at is None:
        return
    paused = credential.next_try_at is not None and instant < credential.next_try_at
    is_issuers = credential.error_kind == "transient"
    if credential.failed_at < began and not (paused and (is_issuers or not insists)):
        return
    kind = _ERRORS.get(credential.error_kind or "", TransientError)
    code = codes.CATALOGUE.get(credential.code or "", codes.AUTH_REFUSED)
    error = kind(code, credential.sentence or "", next_step=credential.next_step)
    if isinstance(error, TransientError) and paused:
        error.retry_after = (credential.next_try_at - instant).total_seconds()
    raise error


def _tell_of_key(
    credential: Credential, key: str, began: datetime, instant: datetime, *, insists: bool
) -> None:
    """Do the same for a token that is refused while others of the credential are not."""
    known = credential.refused_keys.get(key)
    if known is None:
        return
    is_paused = to_micros(instant) < known["until"]
    if known["at"] < to_micros(began) and (insists or not is_paused):
        return
    code = codes.CATALOGUE.get(known["code"], codes.AUTH_REFUSED)
    raise AuthError(code, known["sentence"], next_step=known["next_step"])


def _refuse_if_too_many(row: CredentialToken, instant: datetime, name: str) -> None:
    """Bound how often refused tokens are replaced: 200 mailboxes without a right would each want
    a new one."""
    ahead = (row.refused_until or instant) - instant
    if ahead > REFUSED_EVERY * (REFUSED_AT_ONCE - 1):
        raise AuthError(
            codes.TOKEN_REFUSED,
            f'The server refuses the tokens of "{name}", also those issued just now.',
            next_step=codes.TOKEN_REFUSED.next_step.replace("NAME", name),
        )
