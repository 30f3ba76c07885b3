"""``apply``: all of a file or nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from postroom import plugins
from postroom.admin import apply as configuration
from postroom.admin.toml_lines import Lines
from postroom.errors import InputError
from postroom.mailboxes import filters, mailboxes, segments, sides, topics
from postroom.store.models import Filter, Mailbox, Segment, Setting, Side, Topic
from postroom_test_servers.pigeon import FakePlugins

GOOD = """
[[segment]]
name = "support"
acknowledgement = "Your reference: {{ question.reference }}"
[[topic]]
segment = "support"
name = "Billing"
[[filter]]
segment = "support"
name = "invoices"
field = "subject"
pattern = "(?i)invoice"
set = { topic = "Billing" }
[[filter]]
segment = "support"
name = "lists"
field = "header:List-Id"
pattern = "."
ignore = "a list"
[[mailbox]]
address = "info@example.org"
segment = "support"
topic = "Billing"
disposition = { move = "Done" }
start = 2026-01-31
[mailbox.incoming]
transport = "pigeon"
host = "loft"
username = "ann"
password = { env = "LOFT_PASSWORD" }
[mailbox.outgoing]
transport = "pigeon"
host = "loft"
password = { file = "password.txt" }
send_as = "desk@example.org"
save_to_sent = false
[[mailbox]]
address = "bare@example.org"
"""
PASSWORD_LINE = GOOD[: GOOD.index("password =")].count("\n") + 1


@pytest.fixture(autouse=True)
def _secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOFT_PASSWORD", "corn and peas")
    (tmp_path / "password.txt").write_text("oats and rye\n")


@pytest.fixture
def run(store: str, tmp_path: Path, pigeons: FakePlugins) -> Any:
    """Apply a text."""

    def apply(text: str, *, dry_run: bool = False) -> configuration.Applied:
        file = configuration.read(text.encode(), name="m.toml", folder=tmp_path)
        return configuration.apply(file, dry_run=dry_run)

    return apply


def problems(caught: Any) -> list[str]:
    return [str(problem) for problem in caught.value.problems]


def test_everything_in_a_file_is_set_up(run: Any) -> None:
    run(GOOD)

    mailbox = mailboxes.find("info@example.org")
    shown = mailboxes.shown(mailbox)
    assert shown["segment"] == "support"
    assert shown["topic"] == "Billing"
    assert shown["disposition"] == {"move": "Done"}
    assert shown["outgoing"]["send_as"] == "desk@example.org"
    assert shown["incoming"]["password"] == "********"
    for direction, word in (("in", "corn and peas"), ("out", "oats and rye")):
        side = sides.find(mailbox, direction)
        assert side is not None
        loaded: Any = sides.load(side, plugins.load())
        assert loaded.password.get_secret_value() == word
    assert [rule["name"] for rule in filters.listed("support")] == ["invoices", "lists"]


def test_applying_twice_changes_nothing(run: Any) -> None:
    assert len(run(GOOD).plan) == 8
    sealed = [side.sealed for side in Side.select().order_by(Side.id)]

    assert run(GOOD).plan == []

    assert [side.sealed for side in Side.select().order_by(Side.id)] == sealed


def test_dry_run_says_the_same_and_changes_nothing(run: Any) -> None:
    planned = run(GOOD, dry_run=True).plan

    assert Mailbox.select().count() == Segment.select().count() == Setting.select().count() == 0
    assert run(GOOD).plan == planned


def test_absent_key_means_its_default_and_an_absent_mailbox_is_left_alone(run: Any) -> None:
    run(GOOD)

    plan = run('[[mailbox]]\naddress = "INFO@example.org"\n').plan

    mailbox = mailboxes.find("info@example.org")
    assert mailboxes.settings_of(mailbox)["disposition"] == "leave"
    assert sides.find(mailbox, "in") is None
    assert mailboxes.find("bare@example.org")
    assert "mailbox INFO@example.org: incoming removed" in plan


def test_every_problem_is_told_with_line_and_field(run: Any) -> None:
    text = """\
