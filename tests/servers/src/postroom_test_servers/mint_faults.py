"""The mint's harness, and the mint with faults: the conformance kit has to find each of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from postroom.api import AuthError, CheckStep, CredentialContext, Token, TransientError, codes
from postroom.testing import CredentialHarness

from postroom_test_servers.mint import ISSUER, SECRET, Mint


class MintHarness(CredentialHarness):
    """Plays the mint."""

    impatient: ClassVar[Mapping[str, Any]] = {"timeout_seconds": 0.1}
    patience_seconds = 0.1

    def __init__(self) -> None:
        ISSUER.coined.clear()
        ISSUER.asked = 0
        self.heal()

    def settings(self) -> dict[str, Any]:
        return {"stamp": SECRET}

    def takes(self, token: str) -> bool:
        return token in ISSUER.coined

    def fetches(self) -> int:
        return ISSUER.asked

    def issued(self) -> list[str]:
        return list(ISSUER.coined)

    def refuse_password(self) -> None:
        ISSUER.refuses = True

    def throttle(self, retry_after: float) -> None:
        ISSUER.retry_after = retry_after

    def cut_connection(self, after_bytes: int) -> None:
        ISSUER.hangs_up = True

    def be_silent(self) -> None:
        ISSUER.is_silent = True

    def heal(self) -> None:
        ISSUER.refuses, ISSUER.retry_after = False, None
        ISSUER.hangs_up = ISSUER.is_silent = False


# ---------------------------------------------------------------------------- with a fault each


class Shouting(Mint):
    """Its name cannot be written."""

    name = "MINT"


class Muddled(Mint):
    """Each mailbox asks for itself, though the key says that it need not."""

    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:
        return f"{purpose} {next(ISSUER.numbers)}"


class Obliging(Mint):
    """It has tokens for everything."""

    def token_key(self, settings: Any, purpose: str, mailbox: str) -> str:
        return purpose


class Counterfeit(Mint):
    """Its tokens are not the issuer's."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        token, state = super().fetch(*arguments, **named)
        return Token(token.value[::-1], token.expires_at), state


class Timeless(Mint):
    """The end of its tokens has no zone."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        token, state = super().fetch(*arguments, **named)
        end = token.expires_at.replace(tzinfo=None) if token.expires_at else None
        return Token(token.value, end), state


class Hoarding(Mint):
    """It keeps a token and gives it out again."""

    _kept: tuple[Token, str | None] | None = None

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        if self._kept is None:
            self._kept = super().fetch(*arguments, **named)
        return self._kept


class Stateful(Mint):
    """Its state is no text."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        token, _ = super().fetch(*arguments, **named)
        return token, {"a": 1}  # type: ignore[return-value]


class Hopeful(Mint):
    """It takes a refusal for a passing trouble."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        try:
            return super().fetch(*arguments, **named)
        except AuthError as error:
            raise TransientError(codes.SERVER_BUSY, error.sentence) from None


class Terse(Mint):
    """Its error has no next step that could be typed."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        try:
            return super().fetch(*arguments, **named)
        except AuthError as error:
            raise AuthError(error.code, error.sentence, next_step="Look at NAME.") from None


class Resentful(Mint):
    """It remembers a refusal."""

    _refused: AuthError | None = None

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        if self._refused is not None:
            raise self._refused
        try:
            return super().fetch(*arguments, **named)
        except AuthError as error:
            self._refused = error
            raise


class Impatient(Mint):
    """It does not say when to come back."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        try:
            return super().fetch(*arguments, **named)
        except TransientError as error:
            raise TransientError(error.code, error.sentence) from None


class Careless(Mint):
    """Its check raises."""

    def check(
        self, settings: Any, context: CredentialContext, *, purposes: Sequence[str], mailbox: str
    ) -> Iterator[CheckStep]:
        yield CheckStep("settings", "ok")
        context.token(purposes[0], mailbox)
        yield CheckStep("token", "ok")


class Talkative(Mint):
    """It logs its tokens."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        token, state = super().fetch(*arguments, **named)
        logging.getLogger("mint").debug("Coined %s", token.value)
        return token, state


