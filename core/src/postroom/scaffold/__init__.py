"""Writes a new plugin package: ``postroom plugin new``.

The template beside this file is a plugin that works, for an invented service called Courier; its
names are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from postroom.errors import InputError

if TYPE_CHECKING:
    from postroom.plugin_loading import InstalledPlugin

TEMPLATE: Final = Path(__file__).parent / "template"
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 31


@dataclass(frozen=True, slots=True)
class Names:
    """What a plugin's name becomes in code.

    :raises InputError: it cannot be a transport's name
    """

    transport: str
    """``my-mail``"""

    def __post_init__(self) -> None:
        if len(self.transport) > _LONGEST or not _NAME.fullmatch(self.transport):
            raise InputError(
                f'"{self.transport[:80]}" cannot be the name of a transport.',
                next_step="Use lower case letters, digits and hyphens, as in my-mail.",
            )

    @property
    def distribution(self) -> str:
        """``postroom-my-mail``"""
        return f"postroom-{self.transport}"

    @property
    def module(self) -> str:
        """``postroom_my_mail``"""
        return self.distribution.replace("-", "_")

    @property
    def title(self) -> str:
        """``MyMail``, of classes and for people."""
        return "".join(word.capitalize() for word in self.transport.split("-"))

    def put_into(self, text: str) -> str:
        """Replace the template's names in a file, or in its path."""
        for old, new in (
            ("postroom_courier", self.module),
            ("postroom-courier", self.distribution),
            ("Courier", self.title),
            ("courier", self.transport),
        ):
            text = text.replace(old, new)
        return text


def refuse_taken(names: Names, installed: Iterable[InstalledPlugin]) -> None:
    """See that the new plugin could be installed beside those that are.

    :raises InputError: its transport is another plugin's, or its package would replace another
    """
    for one in installed:
        if names.transport in one.transports:
            raise InputError(
                f"The transport {names.transport} is there already, in the plugin {one.name}; of "
                "two with one name the second is broken.",
                next_step="Choose another name; or leave that plugin out with "
                f"POSTROOM_DISABLE_PLUGINS={one.name} if yours is to take its place.",
            )
        if one.distribution.replace("_", "-").lower() == names.distribution:
            raise InputError(
                f"The package {one.distribution} is installed already, with the plugin {one.name}.",
                next_step="Choose another name.",
            )


def files(names: Names) -> Iterator[tuple[Path, str]]:
    """Yield what a new package consists of: relative paths and texts."""
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and ".pytest_cache" not in path.parts:
            relative = names.put_into(path.relative_to(TEMPLATE).as_posix())
            yield Path(relative), names.put_into(path.read_text(encoding="utf-8"))


def write(names: Names, folder: Path) -> list[Path]:
    """Write a new package; return its files, relative to the folder.

    :param folder: must not exist, or be empty
    :raises InputError: there is something already
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} is there already.", next_step="Name another folder with --into."
        )
    written = []
    for relative, text in files(names):
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(relative)
    return written
