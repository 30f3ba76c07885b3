"""What the core's tests share. `store` and `database_url` come from `postroom_test_servers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from postroom import plugins
from postroom_test_servers.pigeon import FakePlugins, Homing, Pigeon


@pytest.fixture
def command() -> Callable[..., Result]:
    """Run ``postroom`` in this process: ``command("mailbox", "list")``."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        from postroom.cli import cli

        return CliRunner().invoke(cli, arguments, input=stdin)

    return run


@pytest.fixture
def pigeons() -> Iterator[FakePlugins]:
    """The transports ``pigeon`` and ``homing`` are installed, and no other."""
    installed = FakePlugins([Pigeon(), Homing()])
    plugins.use(installed)
    yield installed
    plugins.use(None)
