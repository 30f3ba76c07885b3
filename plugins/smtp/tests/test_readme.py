"""The README's table says what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

from postroom_smtp.settings import SmtpSettings

README = Path(__file__).parent.parent / "README.md"


def test_every_setting_is_in_the_table_with_its_description():
    section = README.read_text(encoding="utf-8").partition("## Settings")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", section, re.MULTILINE))

    assert rows == {name: f.description for name, f in SmtpSettings.model_fields.items()}
