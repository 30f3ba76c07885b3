"""The self-test: one line for each step, and no mail."""

from __future__ import annotations

import pytest

ACCOUNT = {"username": "info", "password": "secret"}


def outcomes(sender):
    return {step.name: step.outcome for step in sender.check()}


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_all_is_well(start_smtp, open_sender, authority, security):
    server = start_smtp(security=security, users={"info": "secret"})
    sender = open_sender(server, ca_file=str(authority.ca_file), **ACCOUNT)

    assert outcomes(sender) == dict.fromkeys(["resolve", "connect", "tls", "log in", "send"], "ok")
    assert not server.received
    assert not any(command.startswith("RCPT") for command in server.commands)


def test_clear_text_is_warned_of_and_a_missing_account_skipped(smtp_server, open_sender):
    assert outcomes(open_sender(smtp_server)) == {
        "resolve": "ok",
        "connect": "ok",
        "tls": "warn",
        "log in": "skip",
        "send": "ok",
    }


def test_unchecked_certificate_is_warned_of(start_smtp, open_sender):
    server = start_smtp(security="tls")

    assert outcomes(open_sender(server, verify_tls=False))["tls"] == "warn"


@pytest.mark.parametrize(
    ("failing", "script"),
    [("connect", "GREETING"), ("tls", "EHLO"), ("log in", "AUTH"), ("send", "MAIL")],
)
def test_failing_step_is_told_and_the_rest_skipped(start_smtp, open_sender, failing, script):
    server = start_smtp(users={"info": "secret"})
    server.answer(script, "550 5.7.1 no")

    steps = list(open_sender(server, **ACCOUNT).check())

    names = [step.name for step in steps]
    assert names == ["resolve", "connect", "tls", "log in", "send"]
    position = names.index(failing)
    assert steps[position].outcome == "fail"
    assert "550 5.7.1 no" in steps[position].detail
    assert steps[position].next_step
    assert all(step.outcome == "skip" for step in steps[position + 1 :])


def test_unknown_host_fails_at_its_step(open_sender):
    sender = open_sender(None, host="nowhere.invalid")

    assert next(iter(sender.check())).outcome == "fail"


def test_sender_works_after_its_check(smtp_server, open_sender, letter):
    sender = open_sender(smtp_server)
    sender.send(letter(), None)

    list(sender.check())
    sender.send(letter(), None)

    assert len(smtp_server.received) == 2
