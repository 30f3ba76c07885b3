"""Drafts: made, filled, thrown away. Nothing here sends.

A request has 4 MB at most. So a message goes whole, as MIME in base64, where it fits; a larger one
as properties, with its attachments one by one, and those above 3 MB in pieces.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from postroom.api import Outgoing, TransportError

from postroom_graph.client import Client, LostError, Request
from postroom_graph.errors import GraphError
from postroom_graph.leftovers import Leftovers
from postroom_graph.letter import File, Letter

_MOST_AT_ONCE: Final = 2_900_000
"""Bytes of an attachment that goes in one request."""
_PIECE: Final = 10 * 320 * 1024
_TOO_LARGE_WORDS: Final = re.compile(r"maximum request length|request .*too large", re.I)
_TOO_LARGE: Final = frozenset(
    "errorrequesttoolarge requesttoolarge errormessagesizeexceeded errorrequestsizeexceeded "
    "errorsendmessagesizeexceeded errorattachmentsizelimitexceeded "
    "errormimecontentinvalidlength".split()
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft: its id, and the Message-ID that Exchange gave it, without brackets."""

    id: str
    message_id: str | None


def means_too_large(error: GraphError) -> bool:
    """Say whether a request or a message was refused for its size."""
    return (
        error.status == 413
        or error.says(_TOO_LARGE)
        or (error.status == 400 and bool(_TOO_LARGE_WORDS.search(error.message)))
    )


def path_of(draft_id: str) -> str:
    """Return the path of a message below the mailbox."""
    return f"/messages/{quote(draft_id, safe='')}"


def bare_id(value: Any) -> str | None:
    """Return a Message-ID without brackets."""
    found = value.strip().removeprefix("<").removesuffix(">") if isinstance(value, str) else ""
    return found or None


