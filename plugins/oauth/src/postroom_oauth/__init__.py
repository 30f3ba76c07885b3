"""Credentials of Microsoft 365 and Google for postroom."""

__version__ = "0.1.0"
