"""Checks an installation step by step, and looks into a mailbox without touching it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from postroom.admin.credential_check import check as check_credential
from postroom.api.errors import TransportError
from postroom.api.transport import Capability, CheckStep, Fetched, Limits, Listed
from postroom.errors import PostroomError
from postroom.leases import health
from postroom.leases.leases import NoLease
from postroom.mail.large import parse
from postroom.mailboxes import sessions
from postroom.mailboxes.ledger import live_receipts, ref_key
from postroom.plugins import Plugins
from postroom.runner.crew import HangsError
from postroom.runner.foreground import attend
from postroom.secrets import installation_secret
from postroom.store.models import Credential, Mailbox, Side

_NEEDED = {"seen": Capability.SEEN, "move": Capability.MOVE, "delete": Capability.DELETE}


def check_all(plugins: Plugins) -> Iterator[dict[str, Any]]:
    """Yield a row for each step: the installation, then every mailbox."""
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
        side = Side.get_or_none((Side.mailbox == mailbox.id) & (Side.direction == direction))
        if side is None:
            step = CheckStep("settings", "skip", "This side is not configured.")
            yield _row(mailbox.address, direction, step)
            continue
        works = True
        for step in _check_side(mailbox, side, plugins):
            works = works and step.outcome != "fail"
            yield _row(mailbox.address, direction, step)
        if works and health.end_pauses([side.id]):
            detail = "It was refused before and works now: it is tried at once."
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
    needed = _NEEDED.get(mailbox.disposition, Capability.NONE)
    if side.direction == "in" and needed not in transport.capabilities:
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
        "detail": step.detail,
        "next_step": step.next_step,
    }


def preview(mailbox: Mailbox, plugins: Plugins, *, limit: int) -> list[dict[str, Any]]:
    """Return what would be retrieved, parsed and classified, without storing or changing anything.

    Looks at the first messages that have no receipt yet, also at those before the start.
    """
    from postroom.runner.visits import incoming_side

    look = NoLease(mailbox.id, incoming_side(mailbox).id)
    return attend(look, lambda: [*islice(_previewed(look, mailbox, plugins, limit), limit)])


def _previewed(
    look: NoLease, mailbox: Mailbox, plugins: Plugins, limit: int
) -> Iterator[dict[str, Any]]:
    chosen: set[str] = set()

    def wanted(page: Sequence[Listed]) -> Collection[str]:
        known = live_receipts(mailbox.id, [ref_key(item.ref) for item in page])
        for item in page:
            if len(chosen) < limit and ref_key(item.ref) not in known:
                chosen.add(item.ref)
        return {item.ref for item in page if item.ref in chosen}

    limits = Limits(max_message_bytes=mailbox.max_message_bytes, batch_count=limit)
    with sessions.open_receiver(look, mailbox, plugins) as receiver:
        look.on_lost = receiver.interrupt
        for delivery in receiver.fetch(None, limits=limits, wanted=wanted):
            if isinstance(delivery, Fetched):
                yield _read(delivery, mailbox, plugins)
                if not isinstance(delivery.raw, bytes):
                    delivery.raw.close()


def _read(delivery: Fetched, mailbox: Mailbox, plugins: Plugins) -> dict[str, Any]:
    from postroom.mailboxes.views import view

    parsed = parse(delivery.raw)
    verdict, _ = plugins.classify(parsed, view(mailbox))
    before = mailbox.start_at is not None and (
        delivery.received_at is None or delivery.received_at < mailbox.start_at
    )
    return {
        "ref": delivery.ref,
        "received_at": delivery.received_at,
        "from": str(parsed.from_) if parsed.from_ else None,
        "subject": parsed.subject,
        "size": len(delivery.raw),
        "is_automatic": parsed.is_automatic,
        "before_start": before,
        "ignore": verdict.ignore,
        "topic": verdict.topic,
    }
