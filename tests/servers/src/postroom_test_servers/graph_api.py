"""What the stand-in for Graph does with a request that may be done: a function for each path."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from postroom_test_servers.graph_mailbox import (
    Folder,
    GraphMailbox,
    StoredMessage,
    headers_of,
    recipients_of,
    zulu,
)
from postroom_test_servers.graph_wire import GraphAnswer, GraphRequest, RefusedError

if TYPE_CHECKING:
    from postroom_test_servers.graph import GraphServer

_NOTHING: Final = "The specified object was not found in the store."
_DELTA: Final = r"(?:microsoft\.graph\.)?delta(?:\(\))?"
_MOST_PAGE: Final = 1000


class Api:
    """The paths. `base` of links is what the client called the server."""

    def __init__(self, server: GraphServer) -> None:
        self._server = server
        self._uploads: dict[str, tuple[StoredMessage, dict[str, Any], bytearray]] = {}
        user, folder, message = (
            "/users/[^/]+",
            "/mailFolders/(?P<folder>[^/]+)",
            "/messages/(?P<id>[^/]+)",
        )
        self._routes: list[tuple[str, re.Pattern[str], str, Callable[..., Any]]] = [
            (method, re.compile(f"^{user}{path}$", re.I), permission, handler)
            for method, path, permission, handler in (
                ("GET", "/mailFolders", "read", self.list_folders),
                ("POST", "/mailFolders", "write", self.make_folder),
                ("GET", folder, "read", self.get_folder),
                ("GET", f"{folder}/childFolders", "read", self.list_folders),
                ("POST", f"{folder}/childFolders", "write", self.make_folder),
                ("GET", f"{folder}/messages", "read", self.list_messages),
                ("GET", f"{folder}/messages/{_DELTA}", "read", self.delta),
                ("GET", "/messages", "read", self.list_messages),
                ("POST", "/messages", "write", self.make_draft),
                ("POST", f"{folder}/messages", "write", self.make_draft),
                ("GET", message, "read", self.get_message),
                ("PATCH", message, "write", self.change_message),
                ("DELETE", message, "write", self.delete_message),
                ("GET", rf"{message}/\$value", "read", self.get_mime),
                ("POST", rf"{message}/(?:microsoft\.graph\.)?move", "write", self.move_message),
                ("POST", rf"{message}/(?:microsoft\.graph\.)?send", "send", self.send_draft),
                ("GET", f"{message}/attachments", "read", self.list_attachments),
                ("POST", f"{message}/attachments", "write", self.attach),
                (
                    "POST",
                    rf"{message}/attachments/(?:microsoft\.graph\.)?createUploadSession",
                    "write",
                    self.begin_upload,
                ),
                ("POST", r"/(?:microsoft\.graph\.)?sendMail", "send", self.send_mail),
            )
        ]

    def answer(self, mailbox: GraphMailbox, request: GraphRequest) -> GraphAnswer:
        """Do what a request asks for."""
        if len(request.body) > mailbox.most_request_bytes:
            raise _refused(413, "BadRequest", "The maximum request length supported is 4MB.")
        for method, pattern, permission, handler in self._routes:
            match = pattern.match(request.raw_path)
            if match and method == request.method:
                if permission not in mailbox.permissions:
                    raise _refused(403, "ErrorAccessDenied", "Access is denied. Check credentials.")
                arguments = {key: unquote(value) for key, value in match.groupdict().items()}
                with mailbox.lock:
                    return handler(mailbox, request, **arguments)  # type: ignore[no-any-return]
        message = f"Resource not found for the segment '{request.path.rpartition('/')[2]}'."
        raise _refused(400, "BadRequest", message)

    # ------------------------------------------------------------------ folders

    def list_folders(
        self, mailbox: GraphMailbox, request: GraphRequest, folder: str | None = None
    ) -> GraphAnswer:
        """List the folders in a folder, or those at the top."""
        parent = self._folder(mailbox, folder).id if folder else None
        found = mailbox.children(parent)
        size, skip = int(request.query.get("$top", 10)), int(request.query.get("$skip", 0))
        body: dict[str, Any] = {
            "value": [self._described(mailbox, one) for one in found[skip : skip + size]]
        }
        if skip + size < len(found):
            body["@odata.nextLink"] = self._link(request, {"$top": size, "$skip": skip + size})
        return _json(body)

    def get_folder(self, mailbox: GraphMailbox, request: GraphRequest, folder: str) -> GraphAnswer:
        """Describe a folder."""
        return _json(self._described(mailbox, self._folder(mailbox, folder)))

    def make_folder(
        self, mailbox: GraphMailbox, request: GraphRequest, folder: str | None = None
    ) -> GraphAnswer:
        """Make a folder."""
        parent, name = self._folder(mailbox, folder).id if folder else None, ""
        name = str(request.json().get("displayName") or "")
        if any(one.name.lower() == name.lower() for one in mailbox.children(parent)):
            message = "A folder with the specified name already exists."
            raise _refused(409, "ErrorFolderExists", message)
        return _json(self._described(mailbox, mailbox.add_folder(name, parent)), 201)

    def _folder(self, mailbox: GraphMailbox, key: str) -> Folder:
        found = mailbox.folder(key)
        if found is None:
            raise _refused(404, "ErrorItemNotFound", _NOTHING)
        return found

    def _described(self, mailbox: GraphMailbox, folder: Folder) -> dict[str, Any]:
        refs = folder.present
        return {
            "id": folder.id,
            "displayName": folder.name,
            "parentFolderId": folder.parent or "AQMkroot=",
            "childFolderCount": len(mailbox.children(folder.id)),
            "totalItemCount": len(refs),
            "unreadItemCount": sum(not mailbox.messages[ref].is_read for ref in refs),
            "isHidden": False,
        }

    # ------------------------------------------------------------------ listing

    def delta(self, mailbox: GraphMailbox, request: GraphRequest, folder: str) -> GraphAnswer:
        """List a folder, or what changed in it."""
        place = self._folder(mailbox, folder)
        token = request.query.get("$skiptoken") or request.query.get("$deltatoken")
        if token is None:
            listing = mailbox.begin_round(place, self._kept_query(request))
        else:
            found = mailbox.round_of(token)
            if found is None:
                raise _refused(
                    410,
                    "SyncStateNotFound",
                    "The sync state generation is not found; generation=149;[highest=157].",
                    {"Location": f"{self._base(request)}{request.raw_path}"},
                )
            listing = found
            if "$deltatoken" in request.query:
                listing = mailbox.begin_round(place, found.query, found.until)
        refs, following, is_last = mailbox.page(listing, self._page_size(request))
        items = [self._changed(mailbox, place, ref, request, listing.query) for ref in refs]
        link = self._link(request, {"$deltatoken" if is_last else "$skiptoken": following})
        return _json(
            {
                "value": [item for item in items if item is not None],
                "@odata.deltaLink" if is_last else "@odata.nextLink": link,
            }
        )

    def _changed(
        self,
        mailbox: GraphMailbox,
        place: Folder,
        ref: str,
        request: GraphRequest,
        query: dict[str, str],
    ) -> dict[str, Any] | None:
        message = mailbox.messages.get(ref)
        if message is None or message.folder != place.id:
            reason = {"reason": "deleted"}
            return {"@odata.type": "#microsoft.graph.message", "id": ref, "@removed": reason}
        since = re.search(r"receivedDateTime ge (\S+)", query.get("$filter", ""))
        if since and zulu(message.received_at) < since[1]:
            return None
        return message.described(_id(message, request), _selected(query))

    def list_messages(
        self, mailbox: GraphMailbox, request: GraphRequest, folder: str | None = None
    ) -> GraphAnswer:
        """List messages, newest first."""
        refs = self._folder(mailbox, folder).present if folder else mailbox.messages
        found = sorted((mailbox.messages[r] for r in refs), key=lambda m: m.received_at)[::-1]
        if wanted := re.fullmatch(
            r"internetMessageId eq '((?:[^']|'')*)'", request.query.get("$filter", "")
        ):
            found = [m for m in found if m.internet_id == wanted[1].replace("''", "'")]
        elif "$filter" in request.query:
            raise _refused(400, "BadRequest", "Invalid filter clause")
        size, skip = self._page_size(request), int(request.query.get("$skip", 0))
        shown = [
            one.described(_id(one, request), _selected(request.query)) | _expanded(one, request)
            for one in found[skip : skip + size]
        ]
        body: dict[str, Any] = {"value": shown}
        if skip + size < len(found):
            following = {**request.query, "$skip": str(skip + size)}
            body["@odata.nextLink"] = self._link(request, following)
        return _json(body)

    def _page_size(self, request: GraphRequest) -> int:
        asked = re.search(r"odata\.maxpagesize=(\d+)", request.prefers)
        size = int(request.query.get("$top") or (asked[1] if asked else self._server.page_size))
        return max(1, min(size, _MOST_PAGE))

    def _kept_query(self, request: GraphRequest) -> dict[str, str]:
        return {key: value for key, value in request.query.items() if key in ("$select", "$filter")}

    def _base(self, request: GraphRequest) -> str:
        return f"https://{request.host}/v1.0"

    def _link(self, request: GraphRequest, query: dict[str, Any]) -> str:
        pairs = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items())
        return f"{self._base(request)}{request.raw_path}?{pairs}"

    # ------------------------------------------------------------------ messages

    def get_message(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Describe a message."""
        message = self._message(mailbox, id)
        return _json(message.described(_id(message, request), _selected(request.query)))

    def get_mime(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Hand out the MIME."""
        message = self._message(mailbox, id)
        if message.is_unreadable:
            raise _refused(500, "ErrorInternalServerError", "MIME conversion failed.")
        return _answer(200, message.mime())

    def change_message(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Change properties."""
        message, given = self._message(mailbox, id), request.json()
        if "from" in given:
            if not message.is_draft:
                raise _refused(400, "ErrorInvalidPropertySet", "Only a draft's From can be set.")
            message.sender = dict(given["from"]["emailAddress"])
        message.is_read = given.get("isRead", message.is_read)
        mailbox.touch(message)
        return _json(message.described(_id(message, request)))

    def delete_message(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Delete a message, to Recoverable Items."""
        mailbox.remove(self._message(mailbox, id))
        return _answer(204)

    def move_message(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Move a message."""
        message = self._message(mailbox, id)
        mailbox.move(message, self._folder(mailbox, request.json().get("destinationId", "")).id)
        return _json(message.described(_id(message, request)), 201)

    def _message(self, mailbox: GraphMailbox, item_id: str) -> StoredMessage:
        if not item_id.startswith("AA"):
            raise _refused(400, "ErrorInvalidIdMalformed", "Id is malformed.")
        found = mailbox.find(item_id)
        if found is None:
            raise _refused(404, "ErrorItemNotFound", _NOTHING)
        return found

    # ------------------------------------------------------------------ drafts and sending

    def make_draft(
        self, mailbox: GraphMailbox, request: GraphRequest, folder: str = "drafts"
    ) -> GraphAnswer:
        """Make a draft of MIME or of properties."""
        if mailbox.is_full:
            raise _refused(507, "ErrorQuotaExceeded", "The mailbox has exceeded its quota.")
        if request.headers.get("content-type", "").lower().startswith("text/plain"):
            message = self._from_mime(mailbox, _mime(request.body), folder)
        else:
            message = self._from_properties(mailbox, request.json(), folder)
        if mailbox.rewrites_message_ids or not message.internet_id:
            message.internet_id = f"<{secrets.token_hex(12).upper()}@EURP1.PROD.OUTLOOK.COM>"
        return _json(message.described(_id(message, request)), 201)

    def _from_mime(self, mailbox: GraphMailbox, raw: bytes, folder: str) -> StoredMessage:
        message = mailbox.put(raw, folder=folder)
        message.is_draft, message.is_read = True, True
        if not mailbox.takes_from_of_mime or not message.sender:
            message.sender = {"name": mailbox.name, "address": mailbox.address}
        return message

    def _from_properties(
        self, mailbox: GraphMailbox, given: dict[str, Any], folder: str
    ) -> StoredMessage:
        for one in given.get("internetMessageHeaders") or ():
            if not one["name"].lower().startswith("x-"):
                raise _refused(400, "InvalidInternetMessageHeader", "Must begin with 'x-'.")
        message = mailbox.put(b"", folder=folder)
        message.is_draft, message.is_read = True, True
        message.properties = given
        message.internet_id = given.get("internetMessageId") or ""
        message.subject = given.get("subject") or ""
        given_sender = (given.get("from") or {}).get("emailAddress")
        message.sender = given_sender or {"name": mailbox.name, "address": mailbox.address}
        for file in given.get("attachments") or ():
            message.files.append(file)
        return message

    def send_draft(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Accept a draft for sending."""
        message = self._message(mailbox, id)
        if not message.is_draft:
            raise _refused(404, "ErrorItemNotFound", _NOTHING)
        if message.sender.get("address", "").lower() not in mailbox.send_as:
            message_text = "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account."  # noqa: E501
            raise _refused(403, "ErrorSendAsDenied", message_text)
        if not recipients_of(message) or mailbox.refused_recipients & set(recipients_of(message)):
            raise _refused(400, "ErrorInvalidRecipients", "At least one recipient is not valid.")
        mailbox.accept(message)
        return _answer(202)

    def send_mail(self, mailbox: GraphMailbox, request: GraphRequest) -> GraphAnswer:
        """Send in one go."""
        if request.headers.get("content-type", "").lower().startswith("text/plain"):
            message, keep = self._from_mime(mailbox, _mime(request.body), "drafts"), True
        else:
            given = request.json()
            message = self._from_properties(mailbox, given.get("message") or {}, "drafts")
            keep = given.get("saveToSentItems", True) is not False
        message.internet_id = message.internet_id or f"<{secrets.token_hex(8)}@EURP1.OUTLOOK.COM>"
        mailbox.accept(message)
        if not keep:
            mailbox.remove(message)
        return _answer(202)

    def list_attachments(
        self,
        mailbox: GraphMailbox,
        request: GraphRequest,
        id: str,  # noqa: A002
    ) -> GraphAnswer:
        """List a message's attachments."""
        files = self._message(mailbox, id).files
        return _json({"value": [_attachment(file, i) for i, file in enumerate(files)]})

    def attach(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Attach a small file."""
        message, given = self._message(mailbox, id), request.json()
        if len(given.get("contentBytes") or "") > 4 * (3 << 20) // 3:
            raise _refused(413, "ErrorAttachmentSizeLimitExceeded", "Use an upload session.")
        message.files.append(given)
        return _json(_attachment(given, len(message.files)), 201)

    def begin_upload(self, mailbox: GraphMailbox, request: GraphRequest, id: str) -> GraphAnswer:  # noqa: A002
        """Begin to take a large file: the URL is a key by itself."""
        message = self._message(mailbox, id)
        item = request.json()["attachmentItem"]
        key = secrets.token_urlsafe(16)
        self._uploads[key] = (message, item, bytearray())
        body = {
            "uploadUrl": f"https://{request.host}/upload/{key}",
            "expirationDateTime": zulu(datetime.now(UTC)),
            "nextExpectedRanges": ["0-"],
        }
        return _json(body, 201)

    def upload(self, request: GraphRequest) -> GraphAnswer:
        """Take a piece of a large file."""
        if "authorization" in request.headers:
            raise _refused(401, "InvalidAudience", "The URL is pre-authenticated.")
        message, item, taken = self._uploads[request.path.rpartition("/")[2]]
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", request.headers["content-range"])
        assert span
        start, end, size = map(int, span.groups())
        if start != len(taken) or end - start + 1 != len(request.body) or size != item["size"]:
            raise _refused(416, "ErrorInvalidRange", "The range is not the expected one.")
        if len(request.body) > 4 << 20:
            raise _refused(413, "ErrorAttachmentSizeLimitExceeded", "A piece has 4 MB at most.")
        taken += request.body
        if len(taken) < size:
            return _json({"nextExpectedRanges": [str(len(taken))]})
        content = base64.b64encode(bytes(taken)).decode()
        message.files.append({**item, "contentBytes": content})
        return _answer(201, None, {"Location": f"https://{request.host}/attachment"})


def _selected(query: dict[str, str]) -> set[str] | None:
    chosen = query.get("$select")
    return {one.strip().lower() for one in chosen.split(",")} if chosen else None


def _id(message: StoredMessage, request: GraphRequest) -> str:
    return message.immutable_id if request.wants_immutable_ids else message.mutable_id


def _attachment(file: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "id": f"AAAtt{number}=",
        "name": file.get("name"),
        "contentType": file.get("contentType"),
        "isInline": bool(file.get("isInline")),
        "size": len(file.get("contentBytes") or "") * 3 // 4,
    }


def _mime(body: bytes) -> bytes:
    try:
        raw = base64.b64decode(body, validate=True)
    except binascii.Error:
        message = "Invalid base64 string for MIME content."
        raise _refused(400, "ErrorMimeContentInvalidBase64String", message) from None
    headers_of(raw)
    return raw


def _refused(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> RefusedError:
    return RefusedError(status, code, message, headers)


def _json(body: Any, status: int = 200) -> GraphAnswer:
    return GraphAnswer(status, body)


def _answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> GraphAnswer:
    return GraphAnswer(status, body, headers or {})


def _expanded(message: StoredMessage, request: GraphRequest) -> dict[str, Any]:
    """Return the extended property that ``$expand`` asks for, of those that are headers."""
    if "$expand" not in request.query:
        return {}
    asked = re.fullmatch(
        r"singleValueExtendedProperties\(\$filter=id eq '(String \{[-0-9A-F]+\} Name ([^']+))'\)",
        request.query["$expand"],
        re.I,
    )
    if asked is None:
        raise _refused(400, "BadRequest", "Parsing OData Select and Expand failed.")
    value = headers_of(message.composed().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).get(
        asked[2]
    )
    # Exchange keeps names of headers in lower case
    name = asked[1].replace(asked[2], asked[2].lower())
    found = [] if value is None else [{"id": name, "value": str(value)}]
    return {"singleValueExtendedProperties": found} if found else {}
