"""Real mail, on a real IMAP and a real SMTP server, becomes questions and gets answered."""

from __future__ import annotations

import argparse
import email
import email.policy
import io
import logging
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it loads: no traceback

import letters  # noqa: E402
from stage import PASSWORD, DemoError, Stage, show_command  # noqa: E402

_MAIL_IN_ALL = len(letters.FIRST_MAIL) + 3

_CONFIGURATION = """\
[[topic]]
segment = "default"
name = "Billing"

[[filter]]
segment = "default"
name = "invoices"
field = "subject"
pattern = "(?i)invoice"
set = {{ topic = "Billing" }}

[[mailbox]]
address = "{desk}"
name = "Example Support"
start = "all"
acknowledge = true
disposition = "seen"
[mailbox.incoming]
transport = "imap"
host = "127.0.0.1"
port = {imap_port}
security = "none"               # a real server: "tls", which is the default
username = "{desk}"
password = {{ env = "DESK_PASSWORD" }}
[mailbox.outgoing]
transport = "smtp"
host = "127.0.0.1"
port = {smtp_port}
security = "none"
username = "{desk}"
password = {{ env = "DESK_PASSWORD" }}
"""

_NEXT = """\
A mailbox of your own (postroom leaves its mail on the server, and acknowledges nothing yet):

  . {activate} && postroom init
  postroom mailbox add you@example.org
  postroom mailbox incoming you@example.org imap --host imap.example.org --username you@example.org
  postroom mailbox outgoing you@example.org smtp --host smtp.example.org --username you@example.org
  postroom mailbox test you@example.org && postroom run
"""


