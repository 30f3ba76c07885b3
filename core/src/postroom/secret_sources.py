"""Where secrets are read from: the environment, a file, or (discouraged) the text itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from postroom.plugins import load as load_plugins
from postroom.side_settings import model_of, secret_fields

_STAND_IN: Final = "?"  # a secret that cannot be read: its field is not also reported as missing


class SecretSource:
    """Resolves the secrets of one side; `problems` and `in_clear` tell what was found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[tuple[str, str]] = []
        self.in_clear: list[str] = []

    def resolve(self, transport: str, direction: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with secrets read and paths of files made absolute.

        :raises SettingsError: the transport is not installed
        :raises InputError: it does not go that way
        """
        model = model_of(load_plugins().transport(transport), direction)
        secret = secret_fields(model)
        resolved = dict(values)
        for name, value in values.items():
            if name in secret:
                resolved[name] = self._secret(name, value)
            elif name.endswith("_file") and isinstance(value, str) and value:
                resolved[name] = str(self._folder / Path(value).expanduser())
        return resolved

    def _secret(self, name: str, value: Any) -> str:
        try:
            if isinstance(value, str):
                self.in_clear.append(name)
                return value
            if isinstance(value, Mapping) and [*value] == ["env"]:
                return from_environment(value["env"])
            if isinstance(value, Mapping) and [*value] == ["file"]:
                return from_file(self._folder, value["file"])
            raise ValueError('must be { env = "NAME" } or { file = "PATH" }')
        except ValueError as error:
            self.problems.append((name, str(error)))
            return _STAND_IN


def from_environment(variable: Any) -> str:
    """Return the content of an environment variable.

    :raises ValueError: there is none of that name, or it is empty
    """
    value = os.environ.get(variable) if isinstance(variable, str) else None
    if not value:
        raise ValueError(f"the environment variable {variable} is not set")
    return value


def from_file(folder: Path, path: Any) -> str:
    """Return the content of a file, less the line's end.

    :raises ValueError: it cannot be read, or is empty
    """
    if not isinstance(path, str) or not path:
        raise ValueError("file must be a path")
    place = folder / Path(path).expanduser()
    try:
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"the file {place} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {place} is not text in UTF-8") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"the file {place} is empty")
    return text
