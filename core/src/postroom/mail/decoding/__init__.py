"""Bytes become text: transfer encodings undone, character sets recognised."""
