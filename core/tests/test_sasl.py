"""Logging in with a token: what is said, and what the server's reasons become."""

from __future__ import annotations

import base64

import pytest
from postroom.api.sasl import TokenLogin, choose, without_secrets


def login(mechanism: str, account: str = "info@example.org") -> TokenLogin:
    return TokenLogin(mechanism, account, "ya29.token", host="imap.example.org", port=993)


def test_the_first_word_is_microsofts_and_googles() -> None:
    """The example of Google's page "OAuth 2.0 Mechanism", with another name and token."""
    assert login("XOAUTH2").answer(b"") == b"user=info@example.org\1auth=Bearer ya29.token\1\1"


def test_the_first_word_is_that_of_rfc_7628() -> None:
    said = login("OAUTHBEARER", "a=b,c@x.org").answer(b"")

    assert said == (
        b"n,a=a=3Db=2Cc@x.org,\1host=imap.example.org\1port=993\1auth=Bearer ya29.token\1\1"
    )


@pytest.mark.parametrize(("mechanism", "last"), [("XOAUTH2", b""), ("OAUTHBEARER", b"\1")])
def test_reasons_are_noted_and_the_exchange_ended(mechanism: str, last: bytes) -> None:
    """The challenge that Google's page gives."""
    one = login(mechanism)
    one.answer(b"")

    challenge = b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}'

    assert one.answer(challenge) == last
    assert one.reason() == (
        " (it says: status 401, scope https://mail.google.com/, schemes bearer mac)"
    )


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        (b"", ""),
        (b"nothing of JSON\r\n\0", " (it says: nothing of JSON)"),
        (b"[1]", " (it says: [1])"),
        (b"\xff", " (it says: \N{REPLACEMENT CHARACTER})"),
        (b"x" * 5000, f" (it says: {'x' * 200})"),
        (b'{"scope":"ya29.token"}', " (it says: scope ***)"),
    ],
)
def test_odd_reasons_do_no_harm(challenge: bytes, said: str) -> None:
    one = login("XOAUTH2")
    one.answer(b"")
    one.answer(challenge)

    assert one.reason() == said


def test_lines_are_in_base64_also_where_the_servers_are_not() -> None:
    one = login("XOAUTH2")

    assert base64.b64decode(one.answer_line(b" ")).startswith(b"user=")
    assert one.answer_line(b"no base64 \xff") == b""


def test_xoauth2_comes_first() -> None:
    assert choose(["PLAIN", "OAUTHBEARER", "XOAUTH2"]) == "XOAUTH2"
    assert choose(["PLAIN", "OAUTHBEARER"]) == "OAUTHBEARER"
    assert choose(["PLAIN"]) is None


def test_words_end_where_a_secret_begins() -> None:
    assert without_secrets("you said abcdefghijklmnopqr", "abcdefghijklmnopqrstuvw") == (
        "you said ***"
    )
