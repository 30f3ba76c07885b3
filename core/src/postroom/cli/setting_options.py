"""Options of commands that come from a settings model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from postroom.admin.secret_sources import from_environment, from_file
from postroom.api.errors import Problem
from postroom.api.settings import TransportSettings
from postroom.cli.arguments import is_interactive
from postroom.errors import InputError
from postroom.plugin_settings import MISSING, fit, is_file, is_secret, secret_fields


def plain_value(key: str, value: Any) -> Any:
    """Return what an option was given, as a setting."""
    if isinstance(value, tuple):
        return list(value)
    if value == "":
        return None
    if key.endswith("_file"):
        return str(Path(value).expanduser().absolute())  # the runner has another folder
    return value


def given_secret(
    model: type[TransportSettings], field: str, options: Mapping[str, Any]
) -> str | None:
    """Return a secret that an option names the place of; None if none does."""
    variable, path = options.get(f"{field}_env"), options.get(f"{field}_file")
    flag = f"--{field.replace('_', '-')}"
    if variable is not None and path is not None:
        raise click.UsageError(f"Give {flag}-env or {flag}-file, not both.")
    try:
        if variable is not None:
            return from_environment(variable)
        if path is not None:
            return from_file(Path.cwd(), path, binary=is_file(model.model_fields[field]))
    except ValueError as error:
        raise InputError(f"{flag}: {error}.") from error
    return None


def prompt_secret(field: str, values: dict[str, Any], *, is_wanted: bool = False) -> None:
    """Ask for a secret where somebody can answer; nobody is asked twice for what is set.

    :param is_wanted: there is no doing without it
    """
    if not is_interactive():
        return
    label = field.replace("_", " ").capitalize()
    if is_wanted:
        values[field] = click.prompt(label, hide_input=True, err=True)
        return
    label += " (empty: none)"
    answer = click.prompt(label, hide_input=True, default="", show_default=False, err=True)
    if answer:
        values[field] = answer


def is_wanted(field: str, model: type[TransportSettings], values: Mapping[str, Any]) -> bool:
    """Say whether settings without a secret are refused for the lack of it."""
    try:
        fit(model, values, "")
    except InputError as error:
        return any(_names(problem, field) for problem in error.problems)
    return False


def tell_how_secrets_are_given(
    error: InputError, model: type[TransportSettings], values: Mapping[str, Any]
) -> None:
    """Put it into the next step of an error that may be about a secret which was not given: it
    names one, or more is missing, and then secrets were not looked at yet."""
    absent = [field for field in secret_fields(model) if field not in values]
    misses = any(problem.sentence == MISSING for problem in error.problems)
    flags = [
        f"--{field.replace('_', '-')}"
        for field in absent
        if misses or any(_names(problem, field) for problem in error.problems)
    ]
    if flags:
        ways = ", ".join(f"{flag}-env NAME or {flag}-file PATH" for flag in flags)
        error.next_step = f"Correct what is named; secrets are given by {ways}."


def _names(problem: Problem, field: str) -> bool:
    return re.search(rf"\b{field}\b", f"{problem.field} {problem.sentence}") is not None


# ---------------------------------------------------------------------------- model to options


def setting_options(name: str, field: FieldInfo) -> list[click.Option]:
    """Return the options for one setting of a transport."""
    flag = f"--{name.replace('_', '-')}"
    text = field.description or ""
    if is_secret(field):
        return [
            click.Option(
                [f"{flag}-env", f"{name}_env"],
                metavar="NAME",
                help=f"{text}: environment variable that holds it.",
            ),
            click.Option(
                [f"{flag}-file", f"{name}_file"],
                metavar="PATH",
                help=f"{text}: file that holds it.",
            ),
        ]
    return [_option(name, flag, field, f"{text}.{_default_text(field)}")]


def _option(name: str, flag: str, field: FieldInfo, text: str) -> click.Option:
    kind = _bare(field.annotation)
    if kind is bool:
        off = f"--no-{name.replace('_', '-')}"
        return click.Option([f"{flag}/{off}", name], default=None, help=text)
    if get_origin(kind) in (list, tuple, set, frozenset):
        return click.Option([flag, name], multiple=True, help=f"{text} Repeatable.")
    if get_origin(kind) is Literal:
        choice = click.Choice([str(value) for value in get_args(kind)])
        return click.Option([flag, name], type=choice, help=text)
    types: dict[Any, Any] = {int: int, float: float}
    return click.Option([flag, name], type=types.get(kind, str), help=text)


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "  [required]"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or isinstance(default, bool):
        return f"  [default: {'yes' if default else 'no'}]" if default is not None else ""
    if isinstance(default, list | tuple):
        return f"  [default: {', '.join(map(str, default))}]"
    return f"  [default: {default}]"


def _bare(annotation: Any) -> Any:
    """Return a type without `Annotated` and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else str
    return annotation
