"""Applies a TOML file: all of it in one transaction, or, with every problem named, nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from postroom import names, secrets
from postroom.admin.secret_sources import SecretSource
from postroom.admin.toml_lines import Lines, Place
from postroom.api.errors import Problem, TransportError
from postroom.credentials import credentials
from postroom.credentials.tls import doubt_about_ca_file
from postroom.errors import InputError, NotFoundError, in_one_line
from postroom.mail.domains import address_key
from postroom.mailboxes import filters, mailboxes, segments, sides, topics
from postroom.mailboxes.mailbox_values import DEFAULTS
from postroom.plugin_settings import MISSING, WORDS, mistyped, model_of
from postroom.plugins import load as load_plugins
from postroom.store.database import transaction

if TYPE_CHECKING:
    from postroom.api.settings import TransportSettings

_TABLES: Final = ("segment", "topic", "filter", "credential", "mailbox")
_KEYS: Final = {
    "segment": ("name", "acknowledgement"),
    "topic": ("segment", "name"),
    "filter": ("segment", "name", "field", "pattern", "set", "ignore", "stop"),
    "mailbox": ("address", "incoming", "outgoing", *DEFAULTS),
}
_SET: Final = ("topic", "assignee", "status")
_OWN: Final = ("send_as", "reply_to", "save_to_sent")
_POSITION: Final = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)


@dataclass(slots=True)
class Applied:
    """What was changed, a line each, and what a person should know."""

    plan: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class File:
    """A configuration file that is well-formed TOML."""

    name: str
    folder: Path
    content: Mapping[str, Any]
    lines: Lines


class _RehearsalError(Exception):
    """Undoes the transaction of a dry run."""


def read(raw: bytes, *, name: str, folder: Path) -> File:
    """Read a file's bytes.

    :param folder: what relative paths in it start from
    :raises InputError: not UTF-8 or not TOML; says where
    """
    try:
        text = raw.decode("utf-8-sig")
        return File(name, folder, tomllib.loads(text), Lines(text))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name}, line {line}: the file is not in UTF-8.",
            next_step="Save it in UTF-8, and apply it again. Nothing was changed.",
        ) from error
    except tomllib.TOMLDecodeError as error:
        match = _POSITION.fullmatch(str(error))
        what, where = (match[1], match[2]) if match else (str(error), "somewhere")
        raise InputError(
            f"{name}, {where}: {what}.",
            next_step="The file is no well-formed TOML; see https://toml.io. Nothing was changed.",
        ) from error
    except RecursionError as error:
        raise InputError(
            f"{name}: arrays or tables stand in one another too deeply.",
            next_step="No setting needs more than a few. Nothing was changed.",
        ) from error


def apply(file: File, *, dry_run: bool = False) -> Applied:
    """Make the database as the file says; with `dry_run` only find out what would change.

    :raises InputError: with every problem by line and field; then nothing was changed
    """
    work = _Work(file, (lambda _: b"") if dry_run else secrets.seal)
    try:
        with transaction():
            work.run()
            if work.problems:
                work.problems.sort(key=lambda problem: problem[0])
                raise InputError(
                    f"{file.name} cannot be applied; nothing was changed.",
                    [Problem(f"line {line}, {place}", text) for line, place, text in work.problems],
                    next_step="Correct what is named, and apply it again.",
                )
            if dry_run:
                raise _RehearsalError
    except _RehearsalError:
        pass
    return work.applied


class _Work:
    """One pass over a file, inside the transaction."""

    def __init__(self, file: File, seal: Callable[[bytes], bytes]) -> None:
        self._file = file
        self._seal = seal
        self.applied = Applied()
        self.problems: list[tuple[int, str, str]] = []
        self._mistyped: set[Place] = set()

    def run(self) -> None:
        """Write everything, collecting what is wrong on the way."""
        segments.ensure_default()
        for key in self._file.content:
            if key not in _TABLES:
                self._problem((key,), key, f"is unknown; {names.nearest(key, _TABLES)}")
        for index, entry in self._entries("segment"):
            self._segment(index, entry)
        for index, entry in self._entries("topic"):
            self._topic(index, entry)
        self._filters()
        for index, entry in self._entries("credential"):
            self._credential(index, entry)
        for index, entry in self._entries("mailbox"):
            self._mailbox(index, entry)

    # ------------------------------------------------------------------------ entries

    def _segment(self, index: int, entry: dict[str, Any]) -> None:
        name = entry.get("name")
        with self._reporting("segment", index):
            changed = segments.put(name, entry.get("acknowledgement"))
            self._note(f"segment {name}", changed)
            return
        with suppress(InputError):  # so that what refers to it is not reported too; it is undone
            segments.put(name, None)

    def _topic(self, index: int, entry: dict[str, Any]) -> None:
        with self._reporting("topic", index):
            segment = entry.get("segment", segments.DEFAULT)
            changed = topics.put(segment, entry.get("name"))
            self._note(f"topic {entry['name']} of {segment}", changed)

    def _filters(self) -> None:
        orders: dict[str, list[str]] = {}
        for index, entry in self._entries("filter"):
            rules = self._rules(index, entry)
            with self._reporting("filter", index):
                segment = entry.pop("segment", segments.DEFAULT)
                name = entry.pop("name", None)
                wanted = {key: rules.get(key) for key in _SET}
                changed = filters.put(segment, name, {**entry, **wanted})
                self._note(f"filter {name} of {segment}", changed)
                orders.setdefault(names.name_key(segment), []).append(name)
        for segment, wanted_order in orders.items():
            if filters.order(segment, wanted_order):
                self._note(f"filters of {segment}", ["order"])

    def _rules(self, index: int, entry: dict[str, Any]) -> dict[str, Any]:
        """Take what a filter sets out of its entry."""
        rules = entry.pop("set", {})
        if not isinstance(rules, dict):
            self._problem(("filter", index, "set"), "set", "must be a table")
            entry.setdefault("stop", True)  # so that it is not said to do nothing, too
            return {}
        rules = dict(rules)
        self._unknown_keys(("filter", index, "set"), rules, _SET, "set.")
        return rules

    def _credential(self, index: int, entry: dict[str, Any]) -> None:
        name, kind_name = entry.pop("name", None), entry.pop("kind", None)
        end = entry.pop("expires_at", None)
        put = False
        with self._reporting("credential", index):
            kind = load_plugins().credential_kind(_word("kind", kind_name))
            values = self._read_settings(kind.settings(), entry, ("credential", index))
            changed = credentials.put(name, kind.name, values, expires_at=end, seal=self._seal)
            self._note(f"credential {name}", changed)
            put = True
        if not put and isinstance(name, str):  # so that what names it is not reported too
            credentials.pretend(name)

    def _mailbox(self, index: int, entry: dict[str, Any]) -> None:
        tables = {way: entry.pop(way, None) for way in ("incoming", "outgoing")}
        address = entry.pop("address", None)
        put = False
        with self._reporting("mailbox", index):
            if address is None:
                raise InputError("", [Problem("address", "is missing")])
            changed = mailboxes.put(address, entry, incoming_follows=tables["incoming"] is not None)
            self._note(f"mailbox {address}", changed)
            put = True
        for direction, way in WORDS.items():
            with self._reporting("mailbox", index, way):
                self._side(("mailbox", index, way), tables[way], direction, address if put else "")

    def _side(self, place: Place, table: Any, direction: str, address: str) -> None:
        """Set a side up, or without an address only look at it."""
        way = WORDS[direction]
        if table is None:
            if address and sides.remove(mailboxes.find(address), direction):
                self._note(f"mailbox {address}", [way], verb="removed")
            return
        if not isinstance(table, dict):
            raise InputError("", [Problem("", "must be a table")])
        values = dict(table)
        transport = _word("transport", values.pop("transport", None))
        own = {key: values.pop(key) for key in _OWN if direction == "out" and key in values}
        model = model_of(load_plugins().transport(transport), direction)
        values = self._read_settings(model, values, place, f"{way}.")
        if not address:
            sides.prepare(direction, transport, values, own)
            return
        mailbox = mailboxes.find(address)
        changed = sides.put(mailbox, direction, transport, values, own, seal=self._seal)[1]
        self._note(f"mailbox {address}, {way} {transport}", changed)

    def _read_settings(
        self, model: type[TransportSettings], table: dict[str, Any], place: Place, prefix: str = ""
    ) -> dict[str, Any]:
        """Return the settings of a plugin, secrets read; tell what can be told of them already."""
        source = SecretSource(self._file.folder)
        values = source.resolve(model, table)
        self._tell_of_secrets(source, place, prefix)
        if doubt := doubt_about_ca_file(values):
            self._warn((*place, "ca_file"), doubt)
        for problem in mistyped(model, values):
            spot = (*place, *problem.field.split("."))
            self._problem(spot, prefix + problem.field, problem.sentence)
            self._mistyped.add(spot)
        return values

    def _tell_of_secrets(self, source: SecretSource, place: Place, prefix: str) -> None:
        for name, text in source.problems:
            self._problem((*place, name), prefix + name, text)
        for name in source.in_clear:
            text = f"{name} stands in the file in clear"
            self._warn((*place, name), f'{text}; better {{ env = "NAME" }} or {{ file = "PATH" }}.')

    # ------------------------------------------------------------------------ reporting

    def _entries(self, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield copies of the entries of a kind that have a usable form, and are no repetition."""
        found = self._file.content.get(kind, [])
        if not isinstance(found, list):
            self._problem((kind,), kind, f"must be a list of tables: write [[{kind}]]")
            return
        seen: dict[object, int] = {}
        for index, entry in enumerate(found):
            place = (kind, index)
            if not isinstance(entry, dict):
                self._problem(place, kind, f"must be a table: write [[{kind}]]")
                continue
            entry = dict(entry)
            if kind in _KEYS:
                self._unknown_keys(place, entry, _KEYS[kind])
            line = self._file.lines.of(*place)
            earlier = seen.setdefault(_identity(kind, entry, index), line)
            if earlier != line:
                self._problem(place, kind, f"stands in line {earlier} already")
                continue
            yield index, entry

    def _unknown_keys(
        self,
        place: Place,
        table: dict[str, Any],
        known: tuple[str, ...],
        prefix: str = "",
    ) -> None:
        for key in [key for key in table if key not in known]:
            text = f"is unknown; {names.nearest(key, known)}"
            self._problem((*place, key), prefix + key, text)
            del table[key]

    @contextmanager
    def _reporting(self, *place: str | int) -> Iterator[None]:
        """Collect what the block raises, with the line it is about."""
        prefix = f"{place[2]}." if len(place) > 2 else ""
        try:
            yield
        except InputError as error:
            for problem in error.problems or [Problem("", error.sentence)]:
                if problem.field == "disposition":  # the mailbox's, found when a side was set up
                    self._problem((*place[:2], "disposition"), "disposition", problem.sentence)
                    continue
                spot = (*place, *problem.field.split("."))
                if spot in self._mistyped:
                    continue
                label = (prefix + problem.field).strip(".") or str(place[0])
                self._problem(spot, label, problem.sentence)
        except TransportError as error:  # the plugin is not installed
            text = in_one_line(error.sentence, error.next_step)
            what = "kind" if place[0] == "credential" else "transport"
            self._problem((*place, what), f"{prefix}{what}", text)
        except NotFoundError as error:
            self._problem((*place, "segment"), "segment", error.sentence)

    def _problem(self, place: Place, label: str, text: str) -> None:
        self.problems.append((self._file.lines.of(*place), label, text))

    def _warn(self, place: Place, text: str) -> None:
        line = self._file.lines.of(*place)
        self.applied.warnings.append(f"{self._file.name}, line {line}: {text}")

    def _note(self, what: str, changed: list[str], *, verb: str = "changed") -> None:
        if changed == ["added"]:
            self.applied.plan.append(f"{what}: added")
        elif changed:
            self.applied.plan.append(f"{what}: {', '.join(changed)} {verb}")


def _word(key: str, value: object) -> str:
    """Return the name of a plugin's offer.

    :raises InputError: it is none
    """
    if isinstance(value, str):
        return value
    raise InputError("", [Problem(key, MISSING if value is None else "must be text")])


def _identity(kind: str, entry: Mapping[str, Any], index: int) -> object:
    """Return by what an entry is told from others."""
    if kind == "mailbox" and isinstance(entry.get("address"), str):
        return address_key(entry["address"])
    name = entry.get("name")
    if kind == "mailbox" or not isinstance(name, str):
        return index
    segment = entry.get("segment", segments.DEFAULT) if kind in ("topic", "filter") else ""
    return names.name_key(str(segment)), names.name_key(name)
