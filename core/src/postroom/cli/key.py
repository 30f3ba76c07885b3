"""``postroom key``: the key that seals secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postroom.cli.output import json_option, print_json, say
from postroom.cli.session import open_store

if TYPE_CHECKING:
    from postroom.secrets import Key


@click.group()
def key() -> None:
    """Change the key that seals passwords and tokens."""


@key.command(epilog="Example: postroom key rotate")
@click.option("--new-key-env", metavar="NAME", help="Environment variable that holds the new key.")
@click.option("--new-key-file", metavar="PATH", help="File that holds the new key.")
@json_option
def rotate(new_key_env: str | None, new_key_file: str | None, as_json: bool) -> None:
    """Seal all secrets with another key; by default a new one is made, in the key file.

    The old key stays beside it: backups from before need it. Safe while postroom runs, and safe to
    repeat if it was interrupted. Where the key is POSTROOM_KEY, give the new one, and change
    POSTROOM_KEY right afterwards.
    """
    with open_store():
        from postroom import places
        from postroom.admin import key_rotation

        done = key_rotation.rotate(_new_key(new_key_env, new_key_file))
        used = "POSTROOM_KEY" if os.environ.get("POSTROOM_KEY") else str(places.key_file())
    old = str(done.old_key) if done.old_key else None
    if as_json:
        print_json({"resealed": done.resealed, "key": used, "old_key": old})
        return
    say(f"{done.resealed} secrets are sealed with the new key.")
    if old is None:
        say("Put the new key into POSTROOM_KEY now, wherever postroom runs.")
    else:
        say(f"It is in {used}; the old one is kept in {old}, for backups from before.")


def _new_key(variable: str | None, path: str | None) -> Key | None:
    from postroom import secrets
    from postroom.admin.secret_sources import from_environment, from_file
    from postroom.errors import InputError, KeyUnusableError

    if variable is not None and path is not None:
        raise click.UsageError("Give --new-key-env or --new-key-file, not both.")
    try:
        if variable is not None:
            return secrets.decode(from_environment(variable).encode(), f"the variable {variable}")
        if path is not None:
            return secrets.decode(from_file(Path.cwd(), path).encode(), f"the file {path}")
    except ValueError as error:
        raise InputError(f"The new key: {error}.") from error
    except KeyUnusableError as error:
        error.next_step = "Make one with `openssl rand -base64 32`. Nothing was changed."
        raise
    return None
