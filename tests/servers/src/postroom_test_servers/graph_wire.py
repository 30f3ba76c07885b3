"""Requests and answers of the stand-in for Graph."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from postroom_test_servers.https import Request, Response


class RefusedError(Exception):
    """An error as Graph answers it."""

    def __init__(
        self, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """A request as it came."""

    method: str
    raw_path: str
    """As it was sent, without ``/v1.0`` and without the query."""
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, request: Request) -> GraphRequest:
        """Return what an HTTP request asks of Graph."""
        path = re.sub(r"^/v1\.0", "", request.path, flags=re.I)
        query = {key: values[-1] for key, values in request.query.items()}
        return cls(request.method, path, query, request.headers, request.body)

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(self.raw_path)

    @property
    def host(self) -> str:
        """What the client called the server."""
        return self.headers.get("host", "localhost")

    @property
    def prefers(self) -> str:
        """What all Prefer headers say."""
        return self.headers.get("prefer", "")

    @property
    def wants_immutable_ids(self) -> bool:
        """Whether ids are to survive a move."""
        return bool(re.search(r'IdType\s*=\s*"?ImmutableId"?', self.prefers, re.I))

    def json(self) -> dict[str, Any]:
        """Return the body's object, its keys in lower case: Graph takes both spellings."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            raise RefusedError(400, "BadRequest", "Unable to read JSON request payload.") from None
        return {key[:1].lower() + key[1:]: value for key, value in found.items()}


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """An answer; `body` is JSON unless it is bytes."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """Return it as HTTP."""
        headers = {"request-id": secrets.token_hex(8)}
        content = self.body
        if isinstance(content, bytes):
            headers["Content-Type"] = "text/plain"
        elif content is not None:
            content = json.dumps(content).encode()
            headers["Content-Type"] = "application/json;odata.metadata=minimal;charset=utf-8"
        return Response(self.status, content or b"", {**headers, **self.headers})


def refusal(
    status: int, code: str, message: str = "", *, retry_after: str | None = None
) -> GraphAnswer:
    """Return an error answer in Graph's form."""
    inner = {"date": "2026-03-03T09:00:00", "request-id": "0f9e-1", "client-request-id": "0f9e-2"}
    body = {"error": {"code": code, "message": message or code, "innerError": inner}}
    return GraphAnswer(status, body, {} if retry_after is None else {"Retry-After": retry_after})
