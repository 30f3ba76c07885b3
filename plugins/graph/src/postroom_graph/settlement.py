"""The disposition, message by message, several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from urllib.parse import quote

from postroom.api import Disposition, Settled, Unsettled

from postroom_graph.client import Client, LostError, Request
from postroom_graph.errors import GraphError
from postroom_graph.folders import Folders
from postroom_graph.parallel import Parallel


class Settlement:
    """Applies a disposition.

    :param watched: names of the folders that are retrieved from
    """

    def __init__(
        self, client: Client, folders: Folders, disposition: Disposition, watched: Sequence[str]
    ) -> None:
        self._client, self._disposition = client, disposition
        self._doing = f"{_VERBS[disposition.action]} a message"
        self._target, self._is_watched = "", False
        if disposition.action == "move":
            self._target = folders.ensure(disposition.folder or "")
            self._is_watched = self._target in [folders.id_of(name) for name in watched]

    def run(self, refs: Sequence[str]) -> Iterator[Settled | Unsettled]:
        """Yield what the server has confirmed; all of it is safe to do twice."""
        with closing(Parallel(self._client, self._one).run(refs)) as results:
            for _, result in results:
                if isinstance(result, LostError):
                    raise result
                yield result

    def _one(self, ref: str) -> Settled | Unsettled:
        try:
            answer = self._client.attempt(self._request(ref))
        except GraphError as error:
            return self._refused(ref, error)
        if not self._is_watched:
            return Settled(ref)
        try:  # an immutable id stays; another one is what the message is called from now on
            return Settled(ref, str(answer.json()["id"]))
        except (ValueError, KeyError):
            return Settled(ref, ref)

    def _request(self, ref: str) -> Request:
        path = f"/messages/{quote(ref, safe='')}"
        match self._disposition.action:
            case "seen":
                return self._client.patch(path, {"isRead": True})
            case "move":
                body = {"destinationId": self._target}
                return self._client.post(f"{path}/move", body, is_repeatable=True)
            case _:
                return self._client.delete(path)

    def _refused(self, ref: str, error: GraphError) -> Settled | Unsettled:
        if error.is_missing and not self._is_target_missing(ref):
            return Settled(ref)
        if error.is_passing or error.status in (403, 404):
            raise self._client.explained(error, self._doing) from error
        if self._disposition.action == "move" and self._parent_of(ref) == self._target:
            return Settled(ref, ref if self._is_watched else None)
        return Unsettled(ref, self._client.explained(error, self._doing))

    def _is_target_missing(self, ref: str) -> bool:
        """A 404 to a move may be about the folder: then the message is still there."""
        return self._disposition.action == "move" and self._parent_of(ref) is not None

    def _parent_of(self, ref: str) -> str | None:
        """Return the id of the folder that a message is in, None if it is gone."""
        url = self._client.url(f"/messages/{quote(ref, safe='')}", select="id,parentFolderId")
        try:
            return str(self._client.attempt(Request("GET", url)).json().get("parentFolderId"))
        except (GraphError, ValueError):
            return None


_VERBS = {"seen": "mark", "move": "move", "delete": "delete", "leave": "leave"}
