"""Measures retrieval against the limit and against peers: `scripts/bench`. Never part of a test."""
