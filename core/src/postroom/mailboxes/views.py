"""What plugins may know of a mailbox."""

from __future__ import annotations

from postroom.api.verdict import FilterRule, MailboxView
from postroom.mail.domains import address_key
from postroom.store.models import Filter, Mailbox, Segment, Side


def own_addresses() -> frozenset[str]:
    """Return the comparison keys of every address and alias of ours, and of what we send as."""
    keys: set[str] = set()
    for side in Side.select(Side.send_as, Side.reply_to).where(Side.direction == "out"):
        keys.update(address_key(one) for one in (side.send_as, side.reply_to) if one)
    for mailbox in Mailbox.select(Mailbox.address, Mailbox.aliases):
        keys.update(address_key(one) for one in (mailbox.address, *mailbox.aliases))
    return frozenset(keys)


def view(mailbox: Mailbox) -> MailboxView:
    """Return the view that `postroom_classify` gets."""
    segment = Segment.get_by_id(mailbox.segment_id)
    rules = Filter.select().where(Filter.segment == segment.id).order_by(Filter.position, Filter.id)
    return MailboxView(
        address=mailbox.address,
        name=mailbox.name,
        segment=segment.name,
        own_addresses=own_addresses(),
        filters=tuple(
            FilterRule(
                name=rule.name,
                field=rule.field,
                pattern=rule.pattern,
                topic=rule.topic,
                assignee=rule.assignee,
                status=rule.status,
                ignore=rule.ignore,
                stop=rule.stop,
            )
            for rule in rules
        ),
        acknowledgement=(segment.acknowledgement or "") if mailbox.acknowledge else None,
    )
