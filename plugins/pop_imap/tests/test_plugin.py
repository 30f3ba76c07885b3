"""The plugin from outside: cheap to load, its README true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from postroom_pop_imap.plugin import postroom_transports
from postroom_pop_imap.settings import ImapSettings, PopSettings

README = Path(__file__).parent.parent / "README.md"


def test_every_setting_is_in_the_table_with_its_description():
    section = README.read_text(encoding="utf-8").partition("## Settings")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", section, re.MULTILINE))

    assert rows == {name: f.description for name, f in ImapSettings.model_fields.items()}
    assert rows.keys() - {"folders"} == PopSettings.model_fields.keys()


def test_loading_the_plugin_imports_no_mail_library():
    script = (
        "import sys, postroom_pop_imap.plugin as p; p.postroom_transports();"
        "print(sorted({'imaplib', 'imapclient', 'poplib', 'pydantic'} & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert run.stdout.strip() == "[]", run.stderr


def test_both_transports_are_offered():
    found = {transport.name: transport.receiver_settings() for transport in postroom_transports()}

    assert found == {"imap": ImapSettings, "pop3": PopSettings}
