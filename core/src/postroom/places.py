"""Where things are by default: flag, else environment, else the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote


def data_folder() -> Path:
    """Return the user's folder for postroom's data; it may not exist yet."""
    import platformdirs

    return platformdirs.user_data_path("postroom", appauthor=False)


def database_url() -> str:
    """Return POSTROOM_DATABASE, else a SQLite file in the data folder."""
    return os.environ.get("POSTROOM_DATABASE") or f"sqlite:///{quote(str(_default_database()))}"


def key_file() -> Path:
    """Return POSTROOM_KEY_FILE, else the file ``key`` in the data folder."""
    given = os.environ.get("POSTROOM_KEY_FILE")
    return Path(given) if given else data_folder() / "key"


def _default_database() -> Path:
    return data_folder() / "postroom.db"
