"""Logging in (RFC 4954). What is sent here appears in no log and no error."""

from __future__ import annotations

import base64
import hmac
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from postroom.api import AuthError, Context, Token, TransportError, codes
from postroom.api.sasl import TokenLogin, choose, without_secrets

from postroom_smtp.errors import busy, unexpected
from postroom_smtp.reply import Reply, printable
from postroom_smtp.wire import Wire

if TYPE_CHECKING:
    from postroom_smtp.settings import SmtpSettings

AT: Final = "the log-in"
PURPOSE: Final = "smtp"
"""Of `Context.token`."""
MAX_COMMAND: Final = 510
"""Bytes without line end, RFC 5321 section 4.5.3.1.4; the answer to a challenge may be longer."""
_ON_VERIFIED_TLS: Final = ("PLAIN", "LOGIN", "CRAM-MD5")
_IN_THE_OPEN: Final = ("CRAM-MD5", "PLAIN", "LOGIN")
_NOT_THIS_WAY: Final = frozenset({500, 502, 504, 534})
"""Answers that are about the mechanism; after any other, no password is tried twice."""
_NOT_ALLOWED: Final = frozenset({"5.7.13", "5.7.139"})
"""Account disabled (RFC 5248); Exchange Online: SMTP AUTH is switched off."""


