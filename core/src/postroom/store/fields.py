"""Column types that are the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import json
from peewee import BigIntegerField, BlobField, TextField

_encode = json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: dict[type[Any], str] = {list: "[]", tuple: "[]", dict: "{}"}
_MICROSECOND = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970 (UTC); exact, where floats are not."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """Return the aware UTC instant."""
    return _EPOCH + micros * _MICROSECOND


class InstantField(BigIntegerField):
    """An aware UTC datetime as microseconds since 1970, so that both databases compare alike."""

    def db_value(self, value: datetime | int | None) -> int | None:
        """Return what is stored."""
        return to_micros(value) if isinstance(value, datetime) else value

    def python_value(self, value: int | None) -> datetime | None:
        """Return what is read."""
        return None if value is None else from_micros(value)


class JsonField(TextField):
    """A JSON value as text."""

    def db_value(self, value: Any) -> str | None:
        """Return what is stored."""
        if value is None:
            return None
        return (None if value else _EMPTY.get(type(value))) or _encode(value).decode()

    def python_value(self, value: str | None) -> Any:
        """Return what is read."""
        return None if value is None else json.decode(value)


class SealedField(BlobField):
    """Bytes that `secrets.seal` made; a change of the key seals them anew."""
