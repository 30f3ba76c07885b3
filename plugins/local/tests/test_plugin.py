"""The description of the transports, and what the README says of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from postroom_local.plugin import postroom_transports
from postroom_local.settings import EmlSettings, MaildirSettings, MboxSettings

README = Path(__file__).parent.parent / "README.md"


def test_transports_have_their_names() -> None:
    assert [t.name for t in postroom_transports()] == ["maildir", "mbox", "eml", "pipe"]


def test_describing_imports_no_settings() -> None:
    code = "import sys, postroom_local.plugin as p; list(p.postroom_transports()); "
    code += "sys.exit('pydantic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "model"), [("maildir", MaildirSettings), ("mbox", MboxSettings), ("eml", EmlSettings)]
)
def test_every_setting_is_in_the_table_with_its_description(name: str, model: type) -> None:
    text = README.read_text(encoding="utf-8")
    section = re.split(r"\n##", text.partition(f"### {name}\n")[2])[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", section, re.MULTILINE))

    assert rows == {field: f.description for field, f in model.model_fields.items()}  # type: ignore[attr-defined]