[[segment]]
name = "support"
acknowledgement = "{{ broken"
[[mailbox]]
address = "info@example.org"
segment = "suport"
pol_seconds = 3
[mailbox.incoming]
transport = "pigeon"
hots = "x"
port = 1000
password = { env = "NO_SUCH_VARIABLE" }
[mailbox.outgoing]
transport = "owl"
[[mailbox]]
adress = "x"
[[mailbox]]
address = "Info@Example.org"
[[filter]]
name = "f"
field = "subject"
pattern = "("
set = { topc = "x" }
[[credential]]
name = "contoso"
kind = "microsoft"
[[mailboxes]]
"""
    with pytest.raises(InputError) as caught:
        run(text)

    told = problems(caught)
    starts = [one.split(":")[0] for one in told]
    assert starts == [
        "line 3, acknowledgement",
        "line 6, segment",
        "line 7, pol_seconds",
        "line 8, incoming.host",
        "line 10, incoming.hots",
        "line 11, incoming.port",
        "line 12, incoming.password",
        "line 14, outgoing.transport",
        "line 15, address",
        "line 16, adress",
        "line 17, mailbox",
        "line 22, pattern",
        "line 23, set.topc",
        "line 23, set",
        "line 26, kind",
        "line 27, mailboxes",
    ]
    assert "did you mean" in told[2]
    assert "owl" in told[7]
    assert Mailbox.select().count() == Topic.select().count() == Filter.select().count() == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[mailbox]]\naddress = \n", "m.toml, line 2, column 11: Invalid value."),
        ("[[mailbox]\n", "m.toml, line 1, column 10"),
        ('a = 1\na = 2\n"', "m.toml, line 2"),
    ],
)
def test_malformed_file_says_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        configuration.read(text.encode(), name="m.toml", folder=tmp_path)

    assert caught.value.sentence.startswith(says)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "{a=" * 3000])
def test_what_stands_too_deep_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="too deeply"):
        configuration.read(text.encode(), name="m.toml", folder=tmp_path)


def test_pattern_that_is_too_deep_is_a_problem(run: Any) -> None:
    pattern = "(?:" * 200 + "x" + ")" * 200
    rule = '[[filter]]\nname = "f"\nfield = "subject"\nstop = true\npattern = '

    with pytest.raises(InputError) as caught:
        run(f'{rule}"{pattern}"')

    [told] = problems(caught)
    assert told.startswith("line 5, pattern: has groups")


@pytest.mark.parametrize("name", ["pigeonn", "PIGEON"])
def test_transport_with_a_typing_error_names_the_nearest(run: Any, name: str) -> None:
    with pytest.raises(InputError) as caught:
        run(f'[[mailbox]]\naddress = "a@b.org"\n[mailbox.incoming]\ntransport = "{name}"')

    [told] = problems(caught)
    assert 'Did you mean "pigeon"?' in told


def test_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: the file is not in UTF-8"):
        configuration.read(b'a = 1\nb = "\xff"', name="m.toml", folder=tmp_path)


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ('{ env = "NO_SUCH_VARIABLE" }', "is not set"),
        ('{ file = "no-such-file" }', "cannot be read"),
        ('{ fiel = "x" }', "must be { env"),
        ("3", "must be { env"),
    ],
)
def test_secret_that_cannot_be_read_is_a_problem(run: Any, secret: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        run(GOOD.replace('{ env = "LOFT_PASSWORD" }', secret))

    (told,) = problems(caught)
    assert told.startswith(f"line {PASSWORD_LINE}, incoming.password")
    assert says in told


def test_secret_in_clear_is_taken_with_a_warning_that_does_not_show_it(run: Any) -> None:
    applied = run(GOOD.replace('{ env = "LOFT_PASSWORD" }', '"millet"'))

    (warning,) = applied.warnings
    assert warning.startswith(f"m.toml, line {PASSWORD_LINE}: password")
    assert "millet" not in warning


def test_order_of_filters_is_that_of_the_file(run: Any) -> None:
    run(GOOD)
    first, second = GOOD.index("[[filter]]"), GOOD.rindex("[[filter]]")
    end = GOOD.index("[[mailbox]]")
    turned = GOOD[:first] + GOOD[second:end] + GOOD[first:second] + GOOD[end:]

    assert run(turned).plan == ["filters of support: order changed"]

    assert [rule["name"] for rule in filters.listed("support")] == ["lists", "invoices"]


def test_transport_and_disposition_may_change_together(run: Any) -> None:
    start = '[[mailbox]]\naddress = "a@example.org"\ndisposition = "{}"\n[mailbox.incoming]\n'
    run(start.format("seen") + 'transport = "pigeon"\nhost = "x"')
    run(start.format("leave") + 'transport = "homing"\nhost = "x"')
    run(start.format("seen") + 'transport = "pigeon"\nhost = "x"')

    with pytest.raises(InputError) as caught:
        run(start.format("seen") + 'transport = "homing"\nhost = "x"')
    assert problems(caught)[0].startswith("line 3, ")


def test_wrong_kinds_of_values_are_problems(run: Any) -> None:
    text = 'mailbox = 3\n[segment]\nname = "x"\n[[topic]]\nsegment = 3\nname = 4\n'

    with pytest.raises(InputError) as caught:
        run(text + "[[filter]]\nset = 3\nstop = 4\n[[filter]]\nname = {}\nsegment = []\n")

    assert [one.split(":")[0] for one in problems(caught)] == [
        "line 1, mailbox",
        "line 2, segment",
        "line 5, segment",
        "line 6, name",
        "line 7, field",
        "line 7, pattern",
        "line 7, name",
        "line 8, set",
        "line 8, set",
        "line 9, stop",
        "line 10, field",
        "line 10, pattern",
        "line 10, set",
        "line 11, name",
        "line 12, segment",
    ]


PIGEON = """
[[mailbox]]
address = "a@example.org"
[mailbox.incoming]
transport = "pigeon"
host = "loft"
"""


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("port = true", "must be a whole number"),
        ('port = "7"', "must be a whole number"),
        ("port = 7.0", "must be a whole number"),
        ('ringed = "no"', "must be true or false"),
        ("ringed = 0", "must be true or false"),
        ("username = 7", "must be text"),
        ("username = true", "must be text"),
        ("username = 2026-01-31", "must be text"),
        ('folders = "INBOX"', "must be a list"),
        ("folders = { INBOX = true }", "must be a list"),
    ],
)
def test_setting_of_a_plugin_takes_what_its_type_is_in_toml(
    run: Any, setting: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        run(PIGEON + setting)

    assert problems(caught) == [f"line 7, incoming.{setting.split(' ')[0]}: {says}"]
    assert Mailbox.select().count() == 0


def test_entry_of_a_list_takes_what_its_type_is_in_toml(run: Any) -> None:
    with pytest.raises(InputError) as caught:
        run(PIGEON + 'folders = ["INBOX", 7]')

    assert problems(caught) == ["line 7, incoming.folders.1: must be text"]


def test_every_wrong_type_is_told_once_beside_what_else_is_wrong(run: Any) -> None:
    with pytest.raises(InputError) as caught:
        run(
            PIGEON.replace('host = "loft"', 'hots = "loft"')
            + 'port = "many"\nringed = "no"\nusername = "hawk"\n'
            + '[mailbox.outgoing]\ntransport = 3\n[[credential]]\nname = "x"\nkind = true\n'
        )

    assert problems(caught) == [
        "line 4, incoming.host: is missing",
        'line 6, incoming.hots: is unknown; did you mean "host"?',
        "line 7, incoming.port: must be a whole number",
        "line 8, incoming.ringed: must be true or false",
        "line 9, incoming.username: must not be a hawk",
        "line 11, outgoing.transport: must be text",
        "line 14, kind: must be text",
    ]


@pytest.mark.parametrize(
    "setting",
    [
        *('name = 1', 'segment = 1', 'enabled = "yes"', 'enabled = 1', 'topic = 1', 'topic = true'),
        *('disposition = true', 'disposition = { move = 1 }', 'start = 1', 'start = true'),
        *('acknowledge = "no"', 'acknowledge = 0', 'aliases = "b@example.org"', 'aliases = [1]'),
        *('poll_seconds = true', 'poll_seconds = "60"', 'poll_seconds = 60.0'),
        *('max_message_bytes = true', 'max_message_bytes = "1"', 'max_message_bytes = 1e6'),
        *('outgoing.send_as = 1', 'outgoing.reply_to = true', 'outgoing.save_to_sent = "no"'),
        'outgoing.save_to_sent = 1',
    ],
)  # fmt: skip
def test_setting_of_a_mailbox_takes_what_its_type_is_in_toml(run: Any, setting: str) -> None:
    text = f'[[mailbox]]\naddress = "a@example.org"\n{setting}\n'
    if setting.startswith("outgoing"):
        text += 'outgoing.transport = "pigeon"\noutgoing.host = "loft"\n'

    with pytest.raises(InputError) as caught:
        run(text)

    (told,) = problems(caught)
    assert told.startswith(f"line 3, {setting.split(' ')[0]}: ")
    assert Mailbox.select().count() == 0


def test_what_else_is_wrong_is_told_beside_an_unknown_segment(run: Any) -> None:
    text = """\
