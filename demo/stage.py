"""What the demo plays on: an IMAP and an SMTP server, an empty postroom, and its command line."""

from __future__ import annotations

import imaplib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from letters import DESK, address_of
from postroom_test_servers.smtp import SmtpServer

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
PASSWORD = "demo"
_PROGRAMS = Path(sys.executable).parent


class DemoError(Exception):
    """Something did not happen."""


class Stage:
    """Servers on loopback and a postroom in a temporary folder; all is gone at the end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postroom-demo-"))
        self.settings = {
            "POSTROOM_DATABASE": f"sqlite:///{self.folder}/postroom.db",
            "POSTROOM_KEY_FILE": str(self.folder / "key"),
        }
        self.smtp = SmtpServer(users={DESK: PASSWORD})
        self.imap_port = 0
        self._runner: subprocess.Popen[bytes] | None = None
        self._questions: list[dict[str, Any]] = []
        self._imap: imaplib.IMAP4 | None = None
        self._log = self.folder / "run.log"
        self._stack = ExitStack()

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._stack.enter_context(self.smtp)
            self._start_imap()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start_imap(self) -> None:
        """Start pymap, which keeps mail in memory."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.imap_port = free.getsockname()[1]
        server = self._start(
            [
                *(sys.executable, str(Path(__file__).with_name("imap_server.py"))),
                *("--host", "127.0.0.1", "--port", str(self.imap_port), "--no-tls"),
                *("dict", "--demo-user", DESK, "--demo-password", PASSWORD),
            ],
            self.folder / "imap.log",
        )

        def connect() -> imaplib.IMAP4 | None:
            if server.poll() is not None:
                raise DemoError(f"pymap ended:\n{(self.folder / 'imap.log').read_text()}")
            with suppress(OSError, imaplib.IMAP4.error):
                return imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=PATIENCE_SECONDS)
            return None

        self._imap = wait_for("the IMAP server", connect)
        self._imap.login(DESK, PASSWORD)
        self._stack.callback(self._imap.shutdown)

    def start_runner(self) -> None:
        """Run ``postroom run`` in the background; return when it has been to the mailbox."""
        show_command("postroom", "run", after=" &")
        self._runner = self._start([str(_PROGRAMS / "postroom"), "run"], self._log)

        def has_been_there() -> bool:
            [line] = self._run("mailbox", "list", "--json").splitlines()
            return bool(json.loads(line)["incoming_state"] == "ok")

        self._wait_for_runner("the first retrieval", has_been_there)

    def _start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        output: IO[bytes] = self._stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends them in order
        )
        self._stack.callback(_end, process)
        return process

    def log(self) -> str:
        """Return the last lines that the runner wrote."""
        with suppress(OSError):
            return "\n".join(self._log.read_text().splitlines()[-20:])
        return ""

    # ------------------------------------------------------------------ mail and commands

    def deliver(self, message: EmailMessage | bytes) -> None:
        """Put a message into the inbox, as the provider's mail server would."""
        raw = message if isinstance(message, bytes) else message.as_bytes()
        assert self._imap is not None
        now = imaplib.Time2Internaldate(time.time())
        try:
            answer, words = self._imap.append("INBOX", "", now, raw)
        except imaplib.IMAP4.error as error:
            raise DemoError(f"The IMAP server did not take a message: {error}") from error
        if answer != "OK":
            raise DemoError(f"The IMAP server did not take a message: {words!r}")

    def postroom(self, *arguments: str) -> str:
        """Show a command and what it prints; return that."""
        show_command("postroom", *arguments)
        output = self._run(*arguments)
        print(output.rstrip() + "\n", flush=True)
        return output

    def wait_for_mail(self, count: int) -> None:
        """Wait until so many incoming messages are in questions."""

        def arrived() -> bool:
            lines = self._run("question", "export").splitlines()
            self._questions = [json.loads(line) for line in lines]
            messages = [m for question in self._questions for m in question["messages"]]
            return [m["direction"] for m in messages].count("in") >= count

        self._wait_for_runner(f"{count} messages in the questions", arrived)

    def wait_for_outbox(self, count: int) -> None:
        """Wait until so many messages in the outbox are sent."""

        def are_sent() -> bool:
            sent = self._run("outbox", "list", "--state", "sent", "--json").splitlines()
            return len(sent) >= count

        self._wait_for_runner(f"{count} sent messages in the outbox", are_sent)

    def question_of(self, who: str) -> dict[str, Any]:
        """Return somebody's only question, as it was when mail was last waited for."""
        address = address_of(who)
        found = [one for one in self._questions if one["contact"]["address"] == address]
        if len(found) != 1:
            raise DemoError(f"{who} has {len(found)} questions, and not 1.")
        return found[0]

    def number_of(self, who: str) -> str:
        """Return the number of somebody's only question."""
        return str(self.question_of(who)["number"])

    def _wait_for_runner(self, what: str, look: Callable[[], bool]) -> None:
        def look_well() -> bool:
            if self._runner is not None and self._runner.poll() is not None:
                raise DemoError(f"`postroom run` ended with {self._runner.returncode}.")
            return look()

        wait_for(what, look_well)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(_PROGRAMS / "postroom"), *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise DemoError(
                f"`{shlex.join(['postroom', *arguments])}` ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "POSTROOM" not in name}
        return {**kept, **self.settings, "DESK_PASSWORD": PASSWORD, "PYTHONUTF8": "1"}


def wait_for(what: str, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Return what `look` finds as soon as it is something.

    :raises DemoError: it was nothing, all the time
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise DemoError(f"Waited {seconds:.0f} seconds in vain for {what}.")
        time.sleep(0.3)  # each look starts a process
    return found


def show_command(*words: str, after: str = "") -> None:
    """Print a command as a person would type it."""
    line = f"$ {shlex.join(words)}{after}"
    print(f"\x1b[1m{line}\x1b[0m" if _has_colours() else line, flush=True)


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
