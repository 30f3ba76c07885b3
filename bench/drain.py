"""The limit: log in, SELECT, one UID FETCH of everything, bytes thrown away."""

from __future__ import annotations

import socket
import time

_TIMEOUT_SECONDS = 120
_WINDOW = 4096
"""Longer than any last line, shorter than what is worth joining."""


def drain(port: int, user: str, password: str) -> float:
    """Read every message of INBOX; return the seconds it took."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS) as line:
        _until(line, b"\r\n")
        for tag, command in (
            (b"a", f"LOGIN {user} {password}"),
            (b"b", "SELECT INBOX"),
            (b"c", "UID FETCH 1:* BODY.PEEK[]"),
        ):
            line.sendall(tag + b" " + command.encode() + b"\r\n")
            _until(line, b"\r\n" + tag + b" OK")
    return time.perf_counter() - begun


def _until(line: socket.socket, mark: bytes) -> None:
    """Throw bytes away up to the answer's last line."""
    end = b"\r\n"
    while mark not in end or not end.endswith(b"\r\n"):
        piece = line.recv(1 << 20)
        if not piece:
            raise ConnectionError("the server ended the connection")
        end = (end + piece if len(piece) < _WINDOW else piece)[-_WINDOW:]
