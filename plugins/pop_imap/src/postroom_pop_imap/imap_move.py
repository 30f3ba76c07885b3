"""Moving messages to another folder; `imap_settle` says how nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from postroom.api import Listed, SettingsError, TransientError, codes

from postroom_pop_imap.errors import Refused, explain_code
from postroom_pop_imap.imap_folders import (
    Folder,
    describe_messages,
    found_uids,
    list_folders,
    open_folder,
    parse_uid,
    present,
    reopen_folder,
    spelled_on_server,
)
from postroom_pop_imap.imap_names import (
    decode_folder,
    encode_folder,
    make_ref,
    parse_uid_set,
    same_folder,
    uid_set,
)
from postroom_pop_imap.imap_wire import Wire, code_argument

KEYWORD: Final = "$PostroomMoving"
_MAKE_IT: Final = (
    "Make the folder on the server by hand, or name one that exists in the mailbox's disposition."
)
_PERSONAL = re.compile(rb"NAMESPACE \(\(", re.I)
_PREFIX = re.compile(rb'\("([^"\\]*)" (?:NIL|"(?:[^"\\]|\\.)*")', re.I)
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[!#-\[\]-~]{1,900}>)\s*$", re.I | re.M)


class Mover:
    """Moves messages of the open folder `source` to the folder an administrator named."""

    def __init__(self, wire: Wire, source: Folder, target: str, watched: Sequence[str]) -> None:
        self._wire, self._source, self._watched = wire, source, watched
        self._target = target
        self._is_ready = False
        self._doing = f"move messages to the folder {target}"

    def move(self, uids: Sequence[int]) -> dict[int, str]:
        """Move, and return the refs from now on of those that are still listed, where known.

        :raises Refused: the server would not; any of them may have been moved
        """
        if "/" in self._target and not self._is_ready:
            self._prepare_target()
        if same_folder(self._target, self._source.name):
            return self._source.refs(uids)
        try:
            return self._move(uids)
        except Refused as refused:
            if self._is_ready or explain_code(refused, refused.text):
                raise
        self._prepare_target()
        return self._move(uids)

    def _move(self, uids: Sequence[int]) -> dict[int, str]:
        if self._wire.has("MOVE"):
            return self._new_refs(self._transfer(b"MOVE", uids))
        return self._copy_and_remove(uids)

    def _transfer(self, verb: bytes, uids: Sequence[int]) -> list[str]:
        """Run MOVE or COPY, and return what may hold the code COPYUID."""
        command = b"UID %s %s %s" % (verb, uid_set(uids), encode_folder(self._target))
        answers = self._wire.ask(command, self._doing)
        texts = [answer.text.decode("latin-1").partition(" ")[2] for answer in answers]
        return [*texts, self._wire.completion]

    def _new_refs(self, texts: Iterable[str]) -> dict[int, str]:
        """Read COPYUID (RFC 4315 section 3): validity, old UIDs, new UIDs, in the same order."""
        if not any(same_folder(self._target, name) for name in self._watched):
            return {}
        found: dict[int, str] = {}
        for text in texts:
            parts = (code_argument(text, "COPYUID") or "").split()
            if len(parts) == 3 and parts[0].isdecimal():
                pairs = zip(parse_uid_set(parts[1]), parse_uid_set(parts[2]), strict=False)
                found.update(
                    (old, make_ref(self._target, int(parts[0]), new)) for old, new in pairs
                )
        return found

    # ------------------------------------------------------------------ without MOVE

    def _copy_and_remove(self, uids: Sequence[int]) -> dict[int, str]:
        suspects = self._perhaps_copied(uids)
        copied = self._already_in_target(suspects) if suspects else set()
        fresh = [uid for uid in uids if uid not in copied]
        texts: list[str] = []
        if fresh:
            if self._source.keeps_keywords():
                self._wire.ask(
                    b"UID STORE %s +FLAGS.SILENT (%s)" % (uid_set(fresh), KEYWORD.encode()),
                    self._doing,
                )
            texts = self._transfer(b"COPY", fresh)
        return remove(self._wire, self._source, self._doing, uids) or self._new_refs(texts)

    def _perhaps_copied(self, uids: Sequence[int]) -> list[int]:
        """Return which messages an earlier try may have copied: those with the keyword."""
        command = b"UID FETCH %s (UID FLAGS)" % uid_set(uids)
        keyword = KEYWORD.lower().encode()
        found = []
        for answer in self._wire.ask(command, self._doing):
            uid = parse_uid(answer.text)
            marked = keyword in answer.text.lower() or not self._source.keeps_keywords()
            if uid in uids and marked and uid is not None:
                found.append(uid)
        return sorted(set(found))

    def _already_in_target(self, uids: Sequence[int]) -> set[int]:
        """Return those of which the target holds a copy; one copy stands for one message."""
        sought = dict(describe_messages(self._wire, self._source, list(uids)))
        ids = {uid: self._message_id(uid) for uid in sought}
        found: set[int] = set()
        used: set[str] = set()
        try:
            target = open_folder(self._wire, self._target)
            for uid, item in sought.items():
                for twin in self._candidates(target, ids[uid], item.size):
                    same = (twin.size, twin.received_at) == (item.size, item.received_at)
                    if same and twin.ref not in used:
                        used.add(twin.ref)
                        found.add(uid)
                        break
        except SettingsError as error:
            if error.code is not codes.FOLDER_MISSING:
                raise
        reopen_folder(self._wire, self._source, writable=True)
        return found

    def _message_id(self, uid: int) -> bytes | None:
        command = b"UID FETCH %d (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])" % uid
        for answer in self._wire.ask(command, self._doing):
            for literal in answer.literals:
                if isinstance(literal, bytes) and (match := _MESSAGE_ID.search(literal)):
                    return match[1]
        return None

    def _candidates(
        self, target: Folder, message_id: bytes | None, size: int | None
    ) -> list[Listed]:
        """Return what could be the copy: by Message-ID, else by size."""
        if message_id is not None:
            criteria = b'HEADER MESSAGE-ID "%s"' % message_id
        else:
            criteria = b"LARGER %d SMALLER %d" % (max(0, (size or 0) - 1), (size or 0) + 1)
        uids = found_uids(self._wire.ask(b"UID SEARCH " + criteria, self._doing))
        if not uids:
            return []
        return [item for _, item in describe_messages(self._wire, target, sorted(uids))]

    # ------------------------------------------------------------------ the target

    def _prepare_target(self) -> None:
        """Spell the target as the server does, with its own delimiter, and make it if missing.

        :raises SettingsError, TransientError: the server would not make it
        """
        folders = list_folders(self._wire)
        spelled = spelled_on_server(self._target, folders)
        if spelled is None:
            delimiter = next((one for one in folders.values() if one), "/")
            inside = self._in_a_namespace(self._target.replace("/", delimiter))
            spelled = spelled_on_server(inside, folders)
            if spelled is None:
                self._create(inside)
                spelled = inside
        self._target, self._is_ready = spelled, True

    def _in_a_namespace(self, name: str) -> str:
        """Return the name with what folders of ours begin with, ``INBOX.`` on Courier (RFC 2342),
        unless it begins with what those of some namespace do."""
        if not self._wire.has("NAMESPACE"):
            return name
        prefixes: list[str] = []
        with contextlib.suppress(Refused):
            for answer in self._wire.ask(b"NAMESPACE", self._doing):
                if _PERSONAL.match(answer.text):
                    prefixes = [decode_folder(one) for one in _PREFIX.findall(answer.text)]
        # on Cyrus what is shared begins with nothing, and so as any name does
        if not prefixes or any(one and name.startswith(one) for one in prefixes):
            return name
        return min(prefixes, key=lambda one: not one.upper().startswith("INBOX")) + name

    def _create(self, name: str) -> None:
        doing = f"make the folder {name}"
        try:
            self._wire.ask(b"CREATE " + encode_folder(name), doing)
        except Refused as refused:
            if refused.code != "ALREADYEXISTS":  # RFC 5530; made by another session meanwhile
                error = self._wire.explain(refused, doing)
                if explain_code(refused, error.sentence) and isinstance(error, TransientError):
                    raise error from refused
                raise SettingsError(
                    codes.FOLDER_MISSING, error.sentence, next_step=_MAKE_IT
                ) from refused
        with contextlib.suppress(Refused):  # many mail programs show subscribed folders only
            self._wire.ask(b"SUBSCRIBE " + encode_folder(name), doing)


def remove(wire: Wire, folder: Folder, doing: str, uids: Sequence[int]) -> dict[int, str]:
    """Mark as deleted, and expunge where just these can be expunged (UIDPLUS).

    :returns: the refs of those that stay, marked
    """
    chosen = uid_set(uids)
    wire.ask(b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % chosen, doing)
    if wire.has("UIDPLUS"):
        wire.ask(b"UID EXPUNGE %s" % chosen, doing)
        return {}
    return folder.refs(present(wire, folder, uids))