def main() -> int:
    """Play the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave servers and runner running, to play with"
    )
    keep = parser.parse_args().keep
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("mail.log").addHandler(logging.NullHandler())  # aiosmtpd's
    try:
        with Stage() as stage:
            begun = time.monotonic()
            try:
                _play(stage)
            except (DemoError, OSError, subprocess.SubprocessError) as error:
                print(f"\nThe demo failed: {error}", file=sys.stderr)
                print(f"\nThe last lines of the runner:\n{stage.log()}", file=sys.stderr)
                return 1
            print(f"That took {time.monotonic() - begun:.0f} seconds.\n")
            print(_NEXT.format(activate=_activate()))
            if keep:
                _keep(stage)
    except DemoError as error:
        print(f"The demo could not begin: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if keep else 130
    return 0


def _play(stage: Stage) -> None:
    _set_up(stage)
    _take_mail_in(stage)
    _answer(stage)
    _hear_back(stage)
    _account(stage)


def _set_up(stage: Stage) -> None:
    _tell(
        f"""An IMAP server (pymap) and an SMTP server (aiosmtpd) run on this machine now; nothing
        leaves it. A file says what is to be done with the mail of {letters.DESK}:"""
    )
    configuration = _CONFIGURATION.format(
        desk=letters.DESK, imap_port=stage.imap_port, smtp_port=stage.smtp.port
    )
    (stage.folder / "desk.toml").write_text(configuration, encoding="utf-8")
    show_command("cat", "desk.toml")
    print(configuration)
    stage.postroom("apply", "desk.toml")
    stage.start_runner()
    print()


def _take_mail_in(stage: Stage) -> None:
    for write in letters.FIRST_MAIL:
        stage.deliver(write())
    _tell(
        f"""{len(letters.FIRST_MAIL)} messages came in: plain text, HTML with a picture, an
        attachment, German in ISO-8859-1, Japanese, a newsletter, and a customer's second thought,
        which joins her first mail:"""
    )
    stage.wait_for_mail(len(letters.FIRST_MAIL))
    stage.postroom("question", "list")
    acknowledgements = stage.smtp.wait_for(5, timeout=30)
    _tell(
        """Five people got an acknowledgement (this is what the SMTP server received). The
        newsletter got none, and the second thought no second one:"""
    )
    for message in acknowledgements:
        parsed = _parsed(message.raw)
        print(f"  to {message.recipients[0]}: {parsed['Subject']}")
    print()


def _answer(stage: Stage) -> None:
    maria, juergen = stage.number_of(letters.MARIA), stage.number_of(letters.JUERGEN)
    _tell("Eve answers two of them; the runner sends what is queued:")
    text = "Dear Maria, it leaves today, to 4 Elm Street. Eve"
    stage.postroom("question", "answer", maria, "--as", "eve", "--text", text)
    stage.postroom("question", "answer", juergen, "--as", "eve", "--text", "Gern, ja.")
    received = stage.smtp.wait_for(7, timeout=30)
    stage.wait_for_outbox(7)
    stage.postroom("outbox", "list")
    _tell("What Maria receives:")
    parsed = _parsed(_sent_to(received, letters.MARIA))
    for name in ("From", "To", "Subject", "In-Reply-To", "Message-ID"):
        print(f"  {name}: {parsed[name]}")
    print("\n" + textwrap.indent(_text(parsed), "  "))


def _hear_back(stage: Stage) -> None:
    received = stage.smtp.received
    to_maria, to_juergen = (_sent_to(received, who) for who in (letters.MARIA, letters.JUERGEN))
    stage.deliver(letters.reply_to(to_maria, letters.MARIA, "Wonderful, thank you!"))
    stage.deliver(letters.bounce(to_juergen, "juergen@example.net"))
    stage.deliver(letters.out_of_office(_sent_to(received, letters.TOM), letters.TOM))
    _tell(
        """Maria replies. Tom's mail program says that he is away, and Jürgen's mail server that
        his mailbox is full: both are filed with their questions, and neither is answered:"""
    )
    stage.wait_for_mail(_MAIL_IN_ALL)
    stage.postroom("question", "show", stage.number_of(letters.MARIA))
    stage.postroom("question", "show", stage.number_of(letters.JUERGEN))
    _expect_kinds(stage, letters.MARIA, "question reply acknowledgement answer reply")
    _expect_kinds(stage, letters.JUERGEN, "question acknowledgement answer notification")
    _expect_kinds(stage, letters.TOM, "question acknowledgement notification")


def _account(stage: Stage) -> None:
    _tell("Is every message on the server accounted for? The audit asks the server itself:")
    audit = stage.postroom("mailbox", "audit", letters.DESK)
    for name, count in {
        "on server": _MAIL_IN_ALL,
        "stored": _MAIL_IN_ALL,
        "unaccounted": 0,
    }.items():
        if not re.search(rf"^{name}: +{count}$", audit, re.MULTILINE):
            raise DemoError(f"The audit should say {name}: {count}.")
    if len(stage.smtp.received) != 7:
        raise DemoError(f"{len(stage.smtp.received)} messages were sent, and not 7.")


def _activate() -> str:
    """Return the script that puts this postroom on the PATH, as a shell reads it."""
    return shlex.quote(str(Path(sys.executable).with_name("activate")))


def _keep(stage: Stage) -> None:
    """Tell how to play on, and what is sent meanwhile, until Ctrl-C."""
    print("Everything keeps running until Ctrl-C. In another terminal:\n")
    print(f"  . {_activate()}")
    for name, value in stage.settings.items():
        print(f"  export {name}={shlex.quote(value)}")
    print("  postroom question list\n")
    account = f"user {letters.DESK}, password {PASSWORD}, no encryption"
    print(f"The inbox, for a mail program: IMAP 127.0.0.1:{stage.imap_port}, {account}")
    print(f"The outgoing server: SMTP 127.0.0.1:{stage.smtp.port}, same account\n", flush=True)
    seen = len(stage.smtp.received)
    while True:
        for message in stage.smtp.received[seen:]:
            seen += 1
            subject = _parsed(message.raw)["Subject"]
            print(f"Sent to {', '.join(message.recipients)}: {subject}", flush=True)
        time.sleep(0.5)


# ---------------------------------------------------------------------- small things


def _tell(text: str) -> None:
    print(textwrap.fill(" ".join(text.split()), 96) + "\n", flush=True)


def _expect_kinds(stage: Stage, who: str, kinds: str) -> None:
    found = sorted(message["kind"] for message in stage.question_of(who)["messages"])
    if found != sorted(kinds.split()):
        raise DemoError(f"The question of {who} has other messages than {kinds}: {found}")


def _sent_to(received: list[Any], who: str) -> bytes:
    """Return the last message that somebody was sent."""
    address = letters.address_of(who)
    raw: bytes = [message for message in received if address in message.recipients][-1].raw
    return raw


def _parsed(raw: bytes) -> Any:
    return email.message_from_bytes(raw, policy=email.policy.default)


def _text(parsed: Any) -> str:
    body = parsed.get_body(("plain",))
    return str(body.get_content()) if body else ""


if __name__ == "__main__":
    sys.exit(main())
