"""Writes the generated parts of the documentation, from the code they describe.

A generated part stands between two markers: ``<!-- generated: NAME -->`` and ``<!-- end -->``.
``scripts/docs`` writes them anew; ``scripts/docs --check`` only compares, and fails with a diff.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import click
import reference
from postroom import plugins, scaffold
from postroom.admin import apply
from postroom.api import Code, codes
from postroom.cli import cli
from postroom.mailboxes.mailbox_values import DEFAULTS
from postroom.plugin_settings import is_secret

FOLDER: Final = Path(__file__).resolve().parent
PAGES: Final = (FOLDER.parent / "README.md", *sorted(FOLDER.glob("*.md")))
_PART: Final = re.compile(
    r"(<!-- generated: (?P<name>[\w ./-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL
)
_CODE_OR_TITLE: Final = re.compile(r'^# (?P<title>.+)$|^    "(?P<code>[A-Z0-9-]+)",$', re.MULTILINE)

_MAILBOX_MEANINGS: Final = {
    "address": "The address. Case is ignored. It names the mailbox in every command",
    "name": "Display name of the sender of answers",
    "segment": "The segment that its questions belong to",
    "enabled": "Whether it is retrieved. Answers go out all the same",
    "topic": "Topic of the questions that it opens, unless a filter sets another",
    "disposition": "What happens on the server with a message that is safely stored. "
    "See [dispositions](#dispositions)",
    "start": "From when on mail is new. See [start](#start)",
    "acknowledge": "Whether a new question is acknowledged. "
    "See [acknowledgements](questions.md#acknowledgements)",
    "aliases": "Other addresses of this mailbox. Mail from one of them is our own",
    "poll_seconds": "Time between two retrievals, from 1 to 86400. Where the server can push "
    "(IMAP IDLE), new mail is retrieved at once",
    "max_message_bytes": "A larger message stays on the server, `refused`; at most 2147483647",
    "incoming": "Where mail comes from: `transport` and its settings",
    "outgoing": "How answers are sent: `transport` and its settings",
}
_MAILBOX_TYPES: Final = {
    "address": "text",
    "name": "text",
    "segment": "text",
    "enabled": "true or false",
    "topic": "text",
    "disposition": '`"leave"`, `"seen"`, `"delete"` or `{ move = "FOLDER" }`',
    "start": '`"now"`, `"all"` or a date',
    "acknowledge": "true or false",
    "aliases": "list of text",
    "poll_seconds": "whole number",
    "max_message_bytes": "whole number",
    "incoming": "table",
    "outgoing": "table",
}
_OTHER_MEANINGS: Final = {
    "segment": {
        "name": ("text", "required", "Its name. Case is ignored"),
        "acknowledgement": ("text", "", "Template of acknowledgements; a built-in one by default"),
    },
    "topic": {
        "segment": ("text", "`default`", "The segment it belongs to"),
        "name": ("text", "required", "Its name. Case is ignored"),
    },
    "filter": {
        "segment": ("text", "`default`", "The segment it belongs to"),
        "name": ("text", "required", "Its name. Case is ignored"),
        "field": ("text", "required", "`subject`, `body`, `from`, `to` or `header:NAME`"),
        "pattern": ("text", "required", "Regular expression that has to be found in the field"),
        "set": ("table", "", "Of `topic`, `assignee` and `status` those that it sets"),
        "ignore": ("text", "", "Make no question of the message, for this reason"),
        "stop": ("true or false", "false", "Apply no filter after this one"),
    },
}
_OWN_MEANINGS: Final = {
    "send_as": ("text", "the mailbox's address", "Address in From, and the envelope's sender"),
    "reply_to": ("text", "the mailbox's address", "Address that answers of customers go to"),
    "save_to_sent": (
        "true or false",
        "true",
        "Keep a copy in the Sent folder, where the transport can (SMTP cannot)",
    ),
}


# ---------------------------------------------------------------------------- errors


def errors() -> Iterator[str]:
    """Yield the catalogue: a heading for each code, in the order of the source."""
    _import_plugins()
    left = dict(codes.CATALOGUE)
    for match in _CODE_OR_TITLE.finditer(inspect.getsource(codes)):
        if match["title"]:
            yield from (f"## {match['title']}", "")
        elif code := left.pop(match["code"], None):
            yield from _error(code)
    if left:
        yield from ("## Of single plugins", "")
    for name in sorted(left):
        yield from _error(left[name])


def _import_plugins() -> None:
    """Import every module of the installed plugins, so that their codes are in the catalogue."""
    for plugin in plugins.load().installed:
        package = importlib.import_module(plugin.module.partition(".")[0])
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def _error(code: Code) -> Iterator[str]:
    yield from (f"### {code.name}", "", code.meaning, "", f"**Next step:** {code.next_step}", "")


# ---------------------------------------------------------------------------- commands


def commands() -> Iterator[str]:
    """Yield every command with its arguments and options."""
    context = click.Context(cli, info_name="postroom")
    yield from _options_table(cli, context)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None:
            yield from (f"## {name}", "")
            yield from _command(command, context, name)


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    if not isinstance(command, click.Group):
        yield from _usage(command, context)
        return
    yield from (*_paragraphs(command.help or ""), "")
    for sub_name in command.list_commands(context):
        sub_command = command.get_command(context, sub_name)
        if sub_command is not None:
            yield from (f"### {_path(context)} {sub_name}", "")
            yield from _nested(sub_command, context, sub_name)


def _nested(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """Yield a command below a noun; one with transports has commands of its own."""
    context = click.Context(command, info_name=name, parent=parent)
    if not isinstance(command, click.Group):
        yield from _usage(command, context)
        return
    yield from (*_paragraphs(command.help or ""), "")
    for transport in command.list_commands(context):
        sub_command = command.get_command(context, transport)
        if sub_command is not None:
            own = " ".join(a.make_metavar(context) for a in _arguments(command))
            yield from (f"#### {_path(context)} {own} {transport}", "")
            yield from _usage(sub_command, click.Context(sub_command, context, transport))


def _arguments(command: click.Command) -> list[click.Argument]:
    return [param for param in command.params if isinstance(param, click.Argument)]


def _path(context: click.Context) -> str:
    names = []
    current: click.Context | None = context
    while current is not None:
        names.append(current.info_name or "")
        current = current.parent
    return " ".join(reversed(names))


def _usage(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", f"{context.command_path} {usage}".strip(), "```", "")
    yield from (*_paragraphs(command.help or ""), "")
    yield from _options_table(command, context)
    if command.epilog:
        kind, _, example = command.epilog.partition(": ")
        yield from (f"{kind}: `{example}`", "")


def _options_table(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [p for p in command.params if isinstance(p, click.Option)]
    rows = [(_flags(option, context), _help(option)) for option in options]
    if rows:
        yield from _table(("option", "meaning"), rows)


def _flags(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.secondary_opts:
        names += ", " + ", ".join(f"`{name}`" for name in option.secondary_opts)
    if option.is_flag:
        return names
    return f"{names} {option.make_metavar(context).removesuffix(' RANGE')}"


def _help(option: click.Option) -> str:
    text = " ".join((option.help or "").replace("[default:", "Default:").split())
    text = re.sub(r"Default: ([^\]]*)\]", r"Default: \1.", text).replace("[required]", "Required.")
    if option.show_default:
        text += f" Default: {option.default}."
    elif option.required:
        text += " Required."
    return text


def _paragraphs(text: str) -> list[str]:
    paragraphs = [" ".join(p.split()) for p in inspect.cleandoc(text).split("\n\n")]
    return "\n\n".join(paragraphs).split("\n")


# ---------------------------------------------------------------------------- settings


def mailbox_settings() -> Iterator[str]:
    """Yield the table of what stands in ``[[mailbox]]``."""
    known = _same_names(apply._KEYS["mailbox"], _MAILBOX_MEANINGS, "mailbox")
    rows = [
        (f"`{name}`", _MAILBOX_TYPES[name], _default_of(name), _MAILBOX_MEANINGS[name])
        for name in known
    ]
    yield from _table(("key", "type", "default", "meaning"), rows)


def _default_of(name: str) -> str:
    if name == "address":
        return "required"
    value = DEFAULTS.get(name)
    if value is None or value == "":
        return ""
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def other_settings(kind: str) -> Callable[[], Iterator[str]]:
    """Return a writer of the table of what stands in ``[[segment]]``, say."""

    def write() -> Iterator[str]:
        meanings = _OTHER_MEANINGS[kind]
        known = _same_names(apply._KEYS[kind], meanings, kind)
        rows = [(f"`{name}`", *meanings[name]) for name in known]
        yield from _table(("key", "type", "default", "meaning"), rows)

    return write


def outgoing_settings() -> Iterator[str]:
    """Yield the table of what every outgoing side has, whatever its transport."""
    known = _same_names(apply._OWN, _OWN_MEANINGS, "outgoing")
    rows = [(f"`{name}`", *_OWN_MEANINGS[name]) for name in known]
    yield from _table(("key", "type", "default", "meaning"), rows)


def _same_names(known: Sequence[str], described: Mapping[str, object], where: str) -> Sequence[str]:
    if {*known} != {*described}:
        odd = ", ".join({*known} ^ {*described})
        sys.exit(f"docs/generate.py describes other keys of {where} than there are: {odd}")
    return known


def transport_settings(name: str) -> Callable[[], Iterator[str]]:
    """Return a writer of the table of a transport's settings."""

    def write() -> Iterator[str]:
        transport = plugins.load().transport(name)
        sides = {"incoming": transport.receiver_settings(), "outgoing": transport.sender_settings()}
        models = {side: model for side, model in sides.items() if model is not None}
        if not models:
            sys.exit(f"The transport {name} has no settings")
        rows = {}
        for side, model in models.items():
            for key, field in model.model_fields.items():
                text = field.description or ""
                if is_secret(field):
                    text += '. Write `{ env = "NAME" }` or `{ file = "PATH" }`'
                if any(key not in other.model_fields for other in models.values()):
                    text += f" (only {side})"
                rows[key] = (f"`{key}`", _type_of(field.annotation), _field_default(field), text)
        yield from _table(("key", "type", "default", "meaning"), list(rows.values()))

    return write