class Drafts:
    """Makes drafts in one mailbox.

    :param mime_limit: in bytes; larger messages are taken apart
    """

    def __init__(self, client: Client, mime_limit: int) -> None:
        self._client, self._mime_limit = client, mime_limit
        self._leftovers = Leftovers(client)

    def make(self, outgoing: Outgoing) -> Draft:
        """Make a draft that is ready to be sent; where that fails none is left behind.

        :raises GraphError: refused
        :raises LostError: the connection broke; a draft that nobody knows of was looked for
        """
        letter = Letter(outgoing)
        if letter.is_for_all and len(outgoing.raw) <= self._mime_limit:
            try:
                return self._made(outgoing, lambda: self._whole(letter))
            except GraphError as error:
                if not means_too_large(error):
                    raise
        return self._made(outgoing, lambda: self._in_parts(letter))

    def remove_leftovers(self, message_id: str) -> None:
        """Throw away drafts of this message that an earlier attempt did not hear of."""
        ids = self._leftovers.take(message_id)
        for found in find_by_message_id(self._client, message_id):
            if found.get("isDraft") is True and isinstance(found.get("id"), str):
                ids.append(found["id"])
        for draft_id in dict.fromkeys(ids):
            self.remove(draft_id)

    def remove(self, draft_id: str) -> None:
        """Throw a draft away."""
        try:
            self._client.ask(self._client.delete(path_of(draft_id)))
        except GraphError as error:
            if not error.is_missing:
                raise

    def _made(self, outgoing: Outgoing, make: Callable[[], Draft]) -> Draft:
        try:
            return make()
        except LostError as lost:
            self._leftovers.forget()
            if lost.may_have_arrived and not self._client.interrupted.is_set():
                with contextlib.suppress(TransportError, GraphError):
                    self.remove_leftovers(outgoing.message_id)
            raise

    def _whole(self, letter: Letter) -> Draft:
        request = Request(
            "POST",
            self._client.url("/messages"),
            letter.as_mime(),
            {"Content-Type": "text/plain"},
            is_repeatable=False,
        )
        made = self._client.ask_json(request, accept=(201,))
        draft = self._draft(made)
        with self._removed_on_failure(draft):
            self._set_sender(draft, made, letter)
        return draft

    def _set_sender(self, draft: Draft, made: dict[str, Any], letter: Letter) -> None:
        """Say who it is from where Exchange did not take it from the MIME."""
        sender, found = letter.sender, _mail_address(made.get("from"))
        is_same = found.get("address", "").casefold() == sender.address.casefold()
        if is_same and sender.name in ("", found.get("name", "")):
            return
        try:
            self._client.ask(self._client.patch(path_of(draft.id), {"from": sender.as_recipient()}))
        except GraphError as error:
            is_wrong = bool(found.get("address")) and not is_same
            if is_wrong or error.status in (401, 403) or error.is_passing:
                raise

    def _in_parts(self, letter: Letter) -> Draft:
        properties, files = letter.as_properties()
        request = self._client.post("/messages", properties)
        draft = self._draft(self._client.ask_json(request, accept=(201,)))
        with self._removed_on_failure(draft):
            for file in files:
                content = file.content
                if len(content) <= _MOST_AT_ONCE:
                    self._attach(draft, file, content)
                else:
                    self._upload(draft, file, content)
        return draft

    def _attach(self, draft: Draft, file: File, content: bytes) -> None:
        path = f"{path_of(draft.id)}/attachments"
        self._client.ask(self._client.post(path, file.as_attachment(content)), accept=(201,))

    def _upload(self, draft: Draft, file: File, content: bytes) -> None:
        """Hand an attachment over in pieces, to a URL that needs no token and gets none.

        See https://learn.microsoft.com/graph/outlook-large-attachments.
        """
        size = len(content)
        item = {"attachmentType": "file", "size": size, **file.described()}
        path = f"{path_of(draft.id)}/attachments/createUploadSession"
        session = self._client.ask_json(self._client.post(path, {"AttachmentItem": item}))
        url = self._upload_url(session.get("uploadUrl"))
        start = 0
        while start < size:
            piece = content[start : start + _PIECE]
            following = self._put(url, piece, start, size)
            if following <= start:
                raise self._client.strange("an upload that does not go on")
            start = following

    def _put(self, url: str, piece: bytes, start: int, size: int) -> int:
        """Hand one piece over; return where the next one begins."""
        end = start + len(piece)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {start}-{end - 1}/{size}",
        }
        answer = self._client.ask(Request("PUT", url, piece, headers, has_token=False))
        if end == size or answer.status == 201:
            return size
        try:
            told = str(answer.json()["nextExpectedRanges"][0])
            return int(told.partition("-")[0])
        except (ValueError, KeyError, IndexError, TypeError):
            return end

    def _upload_url(self, url: Any) -> str:
        """Return where to upload to: another host is usual, but not in clear."""
        if isinstance(url, str) and (urlsplit(url).scheme == "https" or self._client.is_ours(url)):
            return url
        raise self._client.strange("no URL to upload to")

    @contextlib.contextmanager
    def _removed_on_failure(self, draft: Draft) -> Iterator[None]:
        try:
            yield
        except (TransportError, GraphError):
            if not self._client.interrupted.is_set():
                with contextlib.suppress(TransportError, GraphError):
                    self.remove(draft.id)
            raise

    def _draft(self, made: dict[str, Any]) -> Draft:
        found = made.get("id")
        if not isinstance(found, str) or not found:
            raise self._client.strange("a draft without an id")
        return Draft(found, bare_id(made.get("internetMessageId")))


def find_by_message_id(client: Client, message_id: str) -> list[dict[str, Any]]:
    """Return the messages with this Message-ID in any folder, drafts among them.

    :param message_id: without brackets
    """
    wanted = f"<{message_id}>".replace("'", "''")
    try:
        found = client.get("/messages", filter=f"internetMessageId eq '{wanted}'", select=SELECT)
    except GraphError as error:
        if error.status in (400, 501) or error.is_missing:
            return []  # a search that is not possible finds nothing, and proves nothing
        raise
    value = found.get("value")
    return [
        one
        for one in (value if isinstance(value, list) else ())
        if isinstance(one, dict) and bare_id(one.get("internetMessageId")) == message_id
    ]


SELECT: Final = (
    "id,isDraft,internetMessageId,sentDateTime,lastModifiedDateTime,createdDateTime,parentFolderId"
)


def _mail_address(recipient: Any) -> dict[str, str]:
    found = recipient.get("emailAddress") if isinstance(recipient, dict) else None
    return {key: value for key, value in (found or {}).items() if isinstance(value, str)}
