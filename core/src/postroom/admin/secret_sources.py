"""Where secrets are read from: the environment, a file, or (discouraged) the text itself."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from postroom.plugin_settings import is_file, secret_fields

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings

_STAND_IN: Final = "?"  # a secret that cannot be read: its field is not also reported as missing


class SecretSource:
    """Resolves secret settings; `problems` and `in_clear` tell what was found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[tuple[str, str]] = []
        self.in_clear: list[str] = []

    def resolve(self, model: type[TransportSettings], values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with secrets read and paths of files made absolute.

        ``FIELD_file = "PATH"`` means ``FIELD = { file = "PATH" }``, as it does for the options.
        """
        secret = secret_fields(model)
        resolved: dict[str, Any] = {}
        for key, value in values.items():
            name, _, way = key.rpartition("_")
            if way in ("file", "env") and name in secret:
                if name in values:
                    self.problems.append((key, f"is given by {name} already"))
                else:
                    resolved[name] = self._secret(model, name, {way: value}, key)
            elif key in secret:
                resolved[key] = self._secret(model, key, value, key)
            elif key.endswith("_file") and isinstance(value, str) and value:
                resolved[key] = str(self._folder / Path(value).expanduser())
            else:
                resolved[key] = value
        return resolved

    def _secret(self, model: type[TransportSettings], name: str, value: Any, key: str) -> str:
        try:
            if isinstance(value, str):
                self.in_clear.append(name)
                return value
            if isinstance(value, Mapping) and [*value] == ["env"]:
                return from_environment(value["env"])
            if isinstance(value, Mapping) and [*value] == ["file"]:
                binary = is_file(model.model_fields[name])
                return from_file(self._folder, value["file"], binary=binary)
            raise ValueError('must be { env = "NAME" } or { file = "PATH" }')
        except ValueError as error:
            self.problems.append((key, str(error)))
            return _STAND_IN


def from_environment(variable: Any) -> str:
    """Return the content of an environment variable.

    :raises ValueError: there is none of that name, or it is empty
    """
    value = os.environ.get(variable) if isinstance(variable, str) else None
    if not value:
        raise ValueError(f"the environment variable {variable} is not set, or empty")
    return value


def from_file(folder: Path, path: Any, *, binary: bool = False) -> str:
    """Return the content of a file, less the line's end.

    :param binary: what is no text is returned as base64
    :raises ValueError: it cannot be read, or is empty
    """
    if not isinstance(path, str) or not path:
        raise ValueError("file must be a path")
    place = folder / Path(path).expanduser()
    try:
        content = place.read_bytes()
        text = content.decode("utf-8-sig")  # some editors begin a text with a byte order mark
    except OSError as error:
        raise ValueError(f"the file {place} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        if binary:
            return base64.b64encode(content).decode()
        raise ValueError(f"the file {place} is not text in UTF-8") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"the file {place} is empty")
    return text
