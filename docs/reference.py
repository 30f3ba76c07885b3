"""The reference for plugin authors, read out of the source of `postroom.api` and the kit: what is
written in the code is what stands on the page."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Final

from postroom.api import (
    context,
    credential,
    errors,
    events,
    hookspecs,
    network,
    settings,
    throttling,
    transport,
    verdict,
)
from postroom.testing import credential as credential_kit
from postroom.testing import harness, receiver, relay, sender

_API: Final = (
    ("Transports and sessions", transport),
    ("Context", context),
    ("Errors", errors),
    ("Settings", settings),
    ("Kinds of credentials", credential),
    ("Verdicts", verdict),
    ("Events", events),
    ("Help with networks", network),
    ("Help with throttling", throttling),
)
_KIT: Final = (("Harnesses", harness), ("Relay", relay))
_HIDDEN: Final = frozenset({"Heart", "lacks"})  # the core's, and the kit's own
_FIELD: Final = re.compile(r":(param|raises|returns?)\s*([^:]*):\s*")
_Definition = ast.FunctionDef | ast.ClassDef


def hooks() -> Iterator[str]:
    """Yield every hook with its signature and what it is for."""
    for node in _tree(hookspecs).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("postroom_"):
            yield from (f"### {node.name}", "", *_function(node))


def api() -> Iterator[str]:
    """Yield every public class and function of `postroom.api`."""
    for title, module in _API:
        yield from (f"### {title}", "", f"`from {module.__name__} import …`", "")
        if module is errors:
            tree = (inspect.getdoc(module) or "").partition("::\n\n")[2].partition("\n\n")[0]
            yield from ("```text", inspect.cleandoc(tree), "```", "")
        yield from _module(module)


def kit() -> Iterator[str]:
    """Yield what a harness has, and the names of the cases."""
    for title, module in _KIT:
        yield from (f"### {title}", "")
        yield from _module(module)
    for title, kind in (
        ("Cases for receivers", receiver.ReceiverConformance),
        ("Cases for senders", sender.SenderConformance),
        ("Cases for kinds of credentials", credential_kit.CredentialConformance),
    ):
        names = sorted(name for name in dir(kind) if name.startswith("test_"))
        yield from (f"### {title}", "")
        for name in names:
            says = inspect.getdoc(getattr(kind, name)) or ""
            yield f"- `{name}`: {_plain(says.split(chr(10) * 2)[0])}"
        yield ""


def harness_table() -> Iterator[str]:
    """Yield what harnesses have, a line each: by whom it is needed, and what it does."""
    yield from ("| method | harness | what it makes the server do |", "|---|---|---|")
    for kind in (
        harness.Harness,
        harness.ReceiverHarness,
        harness.SenderHarness,
        harness.CredentialHarness,
    ):
        whose = kind.__name__.removesuffix("Harness").lower() or "all"
        for name, value in vars(kind).items():
            if not inspect.isfunction(value) or name.startswith("_") or name in _HIDDEN:
                continue
            must = " **(must)**" if getattr(value, "__isabstractmethod__", False) else ""
            says = _plain((inspect.getdoc(value) or "").split("\n\n")[0])
            yield f"| `{name}`{must} | {whose} | {says} |"


def cases_table() -> Iterator[str]:
    """Yield the subjects of the cases: what must hold, and how many cases there are."""
    yield from (
        "| cases | what must hold | receiver | sender | credential |",
        "|---|---|---|---|---|",
    )
    kinds = (
        receiver.ReceiverConformance,
        sender.SenderConformance,
        credential_kit.CredentialConformance,
    )
    subjects = dict.fromkeys(one for kind in kinds for one in reversed(kind.__mro__) if _tests(one))
    for one in subjects:
        counts = [str(len(_tests(one))) if issubclass(kind, one) else "" for kind in kinds]
        says = _plain(inspect.getdoc(one) or "")
        yield f"| {one.__name__.removesuffix('Cases')} | {says} | {' | '.join(counts)} |"
    sums = [str(sum(name.startswith("test_") for name in dir(kind))) for kind in kinds]
    yield f"| together | | {' | '.join(sums)} |"


def _tests(kind: type) -> list[str]:
    return [name for name in vars(kind) if name.startswith("test_")]


# ---------------------------------------------------------------------------- reading the source


def _tree(module: ModuleType) -> ast.Module:
    """Return a module's source, the names of settings' types replaced by what they stand for."""
    tree = ast.parse(inspect.getsource(module))
    settings = {
        name: value
        for one in tree.body
        if isinstance(one, ast.Assign) and _is_annotated(value := one.value)
        for name in map(ast.unparse, one.targets)
    }
    for one in ast.walk(tree):
        if isinstance(one, ast.AnnAssign):
            one.annotation = settings.get(ast.unparse(one.annotation), one.annotation)
    return tree


def _is_annotated(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Annotated"


def _module(module: ModuleType) -> Iterator[str]:
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and _is_public(node.name):
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            yield from (f"#### {node.name}", "")
            yield from (f"`class {node.name}({bases})`" if bases else f"`class {node.name}`", "")
            yield from _class(node)
        elif isinstance(node, ast.FunctionDef) and _is_public(node.name):
            yield from (f"#### {node.name}", "", *_function(node))


def _class(node: ast.ClassDef) -> Iterator[str]:
    yield from _docstring(node)
    rows = list(_attributes(node.body))
    if rows:
        yield from (*rows, "")
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and (_is_public(one.name) or _is_documented_init(one)):
            yield from _function(one)


def _is_documented_init(node: ast.FunctionDef) -> bool:
    return node.name == "__init__" and ast.get_docstring(node) is not None


def _attributes(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield a line for each field; a string below one or several is about them."""
    for place, one in enumerate(body):
        match one:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value):
                shown = f"{name}: {_type(kind)}"
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                shown, kind = name, None
            case _:
                continue
        if not _is_public(name) or name == "model_config":
            continue
        default = "" if value is None or kind is None else f" = {ast.unparse(value)}"
        text = _described(kind) or _string_below(body, place)
        yield f"- `{shown}{default}`" + (f": {text}" if text else "")


