"""The transports `imap` and `pop3` of postroom."""

__version__ = "0.1.0"
