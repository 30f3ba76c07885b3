"""Cases for both kinds: what a transport says of itself, its settings, how it loads."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from postroom.admin.loading import HEAVY, SOUNDS_SECRET, imported_at_load
from postroom.api import Capability, Transport
from postroom.api.transport import API_VERSION
from postroom.plugin_settings import is_secret, secret_fields, split
from postroom.testing.expectations import expect, expect_no_secret
from postroom.testing.standard import Conformance
from postroom.testing.workplace import Workplace

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class DescriptionCases(Conformance):
    """What a transport says of itself; loading it costs nothing."""

    transport: ClassVar[Transport]
    """The transport under test."""
    plugin: ClassVar[str] = ""
    """The module behind its entry point; default: where its class is defined."""
    heavy: ClassVar[Collection[str]] = ()
    """More modules that loading the plugin must not import: its library's."""

    def test_name_is_what_an_administrator_can_write(self) -> None:
        """``imap``, ``my-mail``."""
        expect(
            re.fullmatch(r"[a-z][a-z0-9-]{0,30}", self.transport.name),
            "a transport's name is lower case letters, digits and hyphens.",
            because="it is written in TOML files and on command lines.",
            name=self.transport.name,
        )

    def test_title_is_for_people(self) -> None:
        """One line, not empty."""
        title = self.transport.title
        expect(
            isinstance(title, str) and title.strip() == title != "" and title.isprintable(),
            "a transport has a title, a line of text.",
            because="people choose by it.",
            title=title,
        )

    def test_it_is_of_this_version_of_the_contract(self) -> None:
        """`api` and `settings_version`."""
        expect(
            self.transport.api == API_VERSION,
            f"api is {API_VERSION}.",
            because="a plugin for another version is listed as broken.",
            api=self.transport.api,
        )
        version = self.transport.settings_version
        expect(
            isinstance(version, int) and version >= 1,
            "settings_version is a whole number from 1 on.",
            because="stored settings are brought up to date by it.",
            settings_version=version,
        )

    def test_capabilities_are_the_contracts(self) -> None:
        """A `Capability`, which the core and this kit read."""
        expect(
            isinstance(self.transport.capabilities, Capability),
            "capabilities is a Capability.",
            because="the core offers, and this kit tests, what is declared.",
            capabilities=self.transport.capabilities,
        )

    def test_loading_the_plugin_imports_no_library(self) -> None:
        """In a process of its own."""
        module = self.plugin or type(self.transport).__module__
        try:
            imported, error = imported_at_load(module), ""
        except ImportError as raised:
            imported, error = set(), str(raised)
        expect(
            not error,
            f"the plugin's module {module} can be imported by itself.",
            because="a plugin that does not import is listed as broken.",
            error=error,
        )
        found = sorted(imported & (HEAVY | set(self.heavy)))
        expect(
            not found,
            "loading a plugin imports no mail library, and not pydantic.",
            because="`postroom --help` loads every plugin; sessions import what they need.",
            imported=found,
        )


class ModelCases(Conformance):
    """Settings are declared once, and what is secret in them stays so."""

    @pytest.fixture
    def workplace(self) -> Workplace[Any]:
        """The bench of either kind."""
        raise NotImplementedError

    def test_settings_forbid_what_they_do_not_know(self, workplace: Workplace[Any]) -> None:
        """A misspelled key is a mistake."""
        from postroom.api.settings import TransportSettings

        model = workplace.model()
        kept = issubclass(model, TransportSettings) and model.model_config.get("extra") == "forbid"
        expect(
            kept,
            'the settings are a TransportSettings with extra="forbid".',
            because="a misspelled key that is ignored is a setting that does not hold.",
            model=model,
            config=model.model_config,
        )

    def test_every_setting_is_described(self, workplace: Workplace[Any]) -> None:
        """One sentence without a full stop."""
        for name, field in workplace.model().model_fields.items():
            said = field.description or ""
            expect(
                said and not said.endswith(".") and "\n" not in said,
                "each setting has a description: one sentence without a full stop.",
                because="command line options, the form and the manual's table come from it.",
                setting=name,
                description=field.description,
            )

    def test_settings_have_a_json_schema(self, workplace: Workplace[Any]) -> None:
        """For forms."""
        schema = workplace.model().model_json_schema()
        json.dumps(schema)
        expect(
            set(schema.get("properties", {})) == set(workplace.model().model_fields),
            "the settings have a JSON Schema with all of them.",
            because="forms are made from it.",
            schema=schema,
        )

    def test_settings_that_sound_secret_are_secret(self, workplace: Workplace[Any]) -> None:
        """``password``, ``client_secret``, ``api_key``…"""
        fields: dict[str, FieldInfo] = dict(workplace.model().model_fields)
        for name, field in fields.items():
            expect(
                not SOUNDS_SECRET.search(name) or is_secret(field),
                "a secret setting is a SecretStr.",
                because="what is secret is sealed and masked by its type (invariant 11).",
                setting=name,
                type=field.annotation,
            )

    def test_secrets_stand_in_no_text_about_the_settings(self, workplace: Workplace[Any]) -> None:
        """Not in their repr, not in what is wrong with them."""
        from pydantic import ValidationError

        model, values = workplace.model(), workplace.values()
        settings = model.model_validate(values)
        secrets = workplace.secrets()

        expect_no_secret(secrets, "the settings' text", f"{settings!r} {settings}")
        with pytest.raises(ValidationError) as caught:
            model.model_validate({**values, "no_such_setting": 1})
        expect_no_secret(secrets, "the settings' problems", str(caught.value))

    def test_settings_survive_being_stored(self, workplace: Workplace[Any]) -> None:
        """The public ones as JSON, the secret ones sealed."""
        model = workplace.model()
        settings = model.model_validate(workplace.values())

        public, hidden = split(settings)
        again = model.model_validate({**json.loads(json.dumps(public)), **hidden})

        expect(
            again == settings,
            "settings that were stored as JSON and read again are equal.",
            because="the runner works with what is stored.",
            stored=public,
            fields=secret_fields(model),
        )


class SettingsCases(ModelCases):
    """Nothing is connected before it has to be."""

    def test_opening_a_session_connects_nothing(self, workplace: Workplace[Any]) -> None:
        """The first call that needs the server connects."""
        if "be_silent" not in workplace.harness.unsupported:
            workplace.harness.be_silent()
        before = workplace.exchanged()

        session = workplace.new_session(impatient=True)
        after = workplace.exchanged()
        session.close()

        expect(
            before == after,
            "opening a session connects nothing.",
            because="`check` reports every step, connecting included, and a session that is opened "
            "and closed costs the server nothing.",
            bytes=after - before,
        )