class Login:
    """One log-in on a connection that has said EHLO."""

    def __init__(self, wire: Wire, settings: SmtpSettings, context: Context) -> None:
        self._wire = wire
        self._settings = settings
        self._context = context
        self._sent: list[str] = []
        """What must not come back to us in the server's words."""
        self._reason = ""
        """Why a token was refused, where the server told."""

    def run(self, offered: str) -> str:
        """Log in by the best mechanism that is offered; return its name.

        :param offered: the arguments of EHLO's AUTH line
        :raises AuthError: refused, or no mechanism fits
        :raises TransientError: the server cannot say now
        """
        names = offered.upper().split()
        if self._settings.credential is not None:
            return self._run_with_token(names)
        mechanisms = [name for name in self._preference() if name in names]
        for position, name in enumerate(mechanisms, start=1):
            reply = self._mechanisms()[name]()
            if reply.is_positive:
                return name
            if reply.code not in _NOT_THIS_WAY or position == len(mechanisms):
                raise self._refusal(reply)
        raise self._none_fits(names, "PLAIN, LOGIN or CRAM-MD5")

    def _preference(self) -> tuple[str, ...]:
        """CRAM-MD5 first where others may listen; else last, for many servers that offer it
        keep no password it could be checked with."""
        is_safe = self._wire.tls is not None and self._settings.verify_tls
        return _ON_VERIFIED_TLS if is_safe else _IN_THE_OPEN

    def _mechanisms(self) -> dict[str, Callable[[], Reply]]:
        return {"PLAIN": self._plain, "LOGIN": self._login, "CRAM-MD5": self._cram_md5}

    def _plain(self) -> Reply:
        """RFC 4616, in UTF-8, with an initial response."""
        secret = b"\0".join([b"", self._username(), self._password()])
        return self._begin("PLAIN", _base64(secret))

    def _login(self) -> Reply:
        """No RFC; draft-murchison-sasl-login: the server asks twice, the wording varies."""
        reply = self._say("AUTH LOGIN")
        if reply.code == 334:
            reply = self._say(_base64(self._username()))
        if reply.code == 334:
            reply = self._say(_base64(self._password()))
        return reply

    def _cram_md5(self) -> Reply:
        """RFC 2195: the password itself is not sent."""
        reply = self._say("AUTH CRAM-MD5")
        if reply.code != 334:
            return reply
        try:
            challenge = base64.b64decode(reply.lines[0], validate=True)
        except ValueError:
            raise unexpected(self._wire.where, AT, reply) from None
        digest = hmac.new(self._password(), challenge, "md5").hexdigest()
        return self._say(_base64(self._username() + b" " + digest.encode()))

    def _run_with_token(self, names: list[str]) -> str:
        """Log in with a token; one that is refused is replaced once."""
        mechanism = choose(names)
        if mechanism is None:
            raise self._none_fits(names, "XOAUTH2 or OAUTHBEARER")
        token = self._context.token(PURPOSE)
        reply = self._with(token, mechanism)
        if reply.code == 535:
            reply = self._with(self._context.token(PURPOSE, rejected=token), mechanism)
        if not reply.is_positive:
            raise self._refusal(reply)
        return mechanism

    def _with(self, token: Token, mechanism: str) -> Reply:
        """Try a token. A refusal may come with a challenge, which tells why and wants an answer."""
        host, port = self._settings.host, self._settings.effective_port
        login = TokenLogin(mechanism, self._account(), token.value, host=host, port=port)
        self._sent += login.secrets
        login.answer(b"")
        reply = self._begin(mechanism, _base64(login.initial_response))
        if reply.code == 334:
            reply = self._say(login.answer_line(reply.lines[0].encode()).decode())
        self._reason = login.reason()
        return reply

    def _begin(self, mechanism: str, response: str) -> Reply:
        """Send the initial response at once where the line may be so long, RFC 4954 section 4."""
        command = f"AUTH {mechanism} {response}"
        if len(command) <= MAX_COMMAND:
            self._sent.append(response)
            return self._wire.exchange(command, at=AT)
        reply = self._say(f"AUTH {mechanism}")
        return self._say(response) if reply.code == 334 else reply

    def _say(self, line: str) -> Reply:
        if not line.startswith("AUTH "):
            self._sent.append(line)
        return self._wire.exchange(line, at=AT)

    def _username(self) -> bytes:
        return (self._settings.username or "").encode()

    def _password(self) -> bytes:
        password = self._settings.password
        value = password.get_secret_value() if password else ""
        self._sent.append(value)
        return value.encode()

    def _refusal(self, reply: Reply) -> TransportError:
        """Judge an answer that is no success, RFC 4954 section 6."""
        where = self._wire.where
        reply = self._without_secrets(reply)
        if reply.code == 432:  # 4.7.12: a password transition is needed, which a person must do
            return AuthError(codes.AUTH_EXPIRED, f"{where} wants a new password: {reply.words}")
        if reply.is_transient:
            return busy(where, AT, reply)
        if not reply.is_permanent:
            return unexpected(where, AT, reply)
        who = f"{where} refused the log-in of {printable(self._account())}: {reply.words}"
        who += self._reason
        if reply.enhanced in _NOT_ALLOWED:
            return AuthError(codes.AUTH_NOT_ALLOWED, who)
        if reply.code in (504, 530, 538) or reply.enhanced == "5.7.11":
            return AuthError(codes.AUTH_UNSUPPORTED, who)
        return AuthError(codes.AUTH_REFUSED, who, next_step=self._about_a_token())

    def _about_a_token(self) -> str | None:
        name = self._settings.credential
        if name is None:
            return None
        return (
            f"Run `postroom credential check {shlex.quote(name)}`; the application, or the account "
            f"that signed in, may lack the right to send as {printable(self._account())}."
        )

    def _without_secrets(self, reply: Reply) -> Reply:
        """Drop the server's text where it says back what we said."""
        said = "\n".join(reply.lines)
        if any(secret and secret in said for secret in self._sent) or (
            self._settings.credential is not None and without_secrets(said, *self._sent) != said
        ):
            return Reply(reply.code, (reply.enhanced,))
        return reply

    def _none_fits(self, names: list[str], wanted: str) -> AuthError:
        offer = printable(" ".join(names))[:100] or "nothing"
        sentence = f"{self._wire.where} offers no way to log in by {wanted}; it offers {offer}."
        return AuthError(codes.AUTH_UNSUPPORTED, sentence)

    def _account(self) -> str:
        return self._settings.username or self._context.mailbox


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
