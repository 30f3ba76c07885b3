"""postroom as an administrator would run it: `init`, `apply`, `run --once`, each a process.

Everything is on: two filters, contacts, conversations, receipts, acknowledgement. Nothing is
acknowledged, though, because mail from before the mailbox's creation never is.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from bench.measure import Measured, run_measured

_CONFIGURATION = """\
[[segment]]
name = "support"
acknowledgement = "We have your message. Your reference: {{{{ question.reference }}}}"
[[topic]]
segment = "support"
name = "Billing"
[[filter]]
segment = "support"
name = "invoices"
field = "subject"
pattern = "(?i)invoice"
set = {{ topic = "Billing" }}
[[filter]]
segment = "support"
name = "workshop"
field = "body"
pattern = '(?i)\\bworkshop\\b.*\\burgent\\b'
set = {{ assignee = "workshop" }}
[[mailbox]]
address = "info@desk.example"
name = "Example Support"
segment = "support"
start = "all"
acknowledge = true
[mailbox.incoming]
transport = "imap"
host = "127.0.0.1"
port = {port}
security = "none"
username = "{user}"
password = {{ env = "BENCH_PASSWORD" }}
"""


class Installation:
    """A database and a key in a folder, and one mailbox.

    :param port: of the IMAP server, in clear
    """

    def __init__(self, folder: Path, *, port: int, user: str, password: str) -> None:
        folder.mkdir(parents=True)
        self._database = folder / "postroom.db"
        self._environment = {
            "POSTROOM_DATABASE": f"sqlite:///{self._database}",
            "POSTROOM_KEY_FILE": str(folder / "key"),
            "BENCH_PASSWORD": password,
        }
        configuration = folder / "postroom.toml"
        configuration.write_text(_CONFIGURATION.format(port=port, user=user))
        self._run("init")
        self._run("apply", str(configuration))

    def retrieve(self) -> Measured:
        """Run `postroom run --once`."""
        return self._run("run", "--once")

    def stored(self) -> int:
        """Return how many messages there are."""
        with sqlite3.connect(self._database) as database:
            count: int = database.execute("SELECT count(*) FROM message").fetchone()[0]
        return count

    def _run(self, *arguments: str) -> Measured:
        program = Path(sys.executable).parent / "postroom"
        measured = run_measured([program, *arguments], self._environment)
        if measured.code:
            raise RuntimeError(f"postroom {arguments[0]} failed:\n{measured.output}")
        return measured
