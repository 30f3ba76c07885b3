"""Setting up: the key, the tables and the first segment."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from postroom import places, secrets
from postroom.errors import SchemaError
from postroom.mailboxes import segments
from postroom.store import schema


def is_empty() -> bool:
    """Say whether the database has no tables of ours yet.

    :raises SchemaError: it has those of an older or newer postroom
    """
    missing = schema.pending()
    if not missing:
        return False
    if missing[0].startswith("0001"):
        return True
    raise SchemaError(
        "The database is of an older postroom.", next_step="Run `postroom db upgrade`."
    )


def make_tables() -> bool:
    """Make the tables in an empty database; False if another process was faster."""
    return bool(schema.upgrade())


def initialise() -> list[str]:
    """Make what is not there yet; return a line for each thing made. Safe to repeat.

    :raises SchemaError: the database is of an older or newer postroom
    :raises KeyUnusableError: the key cannot be read or made, or is another database's
    """
    done = []
    if is_empty() and make_tables():
        done.append("Made the tables.")
    key = secrets.prepare()
    if key is not None:
        done.append(f"Made the key {key}; keep a copy of it apart from the database.")
    if segments.ensure_default():
        done.append(f'Made the segment "{segments.DEFAULT}".')
    return done


def where() -> list[str]:
    """Return what is used, a line each, without passwords."""
    url = urlsplit(places.database_url())
    if url.scheme == "sqlite":
        database = places.database_url()
    else:
        database = f"{url.scheme}://{url.hostname or ''}{url.path}"
    return [f"Database: {database}", f"Key: {_key()}"]


def _key() -> str:
    return "POSTROOM_KEY" if os.environ.get("POSTROOM_KEY") else str(places.key_file())
