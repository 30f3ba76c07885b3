"""Settings of a side: validated with every problem in plain words, secrets sealed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from postroom import plugins
from postroom.api import SettingsError, codes
from postroom.errors import InputError
from postroom.mailboxes import mailboxes, sides
from postroom.plugin_settings import validate
from postroom.store.database import now
from postroom.store.models import Mailbox, Side
from postroom_test_servers.pigeon import FakePlugins, Pigeon, problems_of

pytestmark = pytest.mark.usefixtures("pigeons")
LOFT = {"host": "loft.example.org", "username": "ann", "password": "corn and peas"}


@pytest.fixture
def mailbox(store: str) -> Mailbox:
    """A mailbox without sides."""
    return mailboxes.add("info@example.org")


def test_every_problem_is_named_in_plain_words() -> None:
    values = {"hots": "x", "port": 100, "username": "hawk", "ringed": "perhaps", "folders": 3}

    with pytest.raises(InputError) as caught:
        validate(Pigeon(), "in", values)

    assert problems_of(caught) == {
        "host": "is missing",
        "hots": 'is unknown; did you mean "host"?',
        "port": "must be at most 99",
        "username": "must not be a hawk",
        "ringed": "must be true or false",
        "folders": "must be a list",
    }


def test_secret_is_sealed_masked_and_comes_back(mailbox: Mailbox, store: str) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)

    loaded: Any = sides.load(side, plugins.load())
    assert loaded.password.get_secret_value() == "corn and peas"
    assert sides.shown(side)["password"] == "********"
    assert side.secret_fields == ["password"]
    assert "corn" not in repr(Side.select().where(Side.id == side.id).dicts().get())
    if store.startswith("sqlite"):
        folder = Path(store.removeprefix("sqlite:///")).parent
        assert all(b"corn and" not in path.read_bytes() for path in folder.iterdir())


def test_missing_plugin_still_shows_the_side_masked(mailbox: Mailbox) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)
    Path(os.environ["POSTROOM_KEY_FILE"]).unlink()
    plugins.use(FakePlugins())

    assert sides.shown(side)["host"] == "loft.example.org"
    assert sides.shown(side)["password"] == "********"
    with pytest.raises(SettingsError) as caught:
        sides.load(side, plugins.load())
    assert caught.value.code is codes.PLUGIN_MISSING


def fail_and_fetch(mailbox: Mailbox, side: Side) -> None:
    """Bring a side into back-off, with a cursor."""
    Side.update(failures=3, next_try_at=4 * 10**15, paused_by_server=True).where(
        Side.id == side.id
    ).execute()
    Mailbox.update(cursor="here").where(Mailbox.id == mailbox.id).execute()


def test_equal_settings_change_nothing(mailbox: Mailbox) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)
    fail_and_fetch(mailbox, side)

    again = sides.save(mailbox, "in", "pigeon", {**LOFT, "port": 7})

    assert again.failures == 3
    assert Mailbox.get_by_id(mailbox.id).cursor == "here"


@pytest.mark.parametrize(
    ("change", "cursor"),
    [
        ({"password": "oats"}, "here"),
        ({"ringed": False}, "here"),
        ({"host": "other.example.org"}, None),
        ({"folders": ["INBOX", "Basket"]}, None),
    ],
)
def test_change_ends_the_back_off(
    mailbox: Mailbox, change: dict[str, Any], cursor: str | None
) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)
    fail_and_fetch(mailbox, side)
    begun = now()

    again = sides.save(mailbox, "in", "pigeon", {**LOFT, **change})

    assert (again.failures, again.paused_by_server) == (0, False)
    assert begun <= again.next_try_at <= now()
    assert Mailbox.get_by_id(mailbox.id).cursor == cursor


def test_visit_that_is_under_way_loses_its_lease_when_the_cursor_goes(mailbox: Mailbox) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)

    again = sides.save(mailbox, "in", "pigeon", {**LOFT, "host": "other.example.org"})

    assert again.generation > side.generation


@pytest.mark.parametrize(
    ("transport", "disposition", "says"),
    [
        ("homing", "seen", "homing cannot do that, only: leave"),
        ("pigeon", "delete", "pigeon cannot do that, only: leave, seen, move"),
        ("pigeon", {"move": "inbox"}, "the folder inbox is watched itself"),
    ],
)
def test_disposition_has_to_go_with_the_transport(
    mailbox: Mailbox, transport: str, disposition: Any, says: str
) -> None:
    mailboxes.change(mailbox, disposition=disposition)
    with pytest.raises(InputError) as caught:
        sides.save(mailboxes.find(mailbox.address), "in", transport, LOFT)
    assert problems_of(caught) == {"disposition": says}

    mailboxes.change(mailbox, disposition="leave")
    sides.save(mailboxes.find(mailbox.address), "in", transport, LOFT)
    with pytest.raises(InputError) as caught:
        mailboxes.change(mailboxes.find(mailbox.address), disposition=disposition)
    assert problems_of(caught) == {"disposition": says}


def test_transport_that_only_receives_is_no_outgoing_side(mailbox: Mailbox) -> None:
    with pytest.raises(InputError, match="cannot send"):
        sides.save(mailbox, "out", "homing", LOFT)


def test_settings_of_an_older_plugin_are_migrated(mailbox: Mailbox) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)

    class Newer(Pigeon):
        settings_version = 2

        def migrate_settings(self, old_version: int, values: dict[str, Any]) -> dict[str, Any]:
            assert old_version == 1
            return {**values, "port": 9}

    loaded: Any = sides.load(side, FakePlugins([Newer()]))
    assert loaded.port == 9

    Side.update(settings_version=3).where(Side.id == side.id).execute()
    with pytest.raises(SettingsError, match="newer plugin"):
        sides.load(Side.get_by_id(side.id), FakePlugins([Newer()]))


def test_stored_settings_that_are_no_longer_valid_need_an_administrator(mailbox: Mailbox) -> None:
    side = sides.save(mailbox, "in", "pigeon", LOFT)
    side.settings = {"host": "x", "port": 1000}

    with pytest.raises(SettingsError) as caught:
        sides.load(side, plugins.load())

    assert [problem.field for problem in caught.value.problems] == ["port"]
    assert "corn" not in str(caught.value)


def test_side_of_its_own_address_is_kept(mailbox: Mailbox) -> None:
    side = sides.save(
        mailbox, "out", "pigeon", LOFT, send_as="desk@example.org", save_to_sent=False
    )

    assert sides.shown(side) | {"send_as": "desk@example.org", "save_to_sent": False} == (
        sides.shown(side)
    )
    with pytest.raises(InputError) as caught:
        sides.save(mailbox, "out", "pigeon", LOFT, send_as="nobody", reply_to="Ann <a@b.org>")
    assert set(problems_of(caught)) == {"send_as", "reply_to"}
