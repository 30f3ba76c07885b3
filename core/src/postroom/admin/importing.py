"""Brings old mail in from files, by the same way as any mail; nobody gets an acknowledgement.

An import can be ended at any time and run again: what it did before has receipts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any

from postroom.api.transport import Transport
from postroom.errors import LeaseLostError
from postroom.intake.entrances import Entrance, import_prefix
from postroom.intake.intake import Retrieval
from postroom.intake.tally import Tally
from postroom.intake.understanding.pool import Pool, in_workers
from postroom.leases.command_lease import claimed
from postroom.leases.leases import LEASE_SECONDS
from postroom.leases.pulse import Pulse
from postroom.mailboxes import sides
from postroom.plugin_settings import validate
from postroom.plugins import Plugins
from postroom.runner.foreground import attend
from postroom.store.models import Mailbox


@dataclass(frozen=True, slots=True)
class Source:
    """Files with mail, and the transport that reads them."""

    transport: Transport
    settings: Any
    path: str

    def count(self, mailbox: Mailbox) -> int:
        """Return how many messages there are; reads through all of them.

        :raises TransportError: the files cannot be read
        """
        with self._entrance().open(mailbox.address) as receiver:
            return sum(1 for _ in receiver.list_refs())

    def bring_in(
        self,
        mailbox: Mailbox,
        plugins: Plugins,
        *,
        stop: Flag | None = None,
        passed: Callable[[int], None] = lambda _: None,
    ) -> Tally:
        """Store what is not stored yet.

        :param stop: when set, the batch in flight is finished
        :param passed: told the number of messages that were read, or known already
        :returns: `complete` is False if it was stopped
        :raises BusyError: another import into the mailbox is under way
        :raises TransportError: the files cannot be read
        :raises StoreError: the database or the disk is the trouble
        """
        stop = stop or Flag()
        side = sides.for_imports(mailbox)
        pool, tally = Pool(), Tally()
        try:
            while not (tally.complete or stop.is_set()):
                with claimed(side, LEASE_SECONDS + 5, asks=False) as lease:
                    lease.pulse.who = plugins.who_offers(self.transport.name)
                    visit = Retrieval(
                        lease,
                        plugins,
                        stop=stop,
                        understanding=in_workers(plugins, pool),
                        entrance=self._entrance(passed, lease.pulse),
                    )
                    try:
                        attend(lease, visit.run, stop=stop)
                    except LeaseLostError:  # the mailbox was changed; what was done has receipts
                        visit.tally.complete = False
                    tally.add(visit.tally)
                    was_asked = lease.wanted_by_another()
                if was_asked:
                    time.sleep(1.0)  # who is asked gives it away for a moment
        finally:
            pool.close()
        return tally

    def _entrance(
        self, passed: Callable[[int], None] = lambda _: None, pulse: Pulse | None = None
    ) -> Entrance:
        prefix = import_prefix(self.transport.name, self.path)
        return Entrance(
            prefix,
            acknowledges=False,
            transport=self.transport,
            settings=self.settings,
            passed=passed,
            pulse=pulse,
        )


def source(
    plugins: Plugins, transport_name: str, path: str, values: Mapping[str, Any] | None = None
) -> Source:
    """Return the source of an import.

    :param values: other settings of the transport
    :raises InputError: the settings are not right
    :raises SettingsError: the transport is not installed
    """
    transport = plugins.transport(transport_name)
    real = os.path.realpath(os.path.expanduser(path))
    return Source(transport, validate(transport, "in", {**(values or {}), "path": real}), real)