[[topic]]
segment = "suport"
name = ""
[[filter]]
segment = "suport"
name = "f"
field = "subjct"
pattern = "("
set = { topic = "Billing", status = "done" }
[[segment]]
[[filter]]
name = "g"
field = "subject"
pattern = "x"
set = "topic"
"""
    with pytest.raises(InputError) as caught:
        run(text)

    assert [one.split(":")[0] for one in problems(caught)] == [
        "line 2, segment",
        "line 3, name",
        "line 5, segment",
        "line 7, field",
        "line 8, pattern",
        "line 9, set.status",
        "line 10, name",
        "line 15, set",
    ]
    assert problems(caught)[6].endswith("is missing")


def test_segment_in_the_file_and_default_can_be_named(run: Any) -> None:
    run('[[topic]]\nname = "General"\n[[mailbox]]\naddress = "a@example.org"\ntopic = "general"\n')

    assert topics.find(segments.find("default"), "General")


def test_lines_of_odd_but_valid_files() -> None:
    text = '''# [[mailbox]]
text = """
[[mailbox]]
x = 1
"""
[[mailbox]] # first
address = 'a'
aliases = [
  "x", # ]
]
"quoted key" = 1
[ mailbox . incoming ]
folders = [["a"],
 ["b"]]
host = "h"
[[mailbox]]
  incoming.host = "z"
'''
    lines = Lines(text.replace("\n", "\r\n"))

    assert lines.of("mailbox", 0) == 6
    assert lines.of("mailbox", 0, "aliases") == 8
    assert lines.of("mailbox", 0, "quoted key") == 11
    assert lines.of("mailbox", 0, "incoming", "host") == 15
    assert lines.of("mailbox", 0, "incoming", "absent") == 12
    assert lines.of("mailbox", 1, "incoming", "host") == 17
    assert lines.of("nothing") == 1
