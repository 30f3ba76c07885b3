"""The self-tests of both sides. They change nothing in the mailbox.

Whether the application may write or send is tried on a message that does not exist: who may, hears
that it is not there; who may not, hears that. What the token says of permissions is only a hint:
those that Exchange itself gives (RBAC for Applications) do not stand in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from postroom.api import AuthError, CheckStep, TransportError

from postroom_graph.client import Client, Request
from postroom_graph.errors import GraphError
from postroom_graph.folders import Folders, missing

_NOBODY: Final = "AAMkAGpvc3Ryb29t-no-such-message"
_WRITES: Final = frozenset(("mail.readwrite", "mail.readwrite.shared", "mail.readwrite.all"))
_SENDS: Final = frozenset(("mail.send", "mail.send.shared", "mail.send.all"))
Step = Callable[[], tuple[Literal["ok", "warn"], str]]


def receiver_steps(client: Client, folders: Folders, names: Sequence[str]) -> Iterator[CheckStep]:
    """Yield one result for each step; after a failure the rest is skipped."""
    checks = _Checks(client)
    yield from checks.run(
        [
            ("token", checks.token),
            ("mailbox", checks.mailbox),
            ("folder", lambda: checks.folders(folders, names)),
            ("read", lambda: checks.read(folders, names[0])),
            ("write", checks.write_if_wanted),
        ]
    )


def sender_steps(client: Client) -> Iterator[CheckStep]:
    """Yield one result for each step; after a failure the rest is skipped. Sends no mail."""
    checks = _Checks(client)
    yield from checks.run(
        [
            ("token", checks.token),
            ("mailbox", checks.mailbox),
            ("write", checks.write),
            ("send", checks.send),
        ]
    )


class _Checks:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._hint = _MISSING

    def run(self, steps: Sequence[tuple[str, Step]]) -> Iterator[CheckStep]:
        """Take the steps in their order."""
        failed = False
        for name, step in steps:
            if failed:
                yield CheckStep(name, "skip", "not tried")
                continue
            try:
                outcome, detail = step()
            except TransportError as error:
                failed = True
                yield CheckStep(name, "fail", error.sentence, error.next_step)
            else:
                yield CheckStep(name, outcome, detail, self._hint if outcome == "warn" else "")

    def token(self) -> tuple[Literal["ok", "warn"], str]:
        """Get a token from the credential."""
        self._client.ready()
        claimed = self._claims()
        if claimed is None:
            return "ok", "the credential gave one"
        mail = sorted(one for one in claimed if one.lower().startswith("mail."))
        return "ok", f"the credential gave one, with {', '.join(mail) or 'no permission on mail'}"

    def mailbox(self) -> tuple[Literal["ok", "warn"], str]:
        """Look at the mailbox's inbox."""
        with self._client.doing("look at the mailbox"):
            found = self._client.get("/mailFolders/inbox", select="id,displayName")
        return "ok", f"{self._client.mailbox}, its inbox is called {found.get('displayName')}"

    def folders(self, folders: Folders, names: Sequence[str]) -> tuple[Literal["ok", "warn"], str]:
        """Find every folder."""
        for name in names:
            with self._client.doing(f"find the folder {name}"):
                if folders.id_of(name) is None:
                    raise missing(self._client, name)
        return "ok", ", ".join(names)

    def read(self, folders: Folders, name: str) -> tuple[Literal["ok", "warn"], str]:
        """List a message."""
        with self._client.doing(f"read the folder {name}"):
            path = f"{folders.find(name).path}/messages"
            found = self._client.get(path, select="id,receivedDateTime", top="1")
        return "ok", "a message can be read" if found.get("value") else "there is no message yet"

    def write(self) -> tuple[Literal["ok", "warn"], str]:
        """Try to mark a message that is not there."""
        self._try(self._client.patch(f"/messages/{_NOBODY}", {"isRead": True}), "change a message")
        return self._judged(_WRITES, "Mail.ReadWrite", "messages may be marked, moved and deleted")

    def write_if_wanted(self) -> tuple[Literal["ok", "warn"], str]:
        """Do so; for a mailbox that is left as it is a refusal is none."""
        try:
            return self.write()
        except AuthError as error:
            self._hint = f'Nothing if the disposition is "leave"; else: {error.next_step}'
            return "warn", error.sentence

    def send(self) -> tuple[Literal["ok", "warn"], str]:
        """Try to send a draft that is not there."""
        self._try(self._client.post(f"/messages/{_NOBODY}/send"), "send")
        return self._judged(_SENDS, "Mail.Send", "mail may be sent")

    def _try(self, request: Request, doing: str) -> None:
        try:
            self._client.ask(request)
        except GraphError as error:
            if error.status not in (400, 404) or not (error.is_missing or error.status == 400):
                raise self._client.explained(error, doing) from error

    def _judged(
        self, permissions: frozenset[str], name: str, detail: str
    ) -> tuple[Literal["ok", "warn"], str]:
        claimed = self._claims()
        if claimed is None or {one.lower() for one in claimed} & permissions:
            return "ok", detail
        return "warn", f"Exchange did not refuse it, but the token does not name {name}"

    def _claims(self) -> list[str] | None:
        """Return the permissions that the token names, None if it cannot be read."""
        try:
            payload = self._client.token.value.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            roles, scopes = claims.get("roles") or [], claims.get("scp") or ""
            return [*map(str, roles), *str(scopes).split()]
        except (IndexError, ValueError, AttributeError, TypeError):
            return None


_MISSING: Final = (
    "Nothing if Exchange gives the right by RBAC for Applications; else add the permission and "
    "grant admin consent."
)
