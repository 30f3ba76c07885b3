"""A real Dovecot 2.3: IMAP and POP3, in clear with STARTTLS and over TLS, users on demand.

Runs as root or as an ordinary user, in a folder of its own under the system's temporary folder
(short, because a unix socket's path holds 107 bytes at most).
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import imaplib
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

HOST = "127.0.0.1"
MISSING = (
    "Dovecot is not installed: `apt-get install dovecot-imapd dovecot-pop3d` (Debian, Ubuntu)."
)

_CONFIG = """
protocols = imap pop3
listen = {host}
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
mail_location = maildir:~/Maildir
mail_fsync = never
mail_max_userip_connections = 1000
mailbox_idle_check_interval = 1 secs
first_valid_uid = 0
first_valid_gid = 0
auth_mechanisms = plain login
auth_failure_delay = 0
disable_plaintext_auth = no
auth_cache_size = 0
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
ssl_dh =
{users}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/users/%u
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%u
}}
service anvil {{
  {chroot}
  client_limit = 10000
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 10000
}}
service stats {{
  client_limit = 10000
}}
service imap-login {{
  {chroot}
  service_count = 0
  client_limit = 2000
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  {chroot}
  service_count = 0
  client_limit = 2000
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 2000
  service_count = 100
}}
service pop3 {{
  process_limit = 2000
  service_count = 100
}}
{extra}
"""


_TOKENS = """
auth_mechanisms = plain login xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {settings}
}}
"""
_INTROSPECTION = """
introspection_mode = post
introspection_url = {url}
tls_ca_cert_file = {ca_file}
username_attribute = username
active_attribute = active
active_value = true
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A message as the server has it."""

    uid: int
    flags: frozenset[str]
    raw: bytes


class Account:
    """A user of the server: puts messages, looks at them, plays tricks with the folders."""

    def __init__(self, server: Dovecot, name: str, password: str) -> None:
        self.server, self.name, self.password = server, name, password
        self.maildir = server.home / "mail" / name / "Maildir"
        self._clock = itertools.count()
        self.folder_path("INBOX")

    def append(
        self,
        *raws: bytes,
        folder: str = "INBOX",
        received_at: datetime.datetime | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        """Deliver messages by writing files, some ten thousand a second, UIDs in this order.

        A line that ends in LF is served with CRLF. `flags`: of Seen, Answered, Flagged, Deleted.
        """
        path = self.folder_path(folder)
        letters = "".join(sorted(flag.lstrip("\\")[0].replace("D", "T") for flag in flags))
        stamp = (received_at or datetime.datetime.now(datetime.UTC)).timestamp()
        for raw in raws:
            n = next(self._clock)  # Dovecot numbers new files by the time in their names
            name = f"{1_600_000_000 + n // 1_000_000}.M{n % 1_000_000:06d}P1Q{n}.test"
            scratch = path / "tmp" / name
            scratch.write_bytes(raw)
            os.utime(scratch, (stamp, stamp))
            self.server.own(scratch)
            place = path / "cur" / f"{name}:2,{letters}" if letters else path / "new" / name
            scratch.rename(place)

    def folder_path(self, folder: str) -> Path:
        """Return a folder's Maildir, made if missing; levels are parted by a full stop."""
        path = self.maildir
        if folder.upper() != "INBOX":
            path = self.maildir / ("." + _modified_utf7(folder))
        if not path.exists():
            for name in ("cur", "new", "tmp"):
                (path / name).mkdir(parents=True)
            if path != self.maildir:
                (path / "maildirfolder").touch()
            for made in (path.parent, path, *path.iterdir()):
                self.server.own(made)
        return path

    @contextlib.contextmanager
    def imap(self) -> Iterator[imaplib.IMAP4]:
        """Log in and lend the connection."""
        with imaplib.IMAP4(HOST, self.server.imap, timeout=30) as client:
            client.login(self.name, self.password)
            yield client

    def change_password(self, password: str) -> None:
        """Let the user log in with this password, and with no other, from now on."""
        self.password = password
        self.server._write_password(self.name, password)
        while True:  # Dovecot looks at the file again when the clock shows another second
            try:
                with self.imap():
                    return
            except imaplib.IMAP4.error as error:
                if "AUTHENTICATIONFAILED" not in str(error):
                    raise

    def messages(self, folder: str = "INBOX") -> list[Stored]:
        """Return what the folder holds, as IMAP shows it; [] if there is no such folder."""
        with self.imap() as client:
            if client.select(f'"{_modified_utf7(folder)}"', readonly=True)[0] != "OK":
                return []
            _, answers = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
        return sorted(_stored(answers), key=lambda message: message.uid)

    def folders(self) -> set[str]:
        """Return the names of the folders, in modified UTF-7."""
        with self.imap() as client:
            _, lines = client.list()
        return {re.sub(rb'.*"\." ', b"", line).decode().strip('"') for line in lines if line}  # type: ignore[arg-type]

    def expunge(self, uids: Iterable[int], folder: str = "INBOX") -> None:
        """Remove messages, as another client would."""
        uid_set = ",".join(map(str, uids))
        with self.imap() as client:
            client.select(f'"{_modified_utf7(folder)}"')
            client.uid("STORE", uid_set, "+FLAGS.SILENT", r"(\Deleted)")
            client.uid("EXPUNGE", uid_set)

    def reset_uidvalidity(self, folder: str = "INBOX") -> None:
        """Give the folder another UIDVALIDITY; the UIDs stay the same numbers."""
        self.messages(folder)  # so that there is a list to change
        path = self.folder_path(folder)
        uid_list = path / "dovecot-uidlist"
        text = uid_list.read_text()
        uid_list.write_text(re.sub(r"V(\d+)", lambda m: f"V{int(m[1]) + 1}", text, count=1))
        for index in path.glob("dovecot.index*"):
            index.unlink()

    def recreate(self, *raws: bytes) -> None:
        """Empty INBOX and fill it with messages whose UIDs begin with 1 again, under another
        UIDVALIDITY."""
        self.messages()
        uid_list = self.maildir / "dovecot-uidlist"
        before = int(re.findall(r"V(\d+)", uid_list.read_text())[0])
        for path in [*self.maildir.glob("cur/*"), *self.maildir.glob("new/*")]:
            path.unlink()
        for path in [uid_list, *self.maildir.glob("dovecot.index*")]:
            path.unlink()
        self.append(*raws)
        self.set_uidvalidity(before + 1)

    def set_uidvalidity(self, validity: int) -> None:
        """Give INBOX this UIDVALIDITY; the UIDs stay."""
        self.messages()  # so that there is a list to change
        uid_list = self.maildir / "dovecot-uidlist"
        uid_list.write_text(re.sub(r"V\d+", f"V{validity}", uid_list.read_text(), count=1))
        for path in self.maildir.glob("dovecot.index*"):
            path.unlink()

    def make_read_only(self, folder: str = "INBOX") -> None:
        """Let the folder be read only, by an access control list (option `acl`)."""
        path = self.folder_path(folder) / "dovecot-acl"
        path.write_text("owner lr\n")
        self.server.own(path)


