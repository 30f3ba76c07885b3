"""DavMail: an EWS client that is not ours, seen as an IMAP and SMTP server. It vouches for our
stand-in of Exchange.

Debian's package davmail-server; `scripts/test` installs it. Where apt could install it and did not,
its test fails instead of being skipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

JAR: Final = Path("/usr/share/davmail/davmail.jar")
_SETTINGS: Final = """\
davmail.server=true
davmail.mode=EWS
davmail.url={url}
davmail.imapPort={imap}
davmail.smtpPort={smtp}
davmail.popPort=
davmail.caldavPort=
davmail.ldapPort=
davmail.allowRemote=false
davmail.bindAddress=127.0.0.1
davmail.disableUpdateCheck=true
davmail.enableKeepAlive=false
davmail.folderSizeLimit=0
davmail.server.certificate.hash={fingerprint}
davmail.logFilePath={folder}/davmail.log
log4j.rootLogger=WARN
log4j.logger.davmail={level}
log4j.logger.org.apache.http.wire=WARN
"""


class DavMail:
    """A running DavMail."""

    def __init__(self, imap: int, smtp: int, folder: Path) -> None:
        self.imap, self.smtp, self.folder = imap, smtp, folder

    def log(self) -> str:
        """Return what it wrote."""
        path = self.folder / "davmail.log"
        return path.read_text(errors="replace") if path.exists() else ""


def require_davmail() -> None:
    """Skip the test where DavMail cannot be had; fail it where it only was not installed."""
    if JAR.exists() and shutil.which("java"):
        return
    if os.environ.get("CI") and shutil.which("apt-get") and os.geteuid() == 0:
        pytest.fail("DavMail is not installed: apt-get install davmail-server", pytrace=False)
    pytest.skip("DavMail is not installed (Debian: davmail-server)")


@contextmanager
def running_davmail(url: str, folder: Path) -> Iterator[DavMail]:
    """Run DavMail before an Exchange server on this machine."""
    server = DavMail(_free_port(), _free_port(), folder)
    level = "DEBUG" if os.environ.get("POSTROOM_TEST_DAVMAIL_LOG") else "WARN"
    settings = folder / "davmail.properties"
    values = {"url": url, "imap": server.imap, "smtp": server.smtp, "folder": folder}
    trusted = {"fingerprint": _fingerprint(urlsplit(url).port or 443)}
    settings.write_text(_SETTINGS.format(level=level, **values, **trusted))
    process = subprocess.Popen(
        ["java", "-Xmx256m", "-jar", str(JAR), "-server", str(settings)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=folder, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    try:
        _wait_for(server.imap, process)
        _wait_for(server.smtp, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"DavMail ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            pause.wait(0.1)
        else:
            return
    raise TimeoutError("DavMail does not listen")


def _fingerprint(port: int) -> str:
    """Return how DavMail names a server's certificate: it trusts this one alone."""
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("localhost", port)))
    digest = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 40, 2))
