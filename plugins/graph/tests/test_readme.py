"""The README's table says what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

from postroom_graph import errors
from postroom_graph.settings import GraphReceiverSettings, GraphSenderSettings

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_with_its_description():
    section = README.partition("## Settings")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", section, re.MULTILINE))
    fields = GraphReceiverSettings.model_fields | GraphSenderSettings.model_fields

    assert rows == {name: field.description for name, field in fields.items()}


def test_every_code_of_the_plugin_is_explained():
    own = {one.name for one in vars(errors).values() if isinstance(one, errors.Code)}

    assert own
    assert all(f"`{name}`" in README for name in own)
