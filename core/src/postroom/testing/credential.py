"""`CredentialConformance`: subclass and fill."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from postroom import plugins
from postroom.admin.loading import HEAVY, imported_at_load
from postroom.api import (
    AuthError,
    CredentialKind,
    SettingsError,
    Token,
    TransientError,
)
from postroom.api.codes import CATALOGUE
from postroom.api.transport import API_VERSION
from postroom.credentials import credentials, tokens
from postroom.store import database, models, schema
from postroom.testing.cases_description import ModelCases
from postroom.testing.credential_bench import NAME, CredentialBench, Lent
from postroom.testing.expectations import (
    attempt,
    everything_said,
    expect,
    expect_error,
    expect_no_secret,
    in_time,
)
from postroom.testing.harness import CredentialHarness


class CredentialConformance(ModelCases):
    """What a kind of credential has to keep. Set `kind` and give the fixture `harness`."""

    kind: ClassVar[CredentialKind]
    """The kind under test."""
    plugin: ClassVar[str] = ""
    """The module behind its entry point; default: where its class is defined."""
    heavy: ClassVar[Collection[str]] = ()
    """More modules that loading the plugin must not import: its library's."""

    @pytest.fixture
    def harness(self) -> CredentialHarness:
        """Return the issuer's side, anew for each case. To be overridden."""
        pytest.fail("give the fixture `harness`", pytrace=False)

    @pytest.fixture
    def bench(self, harness: CredentialHarness) -> CredentialBench:
        """Where the cases work."""
        return CredentialBench(self.kind, harness)

    @pytest.fixture
    def workplace(self, bench: CredentialBench) -> Any:
        """The same, for the cases about settings."""
        return bench

    @pytest.fixture
    def postroom(
        self, harness: CredentialHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[str], Token]]:
        """A whole postroom that has the credential; returns how a mailbox gets a token of it."""
        monkeypatch.setenv("POSTROOM_KEY_FILE", str(tmp_path / "key"))
        monkeypatch.delenv("POSTROOM_KEY", raising=False)
        database.connect(f"sqlite:///{tmp_path}/kit.db")
        schema.upgrade()
        offered = plugins.Plugins()
        offered._kinds[self.kind.name] = self.kind
        plugins.use(offered)
        try:
            with database.connection():
                credentials.put(NAME, self.kind.name, dict(harness.settings()))
                yield lambda mailbox: tokens.token(NAME, harness.purpose, mailbox)
        finally:
            plugins.use(None)
            models.database.obj.close()

    # -------------------------------------------------------------------------- description

    def test_name_title_and_version(self) -> None:
        """As for transports."""
        expect(
            re.fullmatch(r"[a-z][a-z0-9-]{0,30}", self.kind.name) and self.kind.title.strip(),
            "a kind has a name of lower case letters, digits and hyphens, and a title.",
            because="an administrator writes the one and reads the other.",
            name=self.kind.name,
            title=self.kind.title,
        )
        expect(
            self.kind.api == API_VERSION and self.kind.settings_version >= 1,
            f"api is {API_VERSION}, settings_version a whole number from 1 on.",
            because="a plugin for another version is listed as broken.",
        )

    def test_loading_the_plugin_imports_no_library(self) -> None:
        """In a process of its own."""
        module = self.plugin or type(self.kind).__module__
        try:
            imported, error = imported_at_load(module), ""
        except ImportError as raised:
            imported, error = set(), str(raised)
        found = sorted(imported & (HEAVY | set(self.heavy)))
        expect(
            not error and not found,
            "loading the plugin imports no library, and not pydantic.",
            because="`postroom --help` loads every plugin.",
            imported=found,
            error=error,
        )

    def test_tokens_are_shared_by_their_key(self, bench: CredentialBench) -> None:
        """`token_key`."""
        settings, purpose = bench.settings(), bench.harness.purpose
        key = self.kind.token_key(settings, purpose, bench.harness.mailbox)
        expect(
            isinstance(key, str)
            and 0 < len(key) <= 500
            and key == self.kind.token_key(bench.settings(), purpose, bench.harness.mailbox)
            and bench.harness.fetches() == 0,
            "token_key is a text of 1 to 500 characters, the same for the same, without network.",
            because="the core finds the token by it that another mailbox has fetched.",
            key=key,
        )
        expect_error(
            attempt(lambda: self.kind.token_key(settings, "juggling", bench.harness.mailbox)),
            SettingsError,
            when="token_key is asked for a purpose that the kind has nothing for",
            why="the administrator named this credential for a transport that it does not fit.",
        )

    # -------------------------------------------------------------------------- fetching

    def test_a_token_comes_and_is_taken(self, bench: CredentialBench) -> None:
        """With an end, in UTC."""
        token = bench.good_token()

        expect(
            bench.harness.takes(token.value),
            "servers take the token.",
            because="it is what the mailbox logs in with.",
        )
        end = token.expires_at
        expect(
            end is None or (end.tzinfo is not None and end > datetime.now(UTC)),
            "expires_at is an aware instant to come, or None.",
            because="the core renews the token before.",
            expires_at=end,
        )
        expect_no_secret([token.value], "the token's repr", repr(token))

    def test_each_fetch_gives_a_new_token(self, bench: CredentialBench) -> None:
        """With the state of the last one, which is all that is left of it."""
        values = [bench.good_token().value for _ in range(3)]

        expect(
            len(set(values)) == 3 and all(bench.harness.takes(value) for value in values),
            "each fetch gives a new token that is taken.",
            because="the core fetches when a server has refused the last one.",
            different=len(set(values)),
        )

    def test_a_damaged_state_is_an_error_of_the_contract(self, bench: CredentialBench) -> None:
        """Or does not matter."""
        bench.signed_in()
        bench.context.state = "{damaged"

        outcome = bench.fetch()

        expect(
            outcome.error is None or isinstance(outcome.error, AuthError | SettingsError),
            "with a state that it cannot read a kind starts anew, or asks for a person.",
            because="an older version may have written it.",
            raised=outcome.error,
        )

    def test_the_end_of_the_secret_is_in_utc(self, bench: CredentialBench) -> None:
        """Where the settings tell."""
        end = self.kind.expires_at(bench.settings())

        expect(
            end is None or end.utcoffset() == timedelta(0),
            "expires_at is aware and in UTC, or None.",
            because="administrators are warned before it.",
            expires_at=end,
        )

    # -------------------------------------------------------------------------- refusals

    def test_a_refused_secret_is_an_auth_error(self, bench: CredentialBench) -> None:
        """With a code of the catalogue, a sentence, and a next step that can be typed."""
        bench.signed_in()
        bench.harness.refuse_password()

        outcome = bench.fetch()

        expect_error(
            outcome,
            AuthError,
            when="the issuer refuses the secret",
            why="the core tells all mailboxes, and asks the issuer again after 5 minutes.",
        )
        error = outcome.error
        assert isinstance(error, AuthError)  # noqa: S101 - just seen
        expect(
            error.sentence.endswith(".") and error.next_step and "NAME" not in error.next_step,
            "the error has a sentence, and a next step with the credential's own name.",
            because="it is what an administrator reads.",
            sentence=error.sentence,
            next_step=error.next_step,
        )
        expect(
            error.code.name in CATALOGUE,
            "its code is in the catalogue.",
            because="what other runners are told is found by the code's name.",
            code=error.code.name,
        )

    def test_a_secret_that_is_good_again_works_at_once(self, bench: CredentialBench) -> None:
        """Nothing of the refusal is remembered here."""
        bench.signed_in()
        bench.harness.refuse_password()
        bench.fetch()
        bench.harness.heal()

        bench.good_token()

    def test_a_busy_issuer_is_a_passing_trouble(self, bench: CredentialBench) -> None:
        """With the time to come back."""
        bench.signed_in()
        bench.harness.throttle(7)

        outcome = bench.fetch()

        expect_error(
            outcome,
            TransientError,
            when="the issuer is busy",
            why="it is tried again later, by itself.",
        )
        if bench.harness.tells_retry_after:
            after = getattr(outcome.error, "retry_after", None)
            expect(
                after == pytest.approx(7, abs=1),
                "retry_after is what the issuer said.",
                because="nobody asks it again before.",
                retry_after=after,
            )

    def test_a_silent_issuer_is_given_up(self, bench: CredentialBench) -> None:
        """`timeout_seconds`."""
        bench.signed_in()
        bench.harness.be_silent()
        lent = Lent(self.kind, bench.settings(impatient=True))
        lent.state = bench.context.state

        outcome = in_time(
            bench.harness.patience_seconds * 3,
            lambda: lent.token(bench.harness.purpose, bench.harness.mailbox),
        )

        expect_error(
            outcome,
            TransientError,
            when="the issuer takes connections and says nothing",
            why="all mailboxes of the credential wait for this fetch.",
        )

    def test_an_issuer_that_hangs_up_is_a_passing_trouble(self, bench: CredentialBench) -> None:
        """The connection ends without an answer; the check says so, and later all is well."""
        bench.signed_in()
        bench.harness.cut_connection(0)

        outcome = bench.fetch()
        steps = bench.check()

        expect_error(
            outcome,
            TransientError,
            when="the issuer closes the connection without an answer",
            why="it passes by itself: nobody has to look, and the secret is as good as before.",
        )
        expect(
            any(step.outcome == "fail" for step in steps),
            "check yields a failing step when the issuer hangs up.",
            because="whoever sets it up sees that the network is the trouble, not the secret.",
            steps=[(step.name, step.outcome, step.detail) for step in steps],
        )
        bench.harness.heal()
        bench.good_token()

    # -------------------------------------------------------------------------- checking

    def test_the_check_of_a_good_one_has_no_failing_step(self, bench: CredentialBench) -> None:
        """Settings first, then what needs the network."""
        bench.signed_in()

        steps = bench.check()

        expect(
            len(steps) >= 2 and all(step.outcome != "fail" for step in steps),
            "check yields a step for each thing it tries, none failing while all is well.",
            because="a person looks for what is wrong.",
            steps=[(step.name, step.outcome, step.detail) for step in steps],
        )

    def test_the_check_of_a_refused_one_fails_with_a_next_step(
        self, bench: CredentialBench
    ) -> None:
        """It raises nothing."""
        bench.signed_in()
        bench.harness.refuse_password()

        steps = bench.check()

        failing = [step for step in steps if step.outcome == "fail"]
        expect(
            len(failing) == 1 and failing[0].detail and failing[0].next_step,
            "check yields one failing step, with a sentence and a next step, instead of raising.",
            because="the steps before it tell what is in order.",
            steps=[(step.name, step.outcome, step.detail) for step in steps],
        )
        after = steps[steps.index(failing[0]) + 1 :]
        expect(
            all(step.outcome == "skip" for step in after),
            "the steps after a failing one are skipped.",
            because="they would only fail for the same reason.",
            after=[(step.name, step.outcome) for step in after],
        )

    # -------------------------------------------------------------------------- signing in

    def test_a_person_signs_in(self, bench: CredentialBench) -> None:
        """Where the settings want one."""
        settings = bench.settings()
        if not self.kind.can_sign_in(settings):
            pytest.skip("nobody has to sign in with these settings")
        expect_error(
            bench.fetch(),
            AuthError,
            when="nobody has signed in yet",
            why="a person has to.",
        )
        begun = self.kind.begin_sign_in(settings, bench.context)
        expect(
            begun.url.startswith("https://") and begun.code and begun.code in begun.message,
            "a sign-in has an https address, a code, and a message with both.",
            because="the person needs them.",
            url=begun.url,
            message=begun.message,
        )
        hidden = [str(value) for value in _leaves(begun.flow) if len(str(value)) > 20]
        hidden = [value for value in hidden if value not in (begun.url, begun.message)]
        shown = repr(dataclasses.replace(begun, message="", url=""))
        expect_no_secret([v for v in hidden if begun.code not in v], "the sign-in's repr", shown)

        stopped = attempt(
            lambda: self.kind.finish_sign_in(settings, begun, None, bench.context, lambda: True)
        )
        expect_error(stopped, TransientError, when="the wait is broken off", why="nothing failed.")
        bench.good_token()

    # -------------------------------------------------------------------------- secrets

    def test_no_secret_is_said(
        self, bench: CredentialBench, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In no log at DEBUG, the libraries' included, in no error, in no step."""
        caplog.set_level(logging.DEBUG)
        said = []
        bench.good_token()
        said += [f"{step}" for step in bench.check()]
        bench.harness.refuse_password()
        outcome = bench.fetch()
        assert outcome.error is not None  # noqa: S101 - another case sees to it
        said.append(everything_said(outcome.error))
        said += [f"{step}" for step in bench.check()]
        logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)

        expect_no_secret(bench.secrets(), "logs, errors and steps", logged + "".join(said))

    # -------------------------------------------------------------------------- within the core

    def test_one_fetch_serves_all_who_wait(
        self, harness: CredentialHarness, postroom: Callable[[str], Token]
    ) -> None:
        """Twenty threads, one mailbox; the database holds nothing in clear."""
        if self.kind.can_sign_in(self.kind.settings().model_validate(dict(harness.settings()))):
            pytest.skip("a person would have to sign in first")
        with ThreadPoolExecutor(20) as pool:
            found = {one.value for one in pool.map(postroom, [harness.mailbox] * 20)}

        expect(
            len(found) == 1 and harness.fetches() == 1,
            "a token is fetched once for all who wait for it.",
            because="an issuer that is asked by every mailbox at once locks the application out.",
            tokens=len(found),
            fetches=harness.fetches(),
        )
        folder = Path(models.database.obj.database).parent
        stored = b"".join(path.read_bytes() for path in folder.glob("kit.db*"))
        secrets = [*CredentialBench(self.kind, harness).secrets(), *found]
        expect_no_secret(secrets, "the database", stored.decode("latin-1"))


def _leaves(flow: Any) -> Iterator[Any]:
    """Yield the values in whatever a kind keeps of a sign-in."""
    if isinstance(flow, Mapping):
        yield from flow.values()
    elif flow is not None:
        yield json.dumps(flow, default=str)
