"""Programs that fetch mail too, each as its manual sets it up, on the same Dovecot.

mbsync comes from the system; getmail6 and django-mailbox are put, with uv, into an environment of
their own below `.bench/`, which is nobody's dependency. What cannot be had is left out, by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from bench.measure import Measured, run_measured

_DJANGO_SCRIPT = Path(__file__).with_name("django_mailbox_peer.py")
_PACKAGES = ("getmail6==6.20.*", "django-mailbox==4.10.*", "django==4.2.*", "setuptools<81")
"""django-mailbox 4.10 is the newest; Django 4.2 is what it still runs on."""

Fetch = Callable[[Path, int, str, str], Measured]
"""Given a new folder, the server's port, user and password: fetch all into the folder."""


class Peers:
    """What can be compared with here.

    :param environment: folder of the virtual environment, made if missing
    :param only: leave out all others
    """

    def __init__(self, environment: Path, *, only: Collection[str] | None = None) -> None:
        self._bin = environment / "bin"
        self.missing: dict[str, str] = {}
        """Name → why it is left out."""
        self.available: dict[str, Fetch] = {}
        if shutil.which("mbsync"):
            self.available["mbsync"] = _mbsync
        else:
            self.missing["mbsync"] = "not installed (apt-get install isync)"
        in_python = {"getmail6": self._getmail, "django-mailbox": self._django}
        if only is not None:
            self.available = {n: f for n, f in self.available.items() if n in only}
            in_python = {n: f for n, f in in_python.items() if n in only}
        reason = _prepare(environment) if in_python else ""
        for name, fetch in in_python.items():
            if reason:
                self.missing[name] = reason
            else:
                self.available[name] = fetch

    def versions(self) -> str:
        """Return names and versions in one line."""
        found = []
        if "mbsync" in self.available:
            found.append(_output(["mbsync", "--version"]))
        if "getmail6" in self.available:
            code = (
                "from importlib.metadata import version as v;"
                "print(', '.join(f'{n} {v(n)}' for n in ('getmail6','django-mailbox','django')))"
            )
            found.append(_output([str(self._bin / "python"), "-c", code]))
        return ", ".join(found)

    def _getmail(self, folder: Path, port: int, user: str, password: str) -> Measured:
        maildir = folder / "Maildir"
        for name in ("cur", "new", "tmp"):
            (maildir / name).mkdir(parents=True)
        owner = ""
        if os.getuid() == 0:  # it refuses to write a Maildir as root
            owner = "user = nobody\n"
            for made in (folder, maildir, *maildir.iterdir()):
                shutil.chown(made, "nobody")
        (folder / "getmailrc").write_text(
            f"[retriever]\ntype = SimpleIMAPRetriever\nserver = 127.0.0.1\nport = {port}\n"
            f"username = {user}\npassword = {password}\n"
            f"[destination]\ntype = Maildir\npath = {maildir}/\n{owner}"
            "[options]\nread_all = true\ndelete = false\nverbose = 0\n"
        )
        command: list[str | Path] = [self._bin / "getmail"]
        command += ["--getmaildir", folder, "--rcfile", "getmailrc"]
        return _checked(run_measured(command, {}), "getmail")

    def _django(self, folder: Path, port: int, user: str, password: str) -> Measured:
        command: list[str | Path] = [self._bin / "python", _DJANGO_SCRIPT, folder]
        uri = f"imap://{user}:{password}@127.0.0.1:{port}"
        return _checked(run_measured(command, {"BENCH_URI": uri}), "django-mailbox")


def _mbsync(folder: Path, port: int, user: str, password: str) -> Measured:
    (folder / "mail").mkdir()
    configuration = folder / "mbsyncrc"
    configuration.write_text(
        f"FSync yes\n\nIMAPAccount desk\nHost 127.0.0.1\nPort {port}\nUser {user}\n"
        f"Pass {password}\nSSLType None\nAuthMechs LOGIN\n\n"
        f"IMAPStore far\nAccount desk\n\nMaildirStore near\nInbox {folder}/mail/INBOX\n\n"
        "Channel desk\nFar :far:\nNear :near:\nPatterns INBOX\nSync Pull\nCreate Near\n"
        "SyncState *\n"
    )
    return _checked(run_measured(["mbsync", "-q", "-c", configuration, "desk"], {}), "mbsync")


def _checked(measured: Measured, name: str) -> Measured:
    if measured.code:
        raise RuntimeError(f"{name} failed:\n{measured.output[-2000:]}")
    return measured


def _prepare(environment: Path) -> str:
    """Install the Python peers; return why that did not work, or nothing."""
    if (environment / "bin" / "getmail").exists():
        return ""
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        return "no uv to install it with"
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(environment), *_PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"cannot be installed: {done.stderr.strip().splitlines()[-1][:100]}"
    return ""


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
