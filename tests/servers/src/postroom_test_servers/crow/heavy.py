"""The plugin of a mutant: it imports a library while it is loaded."""

from __future__ import annotations

import http.client  # noqa: F401 - what is wrong here

from postroom_test_servers.crow.plugin import postroom_transports

__all__ = ["postroom_transports"]
