"""The self-test, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from postroom.api import CheckStep, Context, SettingsError, TransportError, codes

from postroom_ews import retirement
from postroom_ews.elements import M, T
from postroom_ews.exchange import Exchange, failure
from postroom_ews.folders import TOP, Folder
from postroom_ews.settings import EwsReceiverSettings

if TYPE_CHECKING:
    from postroom_ews.session import EwsSession
    from postroom_ews.settings import EwsSettings

_BEFORE_LOGIN = (
    codes.HOST_UNKNOWN, codes.PORT_REFUSED, codes.TIMEOUT, codes.CONNECTION_LOST,
    codes.TLS_EXPIRED, codes.TLS_FAILED, codes.TLS_UNTRUSTED, codes.TLS_WRONG_HOST,
    codes.CA_FILE_UNREADABLE, codes.PROTOCOL,
)  # fmt: skip


def check_steps(
    session: EwsSession, settings: EwsSettings, context: Context
) -> Iterator[CheckStep]:
    """Yield: find the server, connect, log in, each folder, how long EWS will be there."""
    names = ["find the server", "connect", "log in", *_folder_names(settings)]
    done: list[CheckStep] = []
    try:
        exchange = session.exchange()
        done.append(CheckStep(names[0], "ok", exchange.url))
        done += _connecting(exchange, session)
    except TransportError as error:
        done.append(_failing(names[len(done)], error))
    yield from done
    if len(done) < 3 or done[-1].outcome != "ok":
        yield from (CheckStep(name, "skip") for name in names[len(done) :])
        return
    yield from _folder_steps(session, settings)
    if exchange.explainer.is_online:
        yield _retirement_step(context)


def _folder_names(settings: EwsSettings) -> list[str]:
    if isinstance(settings, EwsReceiverSettings):
        return [f"folder {name}" for name in settings.folders]
    return ["folder drafts", "folder sentitems"]


def _connecting(exchange: Exchange, session: EwsSession) -> list[CheckStep]:
    """Open the top of the mailbox: that tells of connection, log-in and mailbox at once."""
    shape = M.FolderShape(T.BaseShape("IdOnly"))
    payload = M.GetFolder(shape, M.FolderIds(session.folders().element(Folder(TOP))))
    try:
        [message] = exchange.call("GetFolder", payload, "open the mailbox")
        if error := failure(message):
            raise exchange.explain(error, "open the mailbox") from error
    except TransportError as error:
        if error.code in _BEFORE_LOGIN:
            return [_failing("connect", error)]
        return [CheckStep("connect", "ok"), _failing("log in", error)]
    version = str(exchange.account.version.build)
    who = exchange.settings.username or f"credential {exchange.settings.credential}"
    detail = f"{who}, mailbox {exchange.mailbox}"
    return [CheckStep("connect", "ok", f"Exchange {version}"), CheckStep("log in", "ok", detail)]


def _folder_steps(session: EwsSession, settings: EwsSettings) -> Iterator[CheckStep]:
    for step in _folder_names(settings):
        name = step.removeprefix("folder ")
        yield _tried(step, lambda name=name: _open(session, name))  # type: ignore[misc]


def _open(session: EwsSession, name: str) -> str:
    folders = session.folders()
    try:
        folders.id_of(folders.find(name))
    except SettingsError as error:
        if error.code is codes.FOLDER_MISSING:
            return _missing(session, error)
        raise
    return ""


def _missing(session: EwsSession, error: SettingsError) -> str:
    names = ", ".join(session.folders().names()[:20])
    raise SettingsError(error.code, f"{error.sentence} At the top there are: {names}.")


def _tried(name: str, work: Callable[[], str]) -> CheckStep:
    try:
        return CheckStep(name, "ok", work())
    except TransportError as error:
        return _failing(name, error)


def _retirement_step(context: Context) -> CheckStep:
    now, out = context.now(), retirement.way_out(context.mailbox)
    return CheckStep("EWS in Exchange Online", "warn", retirement.notice(now), out)


def _failing(name: str, error: TransportError) -> CheckStep:
    return CheckStep(name, "fail", error.sentence, error.next_step)
