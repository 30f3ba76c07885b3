"""Logging in with the tokens of a credential, at a real Dovecot and at servers that speak as
Microsoft's and Google's do."""

from __future__ import annotations

import base64
import logging
import traceback

import pytest
from postroom.api import AuthError, Token, TransientError, codes
from postroom_pop_imap import login

CHALLENGE = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"mail"}')
WRONG = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.wrong-token-value"


@pytest.fixture(params=["imap", "pop"])
def protocol(request):
    return request.param


@pytest.fixture
def open_it(protocol, open_imap, open_pop):
    """Open a receiver that logs in with tokens."""
    opener = open_imap if protocol == "imap" else open_pop

    def open_one(account=None, **values):
        return opener(account, **{"password": None, "credential": "contoso", **values})

    return open_one


@pytest.fixture(params=["XOAUTH2", "OAUTHBEARER"])
def mechanism(request, monkeypatch):
    """Let the other mechanism not be known, on our side."""
    module_choose = lambda offered: request.param if request.param in offered else None  # noqa: E731
    monkeypatch.setattr(login, "choose", module_choose)
    return request.param


@pytest.fixture
def lend(context):
    """Lend these tokens, one after the other; tell what was rejected."""

    def start(*values):
        left = list(values)
        asked = []

        def token(purpose, *, rejected=None):
            asked.append((purpose, rejected and rejected.value))
            return Token(left.pop(0))

        context.token = token
        return asked

    return start


def refusal(receiver):
    with pytest.raises((AuthError, TransientError)) as caught:
        list(receiver.list_refs())
    return caught.value


# ---------------------------------------------------------------------------- Dovecot


@pytest.mark.usefixtures("mechanism")
def test_a_token_logs_in(token_dovecot, microsoft_login, open_it, lend, protocol):
    account = token_dovecot.new_user()
    account.append(b"Subject: hello\n\nhello\n")
    asked = lend(microsoft_login.token_for(account.name))

    assert len(list(open_it(account).list_refs())) == 1
    assert asked == [(protocol, None)]


def test_the_mailboxes_address_is_the_name_by_default(
    token_dovecot, microsoft_login, open_it, lend, context, protocol
):
    context.mailbox = f"{protocol}@example.org"
    account = token_dovecot.new_user(context.mailbox)
    lend(microsoft_login.token_for(context.mailbox))

    assert list(open_it(account, username=None).list_refs()) == []


@pytest.mark.usefixtures("mechanism")
def test_a_refused_token_is_replaced_once(token_dovecot, microsoft_login, open_it, lend, protocol):
    account = token_dovecot.new_user()
    old = microsoft_login.token_for(account.name)
    microsoft_login.revoke_tokens()
    asked = lend(old, microsoft_login.token_for(account.name))

    assert list(open_it(account).list_refs()) == []
    assert asked == [(protocol, None), (protocol, old)]


@pytest.mark.usefixtures("mechanism")
def test_the_servers_reasons_are_told(token_dovecot, open_it, lend):
    asked = lend(WRONG, WRONG + "2")

    account = token_dovecot.new_user()
    error = refusal(open_it(account))

    assert error.code is codes.AUTH_REFUSED
    assert (
        "(it says: status " in error.sentence
        and f"refused the token for {account.name}" in error.sentence
    )
    assert "postroom credential check contoso" in error.next_step
    assert len(asked) == 2


def test_a_token_of_somebody_else_is_refused(token_dovecot, microsoft_login, open_it, lend):
    somebody = microsoft_login.token_for("somebody")
    lend(somebody, somebody)

    assert refusal(open_it(token_dovecot.new_user())).code is codes.AUTH_REFUSED


def test_a_server_without_tokens_is_told(dovecot, open_it, lend):
    lend("token")

    error = refusal(open_it(dovecot.new_user()))

    assert error.code is codes.AUTH_UNSUPPORTED
    assert "PLAIN" in error.sentence and "password" in error.next_step


def test_the_check_goes_on_with_a_token(token_dovecot, microsoft_login, open_it, lend):
    account = token_dovecot.new_user()
    lend(WRONG, microsoft_login.token_for(account.name))

    steps = {step.name: step.outcome for step in open_it(account).check()}

    assert steps["log in"] == "ok" and "fail" not in steps.values()


# ---------------------------------------------------------------------------- as others speak


