"""Microsoft Graph transport for postroom. See `postroom_graph.plugin` for where it begins."""

__version__ = "0.1.0"
