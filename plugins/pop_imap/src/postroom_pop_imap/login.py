"""Opening a session with a password, or with the token of a credential."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from postroom.api import AuthError, Context, Token, codes
from postroom.api.sasl import TokenLogin, choose

from postroom_pop_imap.errors import Refused, no_token_login, refused_token

if TYPE_CHECKING:
    from postroom.api.settings import ServerSettings

    from postroom_pop_imap.line import Line

Opened = TypeVar("Opened")


def with_login(
    settings: ServerSettings,
    context: Context,
    purpose: str,
    open_it: Callable[[Token | None], Opened],
) -> Opened:
    """Open a session, with a token where a credential is named; a token that the server refuses is
    replaced once.

    :param open_it: connects anew each time: many servers hang up on who failed to log in
    :raises AuthError: the issuer refuses, or the server refuses the second token too
    """
    if settings.credential is None:
        return open_it(None)
    token = context.token(purpose)
    try:
        return open_it(token)
    except AuthError as error:
        if error.code is not codes.AUTH_REFUSED:
            raise
    return open_it(context.token(purpose, rejected=token))


@contextlib.contextmanager
def token_login(
    token: Token,
    offered: Sequence[str],
    settings: ServerSettings,
    context: Context,
    line: Line,
) -> Iterator[TokenLogin]:
    """Lend the exchange that logs in with a token, by one of the mechanisms that are offered.

    :raises AuthError: the server takes no tokens, or not this one
    """
    mechanism = choose(offered)
    if mechanism is None:
        raise no_token_login(line.where, " ".join(offered))
    account = settings.username or context.mailbox
    login = TokenLogin(mechanism, account, token.value, host=line.host, port=line.port)
    try:
        yield login
    except Refused as refused:
        credential = settings.credential or ""
        raise refused_token(refused, line.where, login, account, credential) from None
