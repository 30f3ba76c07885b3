"""Every setting of every plugin of ours takes from a TOML file what its type is there, and nothing
that only reads like it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import pytest
from postroom import plugins
from postroom.api.settings import TransportSettings
from postroom.errors import InputError
from postroom.plugin_settings import fit, mistyped, secret_fields

VALUES: Final = (True, 1, 1.5, "1", "true", ["1"], {"a": "1"}, date(2026, 1, 31))
"""One of each type that TOML has, and texts that read like others."""
TAKES: Final[dict[Any, tuple[type, ...]]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    list: (list,),
    Literal: (str,),
}


def models() -> dict[str, type[TransportSettings]]:
    loaded = plugins.load()
    found = {}
    for name, transport in loaded.transports.items():
        found[f"{name} incoming"] = transport.receiver_settings()
        found[f"{name} outgoing"] = transport.sender_settings()
    for name, kind in loaded.credential_kinds.items():
        found[f"credential {name}"] = kind.settings()
    return {name: model for name, model in found.items() if model is not None}


def kind_of(annotation: Any) -> Any:
    """Return a key of `TAKES`."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    return get_origin(annotation) or annotation


def settings() -> Iterator[Any]:
    for place, model in models().items():
        for name, field in model.model_fields.items():
            if name not in secret_fields(model):
                yield pytest.param(model, name, kind_of(field.annotation), id=f"{place} {name}")


@pytest.mark.parametrize(("model", "name", "kind"), list(settings()))
def test_setting_takes_its_type_only(model: Any, name: str, kind: Any) -> None:
    wrong = [value for value in VALUES if type(value) not in TAKES[kind]]

    assert [value for value in wrong if not is_refused(model, name, value)] == []


def is_refused(model: type[TransportSettings], name: str, value: Any) -> bool:
    problems = mistyped(model, {name: value})
    with pytest.raises(InputError) as caught:  # what is required is missing at least
        fit(model, {name: value, "no_such_setting": 1}, "The settings")
    return any(one.field == name for one in [*problems, *caught.value.problems])


@pytest.mark.parametrize(("model", "name", "kind"), list(settings()))
def test_setting_takes_its_default(model: Any, name: str, kind: Any) -> None:
    field = model.model_fields[name]
    default = None if field.is_required() else field.get_default(call_default_factory=True)

    assert default is None or type(default) in TAKES[kind]
    assert default is None or mistyped(model, {name: default}) == []


@pytest.mark.parametrize(
    "place", [place for place in models() if "timeout_seconds" in models()[place].model_fields]
)
def test_a_number_may_be_whole(place: str) -> None:
    assert mistyped(models()[place], {"timeout_seconds": 30}) == []


def test_all_plugins_of_ours_are_looked_at() -> None:
    wanted = "imap pop3 smtp ews graph maildir mbox eml microsoft google".split()

    assert [word for word in wanted if not any(word in place for place in models())] == []
