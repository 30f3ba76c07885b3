"""Microsoft's published description of the mail API, as a judge of both sides.

`Contract.witness` is told each request and its answer, and notes what the description does not
allow: an unknown path, method or query option, a body of another type or form, a property that no
type has. Where the files come from: SOURCES.md beside them.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import yaml  # type: ignore[import-untyped]  # no stubs for one call
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

from postroom_test_servers.graph_wire import GraphRequest
from postroom_test_servers.https import Response

_FOLDER: Final = Path(__file__).parent / "graph_data"
_URI: Final = "urn:graph"
_PREFERENCES: Final = re.compile(
    r'IdType="ImmutableId"|odata\.maxpagesize=\d+|outlook\.(body-content-type|timezone)="[^"]*"'
)


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path, its schemas ready to judge."""

    pattern: re.Pattern[str]
    variables: int
    method: str
    query: frozenset[str]
    bodies: Mapping[str, OAS30Validator]
    """Content type → what judges the body."""
    answers: Mapping[str, Mapping[str, OAS30Validator | None]]
    """Status, ``2XX`` or ``default`` → content type → what judges the body."""


class Contract:
    """What the description says. Made once: use `contract`."""

    def __init__(self) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        text = (_FOLDER / "graph-mail.yaml").read_text(encoding="utf-8")
        self._document = yaml.load(text, loader)
        self._types = json.loads((_FOLDER / "graph-types.json").read_text(encoding="utf-8"))[
            "types"
        ]
        contents = DRAFT4.create_resource(self._document)
        self._registry: Registry[Any] = Registry().with_resource(_URI, contents)
        self._operations = sorted(self._read(), key=lambda one: one.variables)

    def judge(self, request: GraphRequest, response: Response) -> Iterator[str]:
        """Yield what is wrong with a request and its answer."""
        operation = self._operation(request)
        if operation is None:
            yield f"{request.method} {request.raw_path}: no such operation"
            return
        where = f"{request.method} {request.raw_path}"
        yield from (f"{where}: {one}" for one in self._wrong_request(operation, request))
        yield from (
            f"{where} → {response.status}: {one}" for one in self._wrong_answer(operation, response)
        )

    def _operation(self, request: GraphRequest) -> Operation | None:
        return next(
            (
                one
                for one in self._operations
                if one.method == request.method and one.pattern.fullmatch(request.raw_path)
            ),
            None,
        )

    def _wrong_request(self, operation: Operation, request: GraphRequest) -> Iterator[str]:
        for name in request.query.keys() - operation.query:
            yield f"the query option {name} is unknown"
        for preference in filter(None, request.headers.get("prefer", "").split(", ")):
            if not _PREFERENCES.fullmatch(preference):
                yield f"the preference {preference} is unknown"
        if not request.body:
            return
        kind = request.headers.get("content-type", "").partition(";")[0]
        judge = operation.bodies.get(kind)
        if judge is None:
            yield f"a body of type {kind!r} is not taken"
        elif kind == "application/json":
            yield from self._wrong_json(judge, json.loads(request.body))

    def _wrong_answer(self, operation: Operation, response: Response) -> Iterator[str]:
        kinds = operation.answers.get(str(response.status)) or operation.answers.get(
            "2XX" if 200 <= response.status < 300 else "default"
        )
        if kinds is None:
            yield "such a status is not foreseen"
        elif response.body:
            kind = response.headers.get("Content-Type", "").partition(";")[0]
            if kind == "application/json" and (judge := kinds.get(kind)) is not None:
                yield from self._wrong_json(judge, json.loads(response.body))
            elif kind not in kinds and not (kind == "text/plain" and kinds):
                yield f"an answer of type {kind!r} is not foreseen"

    def _wrong_json(self, judge: OAS30Validator, found: Any) -> Iterator[str]:
        for error in judge.iter_errors(found):
            yield f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        items = found.get("value") if isinstance(found, dict) else None
        for item in items if isinstance(items, list) else [found]:
            yield from self._unknown_properties(item)

    def _unknown_properties(self, found: Any) -> Iterator[str]:
        """Yield properties that no type of the API has: a misspelt one passes the schema."""
        if isinstance(found, dict):
            for name, value in found.items():
                if "@" not in name and name[:1].lower() + name[1:] not in self._known_names:
                    yield f"no type has the property {name}"
                yield from self._unknown_properties(value)
        elif isinstance(found, list):
            for one in found:
                yield from self._unknown_properties(one)

    @functools.cached_property
    def _known_names(self) -> frozenset[str]:
        names = {"value", "error", "code", "message", "innerError", "date", "details", "target"}
        names |= {"request-id", "client-request-id", "reason", "destinationId", "comment"}
        names |= {"saveToSentItems", "attachmentItem", "nextExpectedRanges"}
        for one in self._types.values():
            names |= set(one.get("properties") or {}) | set(one.get("navigation") or {})
        return frozenset(names)

    # ------------------------------------------------------------------ reading

    def _read(self) -> Iterator[Operation]:
        for path, item in self._document["paths"].items():
            pieces = re.split(r"\{[^}]+\}", path)
            for method in ("get", "post", "patch", "delete", "put"):
                if method in item:
                    yield Operation(
                        re.compile("[^/]+".join(map(re.escape, pieces)), re.I),
                        len(pieces),
                        method.upper(),
                        self._query(item[method]),
                        self._bodies(item[method], f"/paths/{_escaped(path)}/{method}"),
                        dict(self._answers(item[method], f"/paths/{_escaped(path)}/{method}")),
                    )

    def _query(self, operation: dict[str, Any]) -> frozenset[str]:
        found = [self._resolved(one)[0] for one in operation.get("parameters") or ()]
        return frozenset(one["name"] for one in found if one["in"] == "query")

    def _bodies(self, operation: dict[str, Any], pointer: str) -> dict[str, OAS30Validator]:
        given = operation.get("requestBody")
        if given is None:
            return {}
        body, pointer = self._resolved(given, f"{pointer}/requestBody")
        return {
            kind: self._judge(f"{pointer}/content/{_escaped(kind)}/schema")
            for kind in body.get("content") or {}
        }

    def _answers(
        self, operation: dict[str, Any], pointer: str
    ) -> Iterator[tuple[str, dict[str, OAS30Validator | None]]]:
        for status, given in operation["responses"].items():
            answer, place = self._resolved(given, f"{pointer}/responses/{status}")
            yield (
                str(status),
                {
                    kind: self._judge(f"{place}/content/{_escaped(kind)}/schema")
                    for kind in answer.get("content") or {}
                },
            )

    def _resolved(self, given: dict[str, Any], pointer: str = "") -> tuple[Any, str]:
        while "$ref" in given:
            pointer = given["$ref"].removeprefix("#")
            found: Any = self._document
            for step in pointer.split("/")[1:]:
                found = found[step.replace("~1", "/").replace("~0", "~")]
            given = found
        return given, pointer

    def _judge(self, pointer: str) -> OAS30Validator:
        return OAS30Validator(
            {"$ref": f"{_URI}#{quote(pointer, safe='/~')}"}, registry=self._registry
        )


def _escaped(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")


@functools.cache
def contract() -> Contract:
    """Return the contract, read once."""
    return Contract()


@dataclass
class Witness:
    """Judges what passes; tests look at `complaints` in the end."""

    complaints: list[str] = field(default_factory=list)
    judged: int = 0

    def __call__(self, request: GraphRequest, response: Response) -> None:
        """Judge an exchange with Graph; uploads go elsewhere."""
        if request.raw_path.lower().startswith("/users/"):
            self.judged += 1
            self.complaints += contract().judge(request, response)
