"""Outgoing mail as bytes."""