class Fragile(Mint):
    """It lets its network's errors out."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        try:
            return super().fetch(*arguments, **named)
        except TransientError as error:
            raise error.__cause__ or error from None


class Alarmed(Mint):
    """It takes a broken connection for a refusal."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        try:
            return super().fetch(*arguments, **named)
        except TransientError as error:
            if error.retry_after is not None:
                raise
            raise AuthError(codes.AUTH_REFUSED, error.sentence) from None


class Discouraged(Mint):
    """It asks no more once the issuer has hung up."""

    _lost: TransientError | None = None

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        if self._lost is not None:
            raise self._lost
        try:
            return super().fetch(*arguments, **named)
        except TransientError as error:
            self._lost = error
            raise


class Patient(Mint):
    """It has a time limit of its own."""

    def fetch(self, settings: Any, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        patient = settings.model_copy(update={"timeout_seconds": 5.0})
        return super().fetch(patient, *arguments, **named)


class Trusting(Mint):
    """It believes every state."""

    def fetch(
        self, settings: Any, purpose: str, state: str | None, *arguments: Any, **named: Any
    ) -> tuple[Token, str | None]:
        json.loads(state or "{}")
        return super().fetch(settings, purpose, state, *arguments, **named)


class Local(Mint):
    """The end of its secret has no zone."""

    def expires_at(self, settings: Any) -> datetime | None:
        return datetime(2027, 5, 1)  # noqa: DTZ001 - that is the fault


class Gloomy(Mint):
    """Its check finds fault with what is well."""

    def check(self, *arguments: Any, **named: Any) -> Iterator[CheckStep]:
        yield from super().check(*arguments, **named)
        yield CheckStep("rights", "fail", "There are none.", "Ask for some.")


class Wasteful(Mint):
    """It fetches two tokens and throws one away."""

    def fetch(self, *arguments: Any, **named: Any) -> tuple[Token, str | None]:
        super().fetch(*arguments, **named)
        return super().fetch(*arguments, **named)


FAULTS: Final[dict[str, tuple[type[Mint], str]]] = {
    kind.__name__: (kind, case)
    for kind, case in {
        Shouting: "test_name_title_and_version",
        Muddled: "test_tokens_are_shared_by_their_key",
        Obliging: "test_tokens_are_shared_by_their_key",
        Counterfeit: "test_a_token_comes_and_is_taken",
        Timeless: "test_a_token_comes_and_is_taken",
        Hoarding: "test_each_fetch_gives_a_new_token",
        Stateful: "test_a_token_comes_and_is_taken",
        Hopeful: "test_a_refused_secret_is_an_auth_error",
        Terse: "test_a_refused_secret_is_an_auth_error",
        Resentful: "test_a_secret_that_is_good_again_works_at_once",
        Impatient: "test_a_busy_issuer_is_a_passing_trouble",
        Careless: "test_the_check_of_a_refused_one_fails_with_a_next_step",
        Talkative: "test_no_secret_is_said",
        Fragile: "test_an_issuer_that_hangs_up_is_a_passing_trouble",
        Alarmed: "test_an_issuer_that_hangs_up_is_a_passing_trouble",
        Discouraged: "test_an_issuer_that_hangs_up_is_a_passing_trouble",
        Patient: "test_a_silent_issuer_is_given_up",
        Trusting: "test_a_damaged_state_is_an_error_of_the_contract",
        Local: "test_the_end_of_the_secret_is_in_utc",
        Gloomy: "test_the_check_of_a_good_one_has_no_failing_step",
        Wasteful: "test_one_fetch_serves_all_who_wait",
    }.items()
}
"""Name → the kind, and the case that has to find its fault."""