class Exchange:
    """Answers log-ins in two lines, as a table for a scripted server; remembers what it heard."""

    def __init__(self, *, challenge=b"", last=b"NO AUTHENTICATE failed."):
        self.heard = []
        self._challenge, self._last = challenge, last
        self._tag = b""

    def imap(self, **more):
        offered = b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 UIDPLUS\r\nTAG OK x\r\n"
        return {
            "CAPABILITY": offered,
            "AUTHENTICATE": self._begin,
            "dXNlcj": self._token,
            r"\r\n": self._end,
            **more,
        }

    def pop(self):
        return {
            "CAPA": b"+OK\r\nTOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n",
            "AUTH XOAUTH2": self._begin,
            "dXNlcj": self._token,
            r"\r\n": self._end,
        }

    def _begin(self, command):
        self.heard.append(command)
        return b"+ \r\n"

    def _token(self, command):
        self.heard.append(command)
        return b"+ " + self._challenge + b"\r\n" if self._challenge else self._end(command)

    def _end(self, command):
        self.heard.append(command)
        return self._last + b"\r\n"


def test_pop_has_the_form_of_two_lines(start_pop, open_pop, lend):
    server = Exchange(last=b"+OK User successfully authenticated.")
    lend("token")

    refs = open_pop(
        port=start_pop(server.pop()).port, password=None, username=None, credential="contoso"
    ).list_refs()

    assert len(list(refs)) == 2
    assert server.heard[0] == b"AUTH XOAUTH2\r\n"
    said = base64.b64decode(server.heard[1])
    assert said == b"user=support@example.org\1auth=Bearer token\1\1"


def test_exchanges_words_are_no_password_for_pop(start_pop, open_pop, lend):
    last = b"-ERR Authentication failure: unknown user name or bad password."
    server = Exchange(challenge=CHALLENGE, last=last)
    asked = lend("first token", "second token")

    error = refusal(
        open_pop(port=start_pop(server.pop()).port, password=None, credential="contoso")
    )

    assert error.code is codes.AUTH_REFUSED
    assert "(it says: status 401, scope mail, schemes bearer)" in error.sentence
    assert "credential check contoso" in error.next_step
    assert len(asked) == 2


def test_authenticated_but_not_connected_is_explained(start_imap, open_imap, lend):
    server = start_imap(
        {
            "CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\nTAG OK x\r\n",
            "AUTHENTICATE": b"TAG OK AUTHENTICATE completed.\r\n",
            "EXAMINE|SELECT": b"TAG BAD User is authenticated but not connected.\r\n",
            "LIST": b"TAG BAD User is authenticated but not connected.\r\n",
        }
    )
    asked = lend("token")

    error = refusal(open_imap(port=server.port, password=None, credential="contoso"))

    assert error.code is codes.AUTH_NOT_ALLOWED
    assert "authenticated but not connected" in error.sentence
    assert "New-ServicePrincipal" in error.next_step
    assert len(asked) == 1


def test_an_issuer_that_refuses_is_told_as_it_is(start_pop, open_it, context, protocol):
    refused = AuthError(codes.AUTH_EXPIRED, "The client secret has expired.")

    def token(purpose, *, rejected=None):
        raise refused

    context.token = token

    assert refusal(open_it(port=1)) is refused


def test_no_token_gets_out(start_imap, start_pop, protocol, open_it, lend, caplog):
    """A server that repeats what it heard, cut somewhere."""
    caplog.set_level(logging.DEBUG)
    said = base64.b64encode(f"user=jane\1auth=Bearer {WRONG}\1\1".encode())
    for echo in (WRONG.encode(), said, WRONG[:30].encode(), said[:30]):
        if protocol == "imap":
            answer = {
                "CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\nTAG OK x\r\n",
                "AUTHENTICATE": b"TAG NO you said " + echo + b"\r\n",
            }
            server = start_imap(answer)
        else:
            server = start_pop(Exchange(last=b"-ERR you said " + echo).pop())
        lend(WRONG, WRONG)
        receiver = open_it(port=server.port)

        error = refusal(receiver)

        told = "".join(traceback.format_exception(error)) + repr(receiver) + caplog.text
        assert "you said ***" in error.sentence
        assert WRONG[:20] not in told + repr(vars(error))
        assert said[:20].decode() not in told + repr(vars(error))