def credential_settings(name: str) -> Callable[[], Iterator[str]]:
    """Return a writer of the table of the settings of a kind of credential."""

    def write() -> Iterator[str]:
        rows = []
        for key, field in plugins.load().credential_kind(name).settings().model_fields.items():
            text = field.description or ""
            if is_secret(field):
                env = f'`{key} = {{ env = "NAME" }}`'
                text += f'. Write {env} or `{key}_file = "PATH"`'
            rows.append((f"`{key}`", _type_of(field.annotation), _field_default(field), text))
        yield from _table(("key", "type", "default", "meaning"), rows)

    return write


def _field_default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value is None else f"`{_toml(value)}`"


_WORDS: Final = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}


def _type_of(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_of(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(_type_of(part) for part in parts if part is not type(None))
    if origin is Literal:
        return ", ".join(f'`"{part}"`' for part in parts)
    if origin in (list, tuple, set, frozenset):
        return f"list of {_type_of(parts[0])}"
    return _WORDS.get(annotation, "secret text")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


# ---------------------------------------------------------------------------- a plugin's files

_FENCES: Final = {".py": "py", ".toml": "ini"}


def template_file(name: str) -> Callable[[], Iterator[str]]:
    """Return a writer of a file that ``postroom plugin new courier`` writes."""

    def write() -> Iterator[str]:
        text = (scaffold.TEMPLATE / name).read_text(encoding="utf-8").rstrip()
        yield f"```{_FENCES[Path(name).suffix]}\n{text}\n```"

    return write


# ---------------------------------------------------------------------------- pages

_COURIER: Final = scaffold.Names("courier")
_WRITERS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "errors": errors,
    "commands": commands,
    "mailbox settings": mailbox_settings,
    "outgoing settings": outgoing_settings,
    **{f"{name} settings": credential_settings(name) for name in ("microsoft", "google")},
    **{f"{kind} settings": other_settings(kind) for kind in _OTHER_MEANINGS},
    "hooks": reference.hooks,
    "api": reference.api,
    "kit": reference.kit,
    "harness table": reference.harness_table,
    "cases table": reference.cases_table,
    **{f"file {path}": template_file(str(path)) for path, _ in scaffold.files(_COURIER)},
    **{f"{name} settings": transport_settings(name) for name in ("imap", "pop3", "smtp", "graph")},
}


def written(page: str) -> str:
    """Return a page's text with its generated parts as they should be."""

    def part(match: re.Match[str]) -> str:
        lines = "\n".join(_WRITERS[match["name"]]()).strip("\n")
        return f"{match[1]}{lines}\n"

    return _PART.sub(part, page)


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` compare them; return the exit code."""
    if arguments not in ([], ["--check"]):
        print("Usage: scripts/docs [--check]", file=sys.stderr)
        return 2
    stale = False
    for path in PAGES:
        old = path.read_text(encoding="utf-8")
        new = written(old)
        if new == old:
            continue
        if not arguments:
            path.write_text(new, encoding="utf-8")
            continue
        stale = True
        name = str(path.relative_to(FOLDER.parent))
        lines = old.splitlines(), new.splitlines()
        print(*difflib.unified_diff(*lines, name, "generated", lineterm="", n=1), sep="\n")
    if stale:
        print("The documentation is out of date. Run scripts/docs and commit.", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