def _type(kind: ast.expr) -> str:
    if isinstance(kind, ast.Subscript) and _is_annotated(kind):
        first = kind.slice.elts[0] if isinstance(kind.slice, ast.Tuple) else kind.slice
        return ast.unparse(first)
    return (
        ast.unparse(kind).removeprefix("ClassVar[").removesuffix("]")
        if _is_class_var(kind)
        else ast.unparse(kind)
    )


def _is_class_var(kind: ast.expr) -> bool:
    return ast.unparse(kind).startswith("ClassVar[")


def _described(kind: ast.expr | None) -> str:
    """Return the description of a setting."""
    if kind is None:
        return ""
    for call in ast.walk(kind):
        if isinstance(call, ast.keyword) and call.arg == "description":
            return str(ast.literal_eval(call.value))
    return ""


def _string_below(body: Sequence[ast.stmt], place: int) -> str:
    for one in body[place + 1 :]:
        match one:
            case ast.Expr(value=ast.Constant(value=str(text))):
                return _plain(text)
            case ast.Assign() | ast.AnnAssign():
                return ""
    return ""


def _function(node: ast.FunctionDef) -> Iterator[str]:
    marks = [ast.unparse(one) for one in node.decorator_list]
    must = " (must)" if "abstractmethod" in marks else ""
    yield from ("```py", _signature(node), "```", "")
    if must:
        yield from ("Has to be given.", "")
    yield from _docstring(node)


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({ast.unparse(node.args)}){returns}"
    line = line.replace("(self, ", "(").replace("(self)", "()")
    if len(line) <= 100:
        return line
    inside, _, rest = line.partition("(")[2].rpartition(")")
    pieces = re.split(r", (?![^\[]*\])", inside)
    return "\n".join([f"def {node.name}(", *(f"    {piece}," for piece in pieces), f"){rest}"])


def _docstring(node: _Definition) -> Iterator[str]:
    text = ast.get_docstring(node) or ""
    paragraphs: list[str] = []
    for line in text.splitlines():
        if (found := _FIELD.match(line)) is not None:
            word = {
                "param": f"`{found[2]}`",
                "raises": f"Raises `{found[2].replace(', ', '`, `')}`",
            }
            label = word.get(found[1], "Returns")
            paragraphs.append(f"- {label}: {line[found.end() :]}".rstrip(": ").rstrip())
        elif line.startswith(".. versionadded::"):
            paragraphs += ["", f"Since {line.rpartition(' ')[2]}."]
        else:
            paragraphs.append(line)
    yield from (*map(_plain, _spaced(paragraphs)), "")


def _spaced(lines: Sequence[str]) -> Iterator[str]:
    """Put an empty line before a list."""
    before = ""
    for line in lines:
        if line.startswith("- ") and before and not before.startswith(("- ", "  ")):
            yield ""
        yield line
        before = line


def _plain(text: str) -> str:
    return (
        " ".join(text.split()).replace("``", "`")
        if not text.startswith(" ")
        else (text.replace("``", "`").rstrip())
    )


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in _HIDDEN
