"""How the kit says what the contract wants, and bounds what a transport may take its time for."""

from __future__ import annotations

import base64
import threading
import time
import traceback
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar
from urllib.parse import quote, quote_plus

from postroom.api import Session, SpoolError, TransportError

Result = TypeVar("Result")
MARGIN_SECONDS = 4.0
"""What a slow machine may add."""
_HIDDEN = "<THE SECRET>"


class ContractBrokenError(AssertionError):
    """The transport does not keep the contract."""


def expect(kept: object, wants: str, *, because: str, **seen: Any) -> None:
    """Fail the case unless `kept`.

    :param wants: what the contract wants, a sentence
    :param because: what happens to an administrator's mail otherwise
    :param seen: what was observed
    """
    __tracebackhide__ = True
    if kept:
        return
    lines = [f"The contract wants: {wants}", f"Because: {because}"]
    lines += [f"Seen: {name.replace('_', ' ')}: {_short(value)}" for name, value in seen.items()]
    raise ContractBrokenError("\n".join(lines))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:600]}… ({len(text)} characters)"


class Outcome(Generic[Result]):
    """What a call came to: a result, or the contract's error."""

    def __init__(self) -> None:
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.seconds = 0.0

    def again(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.result


def attempt(call: Callable[[], Result]) -> Outcome[Result]:
    """Make a call that may fail as the contract allows; anything else fails the case."""
    __tracebackhide__ = True
    outcome: Outcome[Result] = Outcome()
    try:
        outcome.result = call()
    except (TransportError, SpoolError) as error:
        outcome.error = error
    except ContractBrokenError:
        raise
    except Exception as error:
        raise _escaped(error) from error
    return outcome


def _escaped(error: BaseException) -> ContractBrokenError:
    return ContractBrokenError(
        "The contract wants: nothing but TransportError and its kinds leaves a session.\n"
        "Because: the class of an error tells the core what to do next; anything else counts as a "
        "bug of the plugin and tells the administrator nothing.\n"
        f"Seen: {type(error).__module__}.{type(error).__qualname__}: {error}"
    )


def within(
    seconds: float,
    call: Callable[[], Result],
    session: Session,
    *,
    meanwhile: Callable[[], None] | None = None,
) -> Outcome[Result]:
    """Make a call in another thread and fail if it takes longer.

    :param meanwhile: called here once the other thread is at work
    """
    __tracebackhide__ = True
    return _timed(seconds, call, meanwhile or (lambda: None), session.interrupt)


def in_time(seconds: float, call: Callable[[], Result]) -> Outcome[Result]:
    """Do the same with what cannot be interrupted."""
    __tracebackhide__ = True
    return _timed(seconds, call, lambda: None, lambda: None)


def _timed(
    seconds: float,
    call: Callable[[], Result],
    meanwhile: Callable[[], None],
    interrupt: Callable[[], None],
) -> Outcome[Result]:
    __tracebackhide__ = True
    outcome: Outcome[Result] = Outcome()

    def work() -> None:
        begun = time.monotonic()
        try:
            outcome.result = call()
        except BaseException as error:
            outcome.error = error
        outcome.seconds = time.monotonic() - begun

    thread = threading.Thread(target=work, daemon=True, name="session under test")
    thread.start()
    meanwhile()
    thread.join(seconds + MARGIN_SECONDS)
    hangs = thread.is_alive()
    if hangs:
        interrupt()
        thread.join(MARGIN_SECONDS)
    expect(
        not hangs,
        f"this call ends within {seconds:g} seconds.",
        because="every blocking call has a timeout; one that hangs keeps its mailbox from "
        "everybody and its runner from ending.",
        ended_by_interrupt=not thread.is_alive(),
    )
    if outcome.error is not None and not isinstance(outcome.error, TransportError | SpoolError):
        if isinstance(outcome.error, Exception) and not isinstance(
            outcome.error, ContractBrokenError
        ):
            raise _escaped(outcome.error) from outcome.error
        raise outcome.error
    return outcome


def expect_error(outcome: Outcome[Any], kind: type[TransportError], *, when: str, why: str) -> Any:
    """Fail unless the call ended with this kind of error; return the error."""
    __tracebackhide__ = True
    expect(
        isinstance(outcome.error, kind),
        f"{kind.__name__} when {when}.",
        because=why,
        raised=outcome.error,
        returned=outcome.result,
    )
    return outcome.error


def expect_no_secret(secrets: Collection[str], where: str, text: str) -> None:
    """Fail if a secret stands in a text, as it is or coded as protocols code it."""
    __tracebackhide__ = True
    expect_nowhere(
        secrets,
        text,
        f"no secret stands in {where}.",
        because="logs and errors are shown, mailed and kept (invariant 11).",
    )


def expect_nowhere(words: Collection[str], text: str, wants: str, *, because: str) -> None:
    """Fail if one of the words stands in a text, as it is or coded as protocols code it."""
    __tracebackhide__ = True
    for word in words:
        for coded in _codings(word):
            hidden = text.replace(coded, _HIDDEN)
            begin = max(hidden.find(_HIDDEN) - 200, 0)
            expect(coded not in text, wants, because=because, text=hidden[begin : begin + 500])


def _codings(secret: str) -> set[str]:
    """Return the secret in clear, in a URL, as hexadecimal digits, and inside of Base64."""
    found = {secret, quote(secret, safe=""), quote_plus(secret), secret.encode().hex()}
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        found.add(coded[4 if before else 0 : -4])
    return {one for one in found if len(one) >= 6 or one == secret}


def everything_said(error: BaseException | None) -> str:
    """Return all that could be shown of an error: text, repr, arguments, fields, causes."""
    said: list[str] = []
    seen: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        said += [str(one), repr(one), repr(one.args), *map(str, getattr(one, "__notes__", ()))]
        if isinstance(one, TransportError):
            said += [repr(vars(one))]
        said += traceback.format_exception_only(one)
        pending += [one.__cause__, one.__context__]
    return "\n".join(said)
