"""PostgreSQL as a server that restarts, ends connections, and hands over to another."""

from __future__ import annotations

from typing import Any, Final

import peewee
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from postroom.errors import DatabaseUnusableError

_PATIENCE: Final = {
    "connect_timeout": 10,
    # A server that vanishes without a word is noticed: the system waits for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Seconds, and milliseconds; what the URL says goes before."""
_SETTINGS: Final = (
    # Commits are waited for: side effects follow them. One that waits for standbys stays.
    ("synchronous_commit", "off", "on"),
    # A runner that is frozen in a transaction, or whose machine vanished, would keep its mailbox
    # locked, whatever its lease; the system notices after hours that nobody is there.
    ("idle_in_transaction_session_timeout", "0", "2min"),
)
"""Names, defaults of the server that do not do, and what is set instead of those."""


def postgresql(url: str) -> peewee.PostgresqlDatabase:
    """Return the database behind an URL, not yet connected.

    :raises DatabaseUnusableError: it is no URL of a PostgreSQL database
    """
    try:
        named = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise DatabaseUnusableError(
            "POSTROOM_DATABASE is no URL of a PostgreSQL database.",
            next_step="Write postgresql://USER@HOST/DATABASE; the password belongs into ~/.pgpass.",
        ) from error
    patience: dict[str, Any] = {
        name: value for name, value in _PATIENCE.items() if name not in named
    }
    return _Postgresql(url, prefer_psycopg3=True, **patience)


class _Postgresql(peewee.PostgresqlDatabase):
    """Connects anew where the server ended a connection outside of any transaction.

    Inside of one it must not: what was done before would be missing from what is committed.
    """

    def _connect(self) -> psycopg.Connection:
        """Connect, and set what must be so. Where that fails there is no connection."""
        opened: psycopg.Connection = super()._connect()  # type: ignore[misc]  # not in the stubs
        try:
            opened.execute(
                "SELECT set_config(name, better, false) FROM (VALUES (%s, %s, %s), (%s, %s, %s)) "
                "AS one (name, unfit, better) WHERE current_setting(name) = unfit",
                [value for setting in _SETTINGS for value in setting],
            )
        except psycopg.Error:
            opened.close()
            raise
        return opened

    def begin(self, isolation_level: Any = None) -> None:
        """Begin a transaction; on a connection that turns out to have ended, once more."""
        self._renew()
        try:
            super().begin(isolation_level)
        except peewee.OperationalError:
            if not self._renew():
                raise
            super().begin(isolation_level)

    def commit(self) -> Any:
        """Commit what was done; refuse where the server would answer by undoing it, without an
        error: a statement failed, and nobody passed it on."""
        if self._open.info.transaction_status == TransactionStatus.INERROR:
            raise peewee.InternalError("a statement failed in the transaction")
        return super().commit()

    def rollback(self) -> Any:
        """Undo what was done; where the connection has ended, the server did."""
        return None if self._has_ended() else super().rollback()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement, on a new connection if this thread's has ended; where that turns out
        while something is only read, once more."""
        self._renew()
        try:
            return self._execute(sql, params)
        except peewee.OperationalError:
            if not sql.startswith("SELECT") or not self._renew():
                raise
            return self._execute(sql, params)

    def _execute(self, sql: str, params: Any) -> Any:
        return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]  # no stubs

    @property
    def _open(self) -> psycopg.Connection:
        opened: psycopg.Connection = self.connection()  # type: ignore[no-untyped-call]  # no stubs
        return opened

    def _has_ended(self) -> bool:
        return not self.is_closed() and self._open.closed

    def _renew(self) -> bool:
        """Forget a connection that has ended, so that the next use makes another."""
        ended = self._has_ended() and not self.in_transaction()
        if ended:
            self.close()
        return ended
