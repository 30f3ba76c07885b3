"""What loading a plugin costs, seen in a process of its own; for ``plugin check`` and the kit."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

HEAVY: Final = frozenset(
    "imaplib poplib smtplib imapclient exchangelib msal httpx requests urllib3 aiohttp aiosmtplib "
    "http.client pydantic mailbox lxml google boto3".split()
)
"""What no plugin imports while it is loaded."""
SOUNDS_SECRET: Final = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|api_key)$")
"""Names of settings that have to be `SecretStr`."""
_SECONDS: Final = 60
_LIST_IMPORTS: Final = """
import sys, importlib
import postroom.api
before = set(sys.modules)
module = importlib.import_module(sys.argv[1])
for name in ("postroom_transports", "postroom_credentials"):
    list(getattr(module, name, list)() or ())
print("\\n".join(set(sys.modules) - before))
"""


def imported_at_load(module: str) -> set[str]:
    """Return the modules that are imported along with a plugin's module and what it offers.

    :raises ImportError: it cannot be imported by itself; says why
    """
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _LIST_IMPORTS, module],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if run.returncode:
        raise ImportError(run.stderr.strip()[-500:])
    return set(run.stdout.split())
