"""SMTP submission for postroom. See `postroom_smtp.plugin` for where it begins."""

__version__ = "0.1.0"