class Dovecot:
    """A running server; see `Account` for what is in it.

    :param certificate: PEM file of key and chain
    :param extra: more lines of configuration, ``imap_capability = …`` for instance
    :param acl: load the plugin for `Account.make_read_only`
    """

    def __init__(self, certificate: Path, *, extra: str = "", acl: bool = False) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dv-"))
        self.imap, self.imaps, self.pop3, self.pop3s = _free_ports(4)
        self._numbers = itertools.count(1)
        if acl:
            extra += "\nmail_plugins = acl\nplugin {\n  acl = vfile\n}"
            extra += "\nprotocol imap {\n  mail_plugins = acl imap_acl\n}"
        self._uid, self._gid = os.getuid(), os.getgid()
        self._prepare(certificate, extra)
        self._process = subprocess.Popen(
            [_executable(), "-F", "-c", str(self.home / "dovecot.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_listening()
        except BaseException:
            self.stop()
            raise

    def _prepare(self, certificate: Path, extra: str) -> None:
        users, chroot = "", ""
        if self._uid == 0:  # the package's own users run the services, nobody has the mail
            nobody = pwd.getpwnam("nobody")
            self._uid, self._gid = nobody.pw_uid, nobody.pw_gid
        else:
            me = pwd.getpwuid(self._uid).pw_name
            users = f"default_login_user = {me}\ndefault_internal_user = {me}\n"
            chroot = "chroot ="
        self.home.chmod(0o755)
        for name in ("run", "state", "users", "mail"):
            (self.home / name).mkdir()
        self.own(self.home / "mail")
        shutil.copy(certificate, self.home / "server.pem")
        text = _CONFIG.format(
            home=self.home, host=HOST, certificate=self.home / "server.pem", extra=extra,
            imap=self.imap, imaps=self.imaps, pop3=self.pop3, pop3s=self.pop3s,
            uid=self._uid, gid=self._gid, users=users, chroot=chroot,
        )  # fmt: skip
        (self.home / "dovecot.conf").write_text(text)

    def own(self, path: Path) -> None:
        """Give a file to the user whom the mail belongs to."""
        if os.getuid() == 0:
            os.chown(path, self._uid, self._gid)

    def new_user(self, name: str | None = None, *, password: str = "secret") -> Account:
        """Make a user with an empty INBOX."""
        name = name or f"user{next(self._numbers)}"
        self._write_password(name, password)
        (self.home / "mail" / name).mkdir()
        self.own(self.home / "mail" / name)
        return Account(self, name, password)

    def _write_password(self, name: str, password: str) -> None:
        coded = base64.b64encode(password.encode()).decode()
        (self.home / "users" / name).write_text(f"{name}:{{PLAIN.b64}}{coded}\n")

    @property
    def log(self) -> str:
        """What the server wrote into its log."""
        return (self.home / "dovecot.log").read_text()

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + 20
        for port in (self.imap, self.imaps, self.pop3, self.pop3s):
            while True:
                with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5):
                    break
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"Dovecot did not start: {self.log[-2000:]}")
                time.sleep(0.02)

    def stop(self) -> None:
        """End the server and remove its folder."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            shutil.rmtree(self.home, ignore_errors=True)


def require_dovecot() -> None:
    """Skip the test where Dovecot is missing; fail it in continuous integration (CI is set)."""
    if _executable():
        return
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@contextlib.contextmanager
def running_dovecot(certificate: Path, *, extra: str = "", acl: bool = False) -> Iterator[Dovecot]:
    """Start a server for the block."""
    require_dovecot()
    server = Dovecot(certificate, extra=extra, acl=acl)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def introspection(url: str, ca_file: Path) -> Iterator[str]:
    """Lend the configuration that lets a server ask `url` about tokens (RFC 7662)."""
    folder = Path(tempfile.mkdtemp(prefix="dv-"))
    folder.chmod(0o755)  # Dovecot's own user reads it
    try:
        shutil.copy(ca_file, folder / "ca.pem")
        (folder / "ca.pem").chmod(0o644)
        settings = folder / "oauth2.conf.ext"
        settings.write_text(_INTROSPECTION.format(url=url, ca_file=folder / "ca.pem"))
        yield _TOKENS.format(settings=settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _executable() -> str:
    return (
        shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin") or ""
    )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def _modified_utf7(name: str) -> str:
    """Encode a folder's name, RFC 3501 section 5.1.3."""
    text = re.sub(
        r"[^\x20-\x7e]+",
        lambda m: (
            "\x00"
            + base64.b64encode(m[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
            + "-"
        ),
        name.replace("&", "&-"),
    )
    return text.replace("\x00", "&")


def _stored(answers: Iterable[object]) -> Iterator[Stored]:
    for answer in answers:
        if not isinstance(answer, tuple):
            continue
        head, raw = answer
        uid, flags = re.search(rb"UID (\d+)", head), re.search(rb"FLAGS \(([^)]*)\)", head)
        assert uid and flags
        yield Stored(int(uid[1]), frozenset(flags[1].decode().split()), raw)
