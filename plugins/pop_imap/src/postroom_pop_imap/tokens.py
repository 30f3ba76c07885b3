"""Opening a session with the token of a credential; one that is refused is replaced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from postroom.api import AuthError, Context, Token, codes

Opened = TypeVar("Opened")


def with_token(context: Context, purpose: str, open_it: Callable[[Token], Opened]) -> Opened:
    """Open a session; if the server refuses the token, once more with another.

    :param open_it: connects anew each time: many servers hang up on who failed to log in
    :raises AuthError: the issuer refuses, or the server refuses the second token too
    """
    token = context.token(purpose)
    try:
        return open_it(token)
    except AuthError as error:
        if error.code is not codes.AUTH_REFUSED:
            raise
    return open_it(context.token(purpose, rejected=token))
