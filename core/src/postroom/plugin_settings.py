"""Settings of a transport, or of a kind of credential, against its model: problems in plain words,
secrets told from the rest, and sealed.

pydantic is imported when it is needed; it takes a third of a second.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import date, time
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from postroom import names, secrets
from postroom.api import codes
from postroom.api.credential import CredentialKind
from postroom.api.errors import Problem, SettingsError
from postroom.api.transport import Transport
from postroom.errors import InputError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from postroom.api.settings import TransportSettings
    from postroom.store.models import Credential, Side

S = TypeVar("S", bound="TransportSettings")
WORDS: Final = {"in": "incoming", "out": "outgoing"}
"""The sides of a mailbox, for people."""
CORRECT: Final = "Correct what is named; nothing was changed."
"""The next step after settings that are not right."""
MASK: Final = "********"
"""What is shown of a secret."""


def model_of(transport: Transport, direction: str) -> type[TransportSettings]:
    """Return the settings model of a transport for ``in`` or ``out``.

    :raises InputError: the transport does not go that way
    """
    incoming = direction == "in"
    model = transport.receiver_settings() if incoming else transport.sender_settings()
    if model is None:
        verb = "receive" if incoming else "send"
        problem = Problem("transport", f'"{transport.name}" cannot {verb} mail')
        raise InputError(
            f'The transport "{transport.name}" cannot {verb} mail.',
            [problem],
            next_step="Choose another transport; `postroom mailbox "
            f"{WORDS[direction]} ADDRESS --help` lists those that can.",
        )
    return model


def goes(transport: Transport, direction: str) -> bool:
    """Say whether a transport goes ``in`` or ``out``; one whose plugin fails on that does not."""
    try:
        model_of(transport, direction)
    except InputError:
        return False
    except (Exception, SystemExit):  # one bad plugin never stops a list of all
        logger.exception("The transport %s does not tell its settings", transport.name)
        return False
    return True


def up_to_date(
    values: dict[str, Any], version: int, plugin: Transport | CredentialKind, what: str
) -> dict[str, Any]:
    """Return stored values as the installed plugin has them.

    :param version: of the settings that are stored
    :param what: for people, what the values are of: "The incoming settings are"
    :raises SettingsError: the plugin that stored them was newer
    """
    if version > plugin.settings_version:
        raise SettingsError(
            codes.SETTINGS_INVALID,
            f"{what} of a newer plugin for {plugin.name}.",
            next_step="Upgrade the plugin here too.",
        )
    return (
        values if version == plugin.settings_version else plugin.migrate_settings(version, values)
    )


def validate(transport: Transport, direction: str, values: Mapping[str, Any]) -> TransportSettings:
    """Return the settings, validated.

    :raises InputError: with every problem, by field, in plain words
    """
    what = f"The {WORDS[direction]} settings for {transport.name}"
    return fit(model_of(transport, direction), values, what)


def fit(model: type[S], values: Mapping[str, Any], what: str) -> S:
    """Return values as their model has them.

    :param what: what the sentence begins with
    :raises InputError: with every problem, by field, in plain words
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [_explain(one, model) for one in error.errors(include_url=False)]
        raise InputError(
            f"{what} are not right.",
            problems,
            next_step=CORRECT,
        ) from error  # hide_input_in_errors: no value is in it


def mistyped(model: type[TransportSettings], values: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with values that a TOML file gave, where a text is no number and a
    truth is none either; `fit`, which takes what a command line gave, may find more.

    pydantic's strict mode for JSON is meant: what JSON has no type for is still read out of text.
    TOML's dates are left to `fit`, and so are secrets, which come from elsewhere.
    """
    from pydantic import ValidationError

    hidden = secret_fields(model)
    judged = {
        name
        for name, value in values.items()
        if name not in hidden and not isinstance(value, date | time)
    }
    document = json.dumps(dict(values), ensure_ascii=False, default=str)
    try:
        model.model_validate_json(document.encode(errors="replace"), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        return [_explain(one, model) for one in found if {*one["loc"][:1]} & judged]
    return []


# ---------------------------------------------------------------------------- secret fields


def secret_fields(model: type[TransportSettings]) -> list[str]:
    """Return the names of the secret settings of a model."""
    return [name for name, field in model.model_fields.items() if is_secret(field)]


def is_secret(field: FieldInfo) -> bool:
    """Say whether a setting is secret."""
    from pydantic import SecretBytes, SecretStr

    def mentions(kind: Any) -> bool:
        return kind in (SecretStr, SecretBytes) or any(mentions(part) for part in get_args(kind))

    return mentions(field.annotation)


def is_file(field: FieldInfo) -> bool:
    """Say whether a secret setting is the content of a file."""
    from postroom.api.settings import FileContent

    return any(isinstance(one, FileContent) for one in field.metadata)


def split(settings: TransportSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the public settings, and the secret ones that are set in clear."""
    hidden = secret_fields(type(settings))
    clear = {
        name: value.get_secret_value()
        for name in hidden
        if (value := getattr(settings, name)) is not None
    }
    return settings.model_dump(mode="json", exclude=set(hidden)), clear


def stored_columns(
    settings: TransportSettings, seal: Callable[[bytes], bytes] = secrets.seal
) -> dict[str, Any]:
    """Return settings as a `Side` or a `Credential` has them."""
    public, hidden = split(settings)
    return {
        "settings": public,
        "secret_fields": secret_fields(type(settings)),
        "sealed": seal(json.dumps(hidden).encode()) if hidden else None,
    }


def stored_values(row: Side | Credential) -> dict[str, Any]:
    """Return what is stored, secrets in clear.

    :raises KeyUnusableError: the secrets cannot be opened
    """
    hidden = json.loads(secrets.unseal(row.sealed)) if row.sealed is not None else {}
    return {**row.settings, **hidden}


# ---------------------------------------------------------------------------- plain words

MISSING: Final = "is missing"
"""The sentence for a setting that has to be given."""
_PLAIN: Final = {
    "missing": MISSING,
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
}


def _number(value: Any) -> Any:
    """Return a limit as the manual has it: 3600, not 3600.0."""
    return f"{value:g}" if isinstance(value, float) else value


def _explain(error: Mapping[str, Any], model: type[TransportSettings]) -> Problem:
    """Put one of pydantic's errors into plain words."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return Problem(field, f"is unknown; {names.nearest(field, model.model_fields)}")
    pattern = _PLAIN.get(error["type"])
    if pattern is not None:
        limits = {name: _number(value) for name, value in error.get("ctx", {}).items()}
        return Problem(field, pattern.format(**limits))
    sentence = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return Problem(field, sentence)
