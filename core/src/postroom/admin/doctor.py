"""Checks an installation step by step, without touching anything on a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from postroom.admin.credential_check import check as check_credential
from postroom.api.errors import TransportError
from postroom.api.transport import CheckStep
from postroom.errors import PostroomError
from postroom.leases import health
from postroom.leases.leases import NoLease
from postroom.mailboxes import dispositions, sessions, sides
from postroom.plugins import Plugins
from postroom.runner.crew import HangsError
from postroom.runner.foreground import attend
from postroom.secrets import installation_secret
from postroom.store.models import Credential, Mailbox, Side


def check_all(plugins: Plugins) -> Iterator[dict[str, Any]]:
    """Yield a row for each step: the installation, whose database is open already, then every
    mailbox."""
    yield _row("", "", CheckStep("database", "ok", "The tables are this version's."))
    try:
        installation_secret()
        yield _row("", "", CheckStep("key", "ok", "The key opens what is stored."))
    except PostroomError as error:
        yield _row("", "", CheckStep("key", "fail", error.sentence, error.next_step))
    for plugin in plugins.installed:
        name = f"plugin {plugin.name}"
        if plugin.broken is None:
            yield _row("", "", CheckStep(name, "ok", f"{plugin.distribution} {plugin.version}"))
        else:
            step = "Update or remove it; see `postroom plugin list`."
            yield _row("", "", CheckStep(name, "fail", plugin.broken, step))
    for credential in Credential.select().order_by(Credential.name_key):
        for tried in check_credential(credential, plugins):
            yield _row("", "", replace(tried, name=f"credential {credential.name}: {tried.name}"))
    for mailbox in Mailbox.select().order_by(Mailbox.address_key):
        yield from check_mailbox(mailbox, plugins)


def check_mailbox(mailbox: Mailbox, plugins: Plugins) -> Iterator[dict[str, Any]]:
    """Yield a row for each step of both sides.

    Changes nothing on the server. A side that waits because it was refused is due at once when
    all its steps went well: the administrator had the account unlocked, say.
    """
    for direction in ("in", "out"):
        side = sides.find(mailbox, direction)
        if side is None:
            step = CheckStep("settings", "skip", "This side is not configured.")
            yield _row(mailbox.address, direction, step)
            continue
        works = True
        for step in _check_side(mailbox, side, plugins):
            works = works and step.outcome != "fail"
            yield _row(mailbox.address, direction, step)
        if works and health.end_pauses([side.id]):
            detail = "It waited after an error: it is tried at once now."
            yield _row(mailbox.address, direction, CheckStep("pause", "ok", detail))


def _check_side(mailbox: Mailbox, side: Side, plugins: Plugins) -> Iterator[CheckStep]:
    look = NoLease(mailbox.id, side.id)
    steps: list[CheckStep] = []
    try:
        attend(look, lambda: steps.extend(_steps(look, mailbox, side, plugins)))
    except HangsError as error:
        steps = [*steps, CheckStep("plugin", "fail", error.sentence, error.next_step)]
    except (TransportError, PostroomError) as error:
        steps.append(CheckStep("settings", "fail", error.sentence, error.next_step))
    except (Exception, SystemExit) as error:
        detail = f"{plugins.who_offers(side.transport)} failed: {type(error).__name__}."
        steps.append(CheckStep("plugin", "fail", detail, "Report it to the plugin's author."))
    yield from steps


def _steps(look: NoLease, mailbox: Mailbox, side: Side, plugins: Plugins) -> Iterator[CheckStep]:
    transport = plugins.transport(side.transport)
    if side.direction == "in" and not dispositions.can_apply(transport, mailbox.disposition):
        detail = f"{transport.title} cannot do what the disposition asks for."
        yield CheckStep("disposition", "fail", detail, "Choose another disposition.")
    open_session = sessions.open_receiver if side.direction == "in" else sessions.open_sender
    with open_session(look, mailbox, plugins) as session:
        look.on_lost = session.interrupt
        yield from session.check()


def _row(address: str, direction: str, step: CheckStep) -> dict[str, Any]:
    return {
        "mailbox": address,
        "direction": direction,
        "step": step.name,
        "outcome": step.outcome,
        "detail": step.detail or ("not tried" if step.outcome == "skip" else ""),
        "next_step": step.next_step,
    }
