"""Cases for both kinds: log-in, time, interruption, closing, what is said of errors."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import pytest

from postroom.api import AuthError, CheckStep, SendResult, TransientError, TransportError
from postroom.testing.expectations import (
    attempt,
    everything_said,
    expect,
    expect_error,
    expect_no_secret,
    expect_nowhere,
    within,
)
from postroom.testing.leftovers import at_rest, left_over
from postroom.testing.standard import Conformance
from postroom.testing.workplace import Workplace, expect_well

_MANY_WAITS = 3
"""A session may wait for so many answers before it gives a silent server up."""
_CLOSE_SECONDS = 5.0
_MANY_SESSIONS = 4
"""So many sessions that each leave something are told from a server's own coming and going."""


class SessionCases(Conformance):
    """How a session behaves towards a server that is well, and one that is not."""

    # -------------------------------------------------------------------------- logging in

    def test_wrong_password_is_an_auth_error(self, workplace: Workplace[Any]) -> None:
        """Not transient, and not the settings."""
        workplace.harness.refuse_password()

        outcome = workplace.work(workplace.new_session())

        expect_error(
            outcome,
            AuthError,
            when="the server refuses password or token",
            why="the core asks for a person and waits, instead of having the account locked by "
            "trying again every minute.",
        )
        expect(
            len(workplace.context.rejected) <= 1,
            "a refused token is reported with `rejected=` once; the new one's refusal is final.",
            because="a server that refuses every token would be asked for ever.",
            rejected=len(workplace.context.rejected),
        )

    def test_password_that_is_right_again_works(self, workplace: Workplace[Any]) -> None:
        """In a new session."""
        workplace.harness.refuse_password()
        workplace.work(workplace.new_session())
        workplace.harness.heal()

        outcome = workplace.work(workplace.new_session())

        expect_well("a session after the password was put right", outcome.error)

    def test_expired_token_is_replaced_once(self, workplace: Workplace[Any]) -> None:
        """With `rejected=`."""
        if not workplace.values().get("credential"):
            pytest.skip("the settings name no credential")
        expect_well("the first session", workplace.work(workplace.new_session()).error)
        workplace.harness.expire_token()

        outcome = workplace.work(workplace.new_session())

        expect_well("a session whose token had expired", outcome.error)
        expect(
            len(workplace.context.rejected) == 1
            and workplace.context.rejected[0] in workplace.context.lent,
            "a token that the server refuses is handed back with `rejected=`, once, and the work "
            "goes on with the new one.",
            because="tokens live for an hour; without this every mailbox would need a person then. "
            "(The harness's `token` has to give the same one until that is rejected.)",
            rejected=len(workplace.context.rejected),
        )

    def test_token_that_expires_within_a_session_is_replaced(
        self, workplace: Workplace[Any]
    ) -> None:
        """Between two pieces of work."""
        if not workplace.values().get("credential"):
            pytest.skip("the settings name no credential")
        session = workplace.new_session()
        expect_well("the first piece of work", workplace.work(session).error)
        workplace.harness.expire_token()

        outcome = workplace.work(session)

        expect_well("work in a session whose token has expired", outcome.error)

    # -------------------------------------------------------------------------- time

    def test_silent_server_is_given_up(self, workplace: Workplace[Any]) -> None:
        """`timeout_seconds`."""
        workplace.harness.be_silent()
        session = workplace.new_session(impatient=True)
        patience = workplace.harness.patience_seconds * _MANY_WAITS

        outcome = within(patience, lambda: workplace.work(session).again(), session)

        expect_error(
            outcome,
            TransientError,
            when="a server takes connections and says nothing",
            why="it is tried again later, and its runner's thread is free for others meanwhile.",
        )

    def test_slow_server_is_waited_for(self, workplace: Workplace[Any]) -> None:
        """As long as each answer comes in time."""
        workplace.harness.be_slow(workplace.harness.patience_seconds / 20)

        outcome = workplace.work(workplace.new_session(impatient=True))

        expect_well("a session with a server that is slow, but within the time limit,",
                    outcome.error)  # fmt: skip

    def test_throttling_is_transient_and_tells_when(self, workplace: Workplace[Any]) -> None:
        """`retry_after`."""
        workplace.harness.throttle(117)
        session = workplace.new_session(impatient=True)
        patience = workplace.harness.patience_seconds * _MANY_WAITS

        outcome = within(patience, lambda: workplace.work(session).again(), session)

        told: Any = getattr(outcome.error, "retry_after", None)
        if outcome.error is None and _is_put_off(outcome.result):
            told = getattr(outcome.result, "retry_after", None)
        else:
            expect_error(
                outcome,
                TransientError,
                when="the server refuses to work for now",
                why="it passes by itself.",
            )
        expect(
            told == 117 or not workplace.harness.tells_retry_after,
            "retry_after is the time that the server named, in seconds.",
            because="coming back earlier makes servers block an account for longer.",
            server_named=117,
            told=told,
        )

    # -------------------------------------------------------------------------- interruption

    def test_interrupt_ends_a_call_that_waits(self, workplace: Workplace[Any]) -> None:
        """From another thread."""
        workplace.harness.be_silent()
        session = workplace.new_session()

        def interrupt() -> None:
            workplace.wait_until_asked()
            session.interrupt()

        outcome = within(1, lambda: workplace.work(session).again(), session, meanwhile=interrupt)

        expect(
            outcome.error is None or isinstance(outcome.error, TransientError),
            "interrupt makes a blocked call end at once, with TransientError or by returning.",
            because="a runner that is told to end, or has lost its lease, must let go.",
            raised=outcome.error,
        )

    def test_interrupt_may_come_at_any_time(self, workplace: Workplace[Any]) -> None:
        """Before anything, twice, after the work, and after close."""
        session = workplace.new_session()
        session.interrupt()
        session.interrupt()
        session.close()
        other = workplace.new_session()
        expect_well("a session", workplace.work(other).error)

        other.interrupt()
        other.close()
        other.interrupt()

    def test_work_after_an_interrupt_ends_too(self, workplace: Workplace[Any]) -> None:
        """An interrupt that comes before the call it was meant for: nothing is done any more."""
        workplace.stock()
        session = workplace.new_session()
        session.interrupt()

        outcome = within(1, lambda: workplace.work(session).again(), session)

        expect(
            outcome.error is None or isinstance(outcome.error, TransientError),
            "after interrupt a call ends with TransientError or returns.",
            because="interrupt comes from another thread, and may be early.",
            raised=outcome.error,
        )
        expect(
            not outcome.result,
            "an interrupt holds until the session is closed: what is called after it does nothing.",
            because="a runner that lost its lease interrupts; its mailbox is another runner's from "
            "then on, and a call that forgets the interrupt could send what the other one sends.",
            done=outcome.result,
        )

    # -------------------------------------------------------------------------- closing

    def test_closing_twice_is_harmless(self, workplace: Workplace[Any]) -> None:
        """Used or not."""
        for is_used in (False, True):
            session = workplace.new_session()
            if is_used:
                expect_well("a session", workplace.work(session).error)
            for _ in range(2):
                raised = _error_of_close(session)
                expect(
                    raised is None,
                    "close never raises, and may be called twice.",
                    because="it is called while other errors are on their way.",
                    raised=raised,
                    session_was_used=is_used,
                )

    def test_closing_takes_seconds_at_most(self, workplace: Workplace[Any]) -> None:
        """Also when the server has fallen silent."""
        session = workplace.new_session()
        expect_well("a session", workplace.work(session).error)
        workplace.harness.be_silent()

        outcome = within(_CLOSE_SECONDS, session.close, session)

        expect(
            outcome.error is None,
            "close never raises.",
            because="it is called while other errors are on their way.",
            raised=outcome.error,
        )

    @pytest.mark.parametrize("end", ["well", "refused", "interrupted"])
    def test_closing_leaves_nothing_open(self, workplace: Workplace[Any], end: str) -> None:
        """No connection, no file, no thread, however the session ended."""
        workplace.stock()
        if end == "refused":
            workplace.harness.refuse_password()
        workplace.spend(interrupts=end == "interrupted")  # what the process keeps is there now
        before = at_rest()

        for _ in range(_MANY_SESSIONS):
            workplace.spend(interrupts=end == "interrupted")

        left = left_over(before, fewer_than=_MANY_SESSIONS)
        expect(
            not left,
            "after close there is nothing left of a session: no connection, no file, no thread.",
            because="a runner opens a session for each visit, some thousands a day: it would run "
            "out of them, or of what the server allows, and stop for all mailboxes.",
            sessions=_MANY_SESSIONS,
            **left,
        )

    def test_closing_after_the_connection_broke_is_harmless(
        self, workplace: Workplace[Any]
    ) -> None:
        """At once after it was made."""
        workplace.cut(0)
        session = workplace.new_session()

        outcome = workplace.work(session)
        raised = _error_of_close(session)

        expect_error(
            outcome,
            TransientError,
            when="the connection breaks as soon as it is made",
            why="it passes by itself; nothing is wrong with settings or password.",
        )
        expect(
            raised is None,
            "close never raises.",
            because="it is called while other errors are on their way.",
            raised=raised,
        )

    # -------------------------------------------------------------------------- check

    def test_check_of_what_is_well_fails_no_step(self, workplace: Workplace[Any]) -> None:
        """Each step has a name and an outcome."""
        steps = _steps(workplace)

        expect(
            steps and all(_is_step(step) for step in steps),
            "check yields CheckSteps, each with a name and one of the outcomes.",
            because="`postroom doctor` shows them one by one.",
            steps=steps,
        )
        expect(
            all(step.outcome != "fail" for step in steps),
            "no step of check fails where all is well.",
            because="whoever sets a mailbox up would look for a mistake that is none.",
            steps=steps,
        )

    def test_check_reports_a_wrong_password(self, workplace: Workplace[Any]) -> None:
        """As a failing step, not as an error."""
        workplace.harness.refuse_password()

        steps = _steps(workplace)

        failed = [step for step in steps if step.outcome == "fail"]
        expect(
            failed and all(_is_step(step) for step in steps),
            "check yields a failing step instead of raising.",
            because="`postroom doctor` shows how far it got.",
            steps=steps,
        )
        expect(
            all(step.detail and step.next_step for step in failed),
            "a failing step says what happened and the next thing to do.",
            because="it is all that an administrator sees.",
            failed=failed,
        )
        expect_no_secret(workplace.secrets(), "the steps of check", repr(steps))

    def test_check_ends_on_a_silent_server(self, workplace: Workplace[Any]) -> None:
        """With a failing step."""
        workplace.harness.be_silent()
        session = workplace.new_session(impatient=True)
        patience = workplace.harness.patience_seconds * _MANY_WAITS

        outcome = within(patience, lambda: list(session.check()), session)

        expect(
            outcome.error is None and any(step.outcome == "fail" for step in outcome.result or ()),
            "check yields a failing step when the server does not answer.",
            because="that is what `postroom doctor` is asked for most.",
            raised=outcome.error,
            steps=outcome.result,
        )

    # -------------------------------------------------------------------------- what is said

    def test_no_secret_is_logged_or_printed(
        self,
        workplace: Workplace[Any],
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """At DEBUG, of all loggers; not in the session's repr either."""
        workplace.stock()
        with caplog.at_level(logging.DEBUG):
            session = workplace.new_session()
            outcome = workplace.work(session)
            shown = f"{session!r} {session}"
            session.close()

        expect_well("a session", outcome.error)
        written = capfd.readouterr()
        secrets = workplace.secrets()
        expect_no_secret(secrets, "the log", _logged(caplog))
        expect_no_secret(secrets, "what is printed", written.out + written.err)
        expect_no_secret(secrets, "the session's repr", shown)
        expect(
            not written.out,
            "a session, and the server in the same process, prints nothing on standard output.",
            because="`--json` promises programs one document there; use `context.logger`.",
            printed=written.out,
        )

    def test_nothing_that_stands_in_mail_is_logged_or_printed(
        self,
        workplace: Workplace[Any],
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """At DEBUG, of all loggers, the library's included."""
        words = workplace.stock()
        with caplog.at_level(logging.DEBUG):
            session = workplace.new_session()
            outcome = workplace.work(session)
            session.close()

        expect_well("a session", outcome.error)
        written = capfd.readouterr()
        said = {
            "the log": _logged(caplog, workplace.harness.server_loggers),
            "what is printed": written.out + written.err,
        }
        for where, text in said.items():
            expect_nowhere(
                words,
                text,
                f"nothing of a message's body stands in {where}.",
                because="mail is confidential: who may read logs must not read what customers "
                "write, and logs are kept and mailed around.",
            )

    def test_no_secret_is_in_the_error_of_a_wrong_password(
        self,
        workplace: Workplace[Any],
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Nor in its causes, nor in what was logged on the way."""
        workplace.harness.refuse_password()
        with caplog.at_level(logging.DEBUG):
            outcome = workplace.work(workplace.new_session())

        written = capfd.readouterr()
        secrets = workplace.secrets()
        expect_no_secret(secrets, "an error", everything_said(outcome.error))
        expect_no_secret(secrets, "the log", _logged(caplog))
        expect_no_secret(secrets, "what is printed", written.out + written.err)

    @pytest.mark.parametrize("trouble", ["refuse_password", "be_silent", "cut_connection"])
    def test_errors_speak_to_an_administrator(
        self, workplace: Workplace[Any], trouble: str
    ) -> None:
        """A code, a sentence, the next thing to do; the library's own error is the cause."""
        play = getattr(workplace.harness, trouble)
        play(0) if trouble == "cut_connection" else play()
        session = workplace.new_session(impatient=True)

        error = workplace.work(session).error

        expect(
            isinstance(error, TransportError) and error.code.name,
            "what goes wrong is raised with a code.",
            because="the administrator's page of errors is kept by codes.",
            raised=error,
        )
        assert isinstance(error, TransportError)  # noqa: S101 - for the type
        for text in (error.sentence, error.next_step):
            expect(
                text.strip() == text and len(text) > 10 and "\n" not in text,
                "an error is a sentence of one line, with the one next thing to do.",
                because="no traceback reaches a person for something they can fix.",
                text=text,
            )
        expect_no_secret(workplace.secrets(), "an error", everything_said(error))


def _steps(workplace: Workplace[Any]) -> list[CheckStep]:
    outcome = attempt(lambda: list(workplace.new_session().check()))
    expect(
        outcome.error is None,
        "check yields a failing step instead of raising.",
        because="`postroom doctor` shows how far it got.",
        raised=outcome.error,
    )
    return outcome.result or []


def _is_put_off(result: Any) -> bool:
    return isinstance(result, SendResult) and bool(result.deferred)


def _error_of_close(session: Any) -> BaseException | None:
    try:
        session.close()
    except Exception as error:
        return error
    return None


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, CheckStep)
        and bool(step.name.strip())
        and step.outcome in ("ok", "fail", "skip", "warn")
    )


def _logged(caplog: pytest.LogCaptureFixture, but: Collection[str] = ()) -> str:
    """Return what was logged, as a formatter may show it, but by the loggers of these names."""
    records = [record for record in caplog.records if record.name not in but]
    texts = [f"{caplog.handler.format(record)}\n{vars(record)!r}" for record in records]
    return "\n".join(texts)
