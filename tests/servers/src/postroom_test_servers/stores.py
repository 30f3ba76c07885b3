"""Databases for tests: an empty one or one with postroom's schema, on SQLite or PostgreSQL.

A new database is a copy of a finished one, which takes some milliseconds where the migrations would
take a hundred.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from postroom_test_servers.postgres import Postgres, PostgresMissingError, running_postgres


class Databases:
    """Makes databases; PostgreSQL is started when the first one is wanted.

    :param postgres: a server that runs already
    """

    def __init__(self, folder: Path, postgres: Postgres | None = None) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._postgres = postgres
        self._templates: dict[str, str] = {}
        self._numbers = itertools.count(1)

    @contextmanager
    def new(self, kind: str, *, empty: bool = False) -> Iterator[str]:
        """Lend the URL of a new database.

        :param kind: ``sqlite`` or ``postgresql``
        :param empty: without postroom's schema
        """
        if kind == "sqlite":
            path = self._folder / f"{next(self._numbers)}" / "postroom.db"
            path.parent.mkdir()
            if not empty:
                shutil.copyfile(self._sqlite_template(), path)
            yield f"sqlite:///{path}"
            return
        server = self._server()
        name = server.create("template0" if empty else self._postgres_template(server))
        try:
            yield server.url(name)
        finally:
            server.drop(name)

    def close(self) -> None:
        """End what was started."""
        self._stack.close()

    def _server(self) -> Postgres:
        if self._postgres is None:
            try:
                self._postgres = self._stack.enter_context(running_postgres())
            except PostgresMissingError as error:
                if os.environ.get("CI"):
                    pytest.fail(f"PostgreSQL is missing: {error}")
                pytest.skip(f"PostgreSQL is missing: {error}")
        return self._postgres

    def _sqlite_template(self) -> Path:
        path = self._folder / "template.db"
        if not path.exists():
            _upgrade(f"sqlite:///{path}")
        return path

    def _postgres_template(self, server: Postgres) -> str:
        if "postgresql" not in self._templates:
            name = server.create()
            _upgrade(server.url(name))
            self._templates["postgresql"] = name
        return self._templates["postgresql"]


def _upgrade(url: str) -> None:
    from postroom.store import database, schema

    database.connect(url)
    with database.connection():
        schema.upgrade()


@contextmanager
def installation(url: str, folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Make `url` and a private key file and data folder the configuration of this process."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("POSTROOM_DATABASE", url)
        environment.setenv("POSTROOM_KEY_FILE", str(folder / "key"))
        environment.setenv("XDG_DATA_HOME", str(folder / "data"))
        environment.setenv("POSTROOM_DEBUG", "1")
        for name in ("POSTROOM_KEY", "POSTROOM_PLUGINS", "POSTROOM_DISABLE_PLUGINS"):
            environment.delenv(name, raising=False)
        yield environment


@contextmanager
def opened(url: str) -> Iterator[None]:
    """Hold this thread's connection to a database for the block."""
    from postroom.store import database, models

    database.connect(url)
    connected = models.database.obj
    try:
        with database.connection():
            yield
    finally:
        if not connected.is_closed():
            connected.close()
