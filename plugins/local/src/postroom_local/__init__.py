"""Mail that lies on this machine. See `postroom_local.plugin` for where it begins."""

__version__ = "0.1.0"
