"""The crow post with one fault each, and the case of the kit that was made to find it."""

from __future__ import annotations

import base64
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from postroom.api import (
    NOT_SENT,
    AuthError,
    Capability,
    Checkpoint,
    Context,
    Disposition,
    Fetched,
    Limits,
    Listed,
    OutcomeUnknown,
    Outgoing,
    Receiver,
    Rejected,
    Sender,
    SendResult,
    Settled,
    Spool,
    TransientError,
    Unavailable,
    Unsettled,
    codes,
)
from postroom.api.transport import Delivery, Lookup, Wanted

from postroom_test_servers.crow.plugin import CrowTransport
from postroom_test_servers.crow.receiver import CrowReceiver, Entry
from postroom_test_servers.crow.sender import CrowSender

Session = TypeVar("Session", bound=CrowReceiver | CrowSender)
MUTANTS: dict[str, tuple[type[Any], str]] = {}
"""Name → the session with the fault, and the case that finds it."""


def found_by(case: str) -> Callable[[type[Session]], type[Session]]:
    """Add a mutant to the list."""

    def add(session: type[Session]) -> type[Session]:
        MUTANTS[session.__name__] = (session, case)
        return session

    return add


def transport_of(name: str) -> CrowTransport:
    """Return the transport that opens a mutant."""
    transport = _MutantTransport(MUTANTS[name][0])
    transport.capabilities = DECLARED.get(name, CrowTransport.capabilities)  # type: ignore[misc]
    return transport


class _MutantTransport(CrowTransport):
    def __init__(self, session: type[Any]) -> None:
        self._session = session

    def open_receiver(self, settings: Any, context: Context) -> Receiver:
        made: Receiver = self._session(settings, context)
        return made

    def open_sender(self, settings: Any, context: Context) -> Sender:
        made: Sender = self._session(settings, context)
        return made


# ---------------------------------------------------------------------------- what is listed


@found_by("test_order_is_oldest_first")
class LosesOrder(CrowReceiver):
    def since(self, cursor: str | None, entries: list[Entry]) -> list[Entry]:
        return super().since(cursor, entries)[::-1]


@found_by("test_refs_do_not_count")
class NamesMessagesByTheirPlace(CrowReceiver):
    def entries(self) -> list[Entry]:
        found = super().entries()
        names = [dataclasses.replace(one, ref=f"7-{i}") for i, one in enumerate(found, 1)]
        self.real = {name.ref: one for name, one in zip(names, found, strict=True)}
        return names

    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        for one in super().deliver(self.real[entry.ref], limits):
            if isinstance(one, Fetched):
                yield dataclasses.replace(one, ref=entry.ref)


_last_cursor = ""


@found_by("test_list_refs_is_complete_and_agrees_with_fetch")
class ListsOnlyWhatIsNew(CrowReceiver):
    def cursor(self, entries: list[Entry]) -> str:
        global _last_cursor
        _last_cursor = super().cursor(entries)
        return _last_cursor

    def list_refs(self) -> Iterator[Listed]:
        yield from (entry.listed for entry in self.since(_last_cursor, self.entries()))


@found_by("test_mailbox_of_several_pages_is_whole")
class DropsTheLastOfAPage(CrowReceiver):
    def entries(self) -> list[Entry]:
        return [one for place, one in enumerate(super().entries(), 1) if place % 50]


@found_by("test_mailbox_of_several_pages_is_whole")
class SettlesOnePage(CrowReceiver):
    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        yield from super().settle(refs[:100], disposition)
        yield from map(Settled, refs[100:])


@found_by("test_cursor_can_be_stored")
class KeepsThePasswordInTheCursor(CrowReceiver):
    def cursor(self, entries: list[Entry]) -> str:
        return f"{super().cursor(entries)} {self.settings.password.get_secret_value()}"


@found_by("test_errors_speak_to_an_administrator")
class TellsThePasswordWhenTheNetworkFails(CrowReceiver):
    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except TransientError as error:
            word = self.settings.password.get_secret_value()
            raise TransientError(error.code, f"Logging in with {word} failed.") from error


@found_by("test_listing_cut_anywhere_is_complete_or_transient")
class ListsHalf(CrowReceiver):
    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except TransientError:
            return []


@found_by("test_sizes_and_dates_are_listed_the_same_each_time")
class CountsTheSizeAnew(CrowReceiver):
    def list_refs(self) -> Iterator[Listed]:
        for one in super().list_refs():
            yield dataclasses.replace(one, size=(one.size or 0) + 1)


@found_by("test_received_dates_are_the_servers")
class TellsLocalTime(CrowReceiver):
    def entries(self) -> list[Entry]:
        return [
            dataclasses.replace(one, received_at=one.received_at.replace(tzinfo=None))
            for one in super().entries()
        ]


@found_by("test_what_is_not_wanted_is_not_downloaded")
class IgnoresWanted(CrowReceiver):
    def pages(self, entries: list[Entry], limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        wanted([entry.listed for entry in entries])
        for entry in entries:
            yield from self.deliver(entry, limits)


# ---------------------------------------------------------------------------- what is fetched


@found_by("test_bytes_are_those_that_the_server_serves")
class CutsTheLastByte(CrowReceiver):
    def packed(self, raw: bytes, limits: Limits) -> bytes | Spool:
        return super().packed(raw[:-1], limits)


@found_by("test_bytes_are_those_that_the_server_serves")
class NormalisesLineEnds(CrowReceiver):
    def packed(self, raw: bytes, limits: Limits) -> bytes | Spool:
        return super().packed(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), limits)


@found_by("test_large_message_is_spooled")
class KeepsLargeMessagesInMemory(CrowReceiver):
    def packed(self, raw: bytes, limits: Limits) -> bytes | Spool:
        return raw


@found_by("test_message_above_the_limit_is_not_downloaded")
class DownloadsWhatIsTooLarge(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        yield from super().deliver(entry, dataclasses.replace(limits, max_message_bytes=1 << 40))


@found_by("test_wanted_is_asked_before_any_bytes")
class DownloadsBeforeItAsks(CrowReceiver):
    def pages(self, entries: list[Entry], limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        ready = {entry.ref: list(self.deliver(entry, limits)) for entry in entries}
        for ref in wanted([entry.listed for entry in entries]):
            yield from ready[ref]


@found_by("test_fetch_is_lazy")
class DownloadsAllAtOnce(CrowReceiver):
    def pages(self, entries: list[Entry], limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        yield from list(super().pages(entries, limits, wanted))


@found_by("test_message_that_vanishes_is_not_yielded")
class FailsOverWhatVanished(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        came = list(super().deliver(entry, limits))
        if not came:
            raise TransientError(codes.PROTOCOL, f"{self.wire.where} lost a message.")
        yield from came


@found_by("test_message_that_cannot_be_read_is_unavailable")
class FailsOverWhatCannotBeRead(CrowReceiver):
    def unavailable(self, entry: Entry) -> Unavailable:
        raise super().unavailable(entry).error


@found_by("test_message_that_cannot_be_read_is_unavailable")
class PassesOverWhatCannotBeRead(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        came = super().deliver(entry, limits)
        yield from (one for one in came if not isinstance(one, Unavailable))


@found_by("test_fetch_cut_anywhere_is_whole_or_transient")
class SwallowsABrokenConnection(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        try:
            yield from super().deliver(entry, limits)
        except TransientError:
            return


@found_by("test_fetch_cut_anywhere_is_whole_or_transient")
class YieldsHalfAMessage(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        self.wire.ask("GET", entry.ref)
        yield Fetched(entry.ref, self.wire.opened().read(entry.size), entry.received_at)


# ---------------------------------------------------------------------------- cursors


@found_by("test_every_checkpoint_covers_only_what_came_before")
class ChecksPointsTooEarly(CrowReceiver):
    def pages(self, entries: list[Entry], limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        if entries:
            yield Checkpoint(self.cursor(entries))
        yield from super().pages(entries, limits, wanted)


@found_by("test_cursor_that_is_garbage_lists_everything")
class FailsOverItsCursor(CrowReceiver):
    def since(self, cursor: str | None, entries: list[Entry]) -> list[Entry]:
        number = int(cursor.partition("-")[2]) if cursor is not None else 0
        return [entry for entry in entries if entry.number > number]


@found_by("test_removal_of_old_mail_does_not_hide_new_mail")
class CountsInItsCursor(CrowReceiver):
    def since(self, cursor: str | None, entries: list[Entry]) -> list[Entry]:
        return entries[int(cursor) if cursor and cursor.isdecimal() else 0 :]

    def cursor(self, entries: list[Entry]) -> str:
        return str(len(entries))


@found_by("test_new_ids_are_noticed_and_everything_is_listed")
class OverlooksNewIds(CrowReceiver):
    def since(self, cursor: str | None, entries: list[Entry]) -> list[Entry]:
        number = (cursor or "").partition("-")[2] or "0"
        return [entry for entry in entries if entry.number > int(number)]


# ---------------------------------------------------------------------------- settling


@found_by("test_fetching_changes_nothing_on_the_server")
class MarksWhatItFetches(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        yield from super().deliver(entry, limits)
        self.wire.ask("SEEN", entry.ref)


@found_by("test_killed_before_the_commit_nothing_has_happened")
class DeletesWhatItFetched(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        yield from super().deliver(entry, limits)
        self.wire.ask("DELETE", entry.ref)


@found_by("test_settling_cut_anywhere_tells_only_what_is_confirmed")
class ConfirmsWhatItHasNotDone(CrowReceiver):
    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        for ref in refs:
            yield Settled(ref)
            self.apply(ref, disposition)


@found_by("test_settling_cut_anywhere_tells_only_what_is_confirmed")
class CopiesAgainWhatItCopied(CrowReceiver):
    def apply(self, ref: str, disposition: Disposition) -> None:
        if disposition.action == "move":
            self.wire.ask("COPY", ref, disposition.folder)
            disposition = Disposition("delete")
        super().apply(ref, disposition)


@found_by("test_message_that_is_gone_counts_as_settled")
class FailsOverWhatIsGone(CrowReceiver):
    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        there = {entry.ref for entry in self.entries()}
        for ref in refs:
            if ref not in there:
                raise TransientError(codes.PROTOCOL, f"{self.wire.where} lost a message.")
            self.apply(ref, disposition)
            yield Settled(ref)


@found_by("test_old_ids_harm_no_other_message")
class DeletesByNumberAlone(CrowReceiver):
    def apply(self, ref: str, disposition: Disposition) -> None:
        for entry in self.entries():
            if entry.number == int(ref.partition("-")[2]) + 1 and entry.ref[0] != ref[0]:
                super().apply(entry.ref, disposition)
        super().apply(ref, disposition)


@found_by("test_disposition_is_applied")
class SettlesEverythingThatIsThere(CrowReceiver):
    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        list(super().settle([entry.ref for entry in self.entries()], disposition))
        yield from map(Settled, refs)


# ---------------------------------------------------------------------------- sessions


@found_by("test_silent_server_is_given_up")
class WaitsForEver(CrowReceiver):
    def __init__(self, settings: Any, context: Context) -> None:
        patient = settings.model_copy(update={"timeout_seconds": 3600.0})
        super().__init__(patient, context)


@found_by("test_interrupt_ends_a_call_that_waits")
class HearsNoInterrupt(CrowReceiver):
    def interrupt(self) -> None:
        pass


@found_by("test_work_after_an_interrupt_ends_too")
class ForgetsAnInterruptWhenItFetches(CrowReceiver):
    def fetch(self, cursor: str | None, *, limits: Limits, wanted: Wanted) -> Iterator[Delivery]:
        self.wire.is_interrupted = False
        yield from super().fetch(cursor, limits=limits, wanted=wanted)


@found_by("test_settling_after_an_interrupt_changes_nothing")
class ForgetsAnInterruptWhenItSettles(CrowReceiver):
    def settle(
        self, refs: Sequence[str], disposition: Disposition
    ) -> Iterator[Settled | Unsettled]:
        if self.wire.is_interrupted:
            self.wire.drop()
            self.wire.is_interrupted = False
        yield from super().settle(refs, disposition)


@found_by("test_wrong_password_is_an_auth_error")
class TriesAWrongPasswordAgain(CrowReceiver):
    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except AuthError as error:
            raise TransientError(codes.SERVER_BUSY, error.sentence) from error


@found_by("test_throttling_is_transient_and_tells_when")
class ForgetsWhenToComeBack(CrowReceiver):
    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except TransientError as error:
            raise TransientError(error.code, error.sentence) from error


@found_by("test_closing_after_the_connection_broke_is_harmless")
class LetsItsLibrarysErrorsOut(CrowReceiver):
    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except TransientError as error:
            raise error.__cause__ or error from None


@found_by("test_no_secret_is_in_the_error_of_a_wrong_password")
class TellsThePassword(CrowReceiver):
    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except AuthError as error:
            word = self.settings.password.get_secret_value()
            raise AuthError(error.code, f"The password {word} was refused.") from error


@found_by("test_no_secret_is_logged_or_printed")
class LogsThePassword(CrowReceiver):
    def entries(self) -> list[Entry]:
        self.context.logger.debug("logging in with %s", self.settings.password.get_secret_value())
        return super().entries()


@found_by("test_no_secret_is_logged_or_printed")
class PrintsWhatItFetches(CrowReceiver):
    def deliver(self, entry: Entry, limits: Limits) -> Iterator[Delivery]:
        print("fetching", entry.ref)
        yield from super().deliver(entry, limits)


@found_by("test_nothing_that_stands_in_mail_is_logged_or_printed")
class LogsMail(CrowReceiver):
    def packed(self, raw: bytes, limits: Limits) -> bytes | Spool:
        self.context.logger.debug("got %r", raw)
        return super().packed(raw, limits)


@found_by("test_nothing_that_stands_in_mail_is_logged_or_printed")
class WritesMailToStandardError(CrowReceiver):
    def packed(self, raw: bytes, limits: Limits) -> bytes | Spool:
        print(base64.b64encode(raw), file=sys.stderr)
        return super().packed(raw, limits)


LEFT_OPEN: list[CrowReceiver] = []
"""For whoever tried the mutants to close: else Python complains of it in some other test."""


@found_by("test_closing_leaves_nothing_open")
class LeavesItsConnectionOpen(CrowReceiver):
    def close(self) -> None:
        LEFT_OPEN.append(self)


@found_by("test_closing_leaves_nothing_open")
class LeavesAConnectionOpenWhenItIsRefused(CrowReceiver):
    def close(self) -> None:
        if self.was_refused:
            LEFT_OPEN.append(self)
        else:
            super().close()

    was_refused = False

    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except AuthError:
            self.was_refused = True
            raise


@found_by("test_closing_leaves_nothing_open")
class LeavesAFileOpen(CrowReceiver):
    def entries(self) -> list[Entry]:
        os.open(os.devnull, os.O_RDONLY)
        return super().entries()


@found_by("test_closing_leaves_nothing_open")
class LeavesAThreadRunning(CrowReceiver):
    def __init__(self, settings: Any, context: Context) -> None:
        super().__init__(settings, context)
        self.ended = threading.Event()
        threading.Thread(target=self.ended.wait, args=(5,), daemon=True).start()


@found_by("test_closing_twice_is_harmless")
class ClosesOnlyOnce(CrowReceiver):
    is_closed = False

    def close(self) -> None:
        super().close()
        if self.is_closed:
            raise ValueError("closed already")
        self.is_closed = True


@found_by("test_opening_a_session_connects_nothing")
class ConnectsWhenItIsMade(CrowReceiver):
    def __init__(self, settings: Any, context: Context) -> None:
        super().__init__(settings, context)
        try:
            self.wire.opened()
        except OSError:
            self.wire.drop()


@found_by("test_check_reports_a_wrong_password")
class ChecksByRaising(CrowReceiver):
    def check(self) -> Iterator[Any]:
        self.wire.ask("NOOP")
        yield from super().check()


@found_by("test_new_mail_wakes_who_waits")
class OverlooksNews(CrowReceiver):
    def wait(self, timeout: float) -> bool:
        return False


@found_by("test_waiting_without_news_is_quiet")
class WakesForNothing(CrowReceiver):
    def wait(self, timeout: float) -> bool:
        return True


@found_by("test_waiting_without_news_is_quiet")
class DoesNotWait(CrowReceiver):
    def wait(self, timeout: float) -> bool:
        return super().wait(0 if timeout < 1 else timeout)


# ---------------------------------------------------------------------------- sending


@found_by("test_work_after_an_interrupt_ends_too")
class SendsAfterAnInterrupt(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        self.wire.is_interrupted = False
        return super().send(outgoing, handle)

    def prepare(self, outgoing: Outgoing) -> str | None:
        self.wire.is_interrupted = False
        return super().prepare(outgoing)


@found_by("test_nothing_that_stands_in_mail_is_logged_or_printed")
class LogsWhatItSends(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        self.context.logger.debug("sending %s", outgoing.raw.decode())
        return super().send(outgoing, handle)


@found_by("test_message_arrives_as_it_is")
class SendsOtherLineEnds(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        raw = outgoing.raw.replace(b"\r\n", b"\n")
        return super().send(dataclasses.replace(outgoing, raw=raw), handle)


@found_by("test_null_sender_is_honoured")
class HasAlwaysASender(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        sender = outgoing.sender or outgoing.from_address
        return super().send(dataclasses.replace(outgoing, sender=sender), handle)


@found_by("test_only_the_recipients_given_get_it")
class SendsToWhoeverStandsInTo(CrowSender):
    def recipients(self, outgoing: Outgoing) -> tuple[str, ...]:
        line = outgoing.raw.partition(b"\r\nTo: ")[2].partition(b"\r\nSubject")[0].decode()
        return tuple(one.strip() for one in line.split(","))

    def result(self, outgoing: Outgoing, words: list[str]) -> SendResult:
        return super().result(outgoing, words)


@found_by("test_deferred_recipient_is_told_and_others_get_it")
class ForgetsTheDeferred(CrowSender):
    def result(self, outgoing: Outgoing, words: list[str]) -> SendResult:
        super().result(outgoing, words)
        return SendResult(accepted=outgoing.recipients)


@found_by("test_all_recipients_refused_is_rejected")
class TriesTheRefusedAgain(CrowSender):
    def result(self, outgoing: Outgoing, words: list[str]) -> SendResult:
        try:
            return super().result(outgoing, words)
        except Rejected as error:
            raise TransientError(error.code, error.sentence) from error


@found_by("test_prepare_sends_nothing")
class SendsWhenItPrepares(CrowSender):
    def prepare(self, outgoing: Outgoing) -> str | None:
        handle = super().prepare(outgoing)
        super().send(outgoing, handle)
        return handle


@found_by("test_connection_is_reused")
class ConnectsForEachMessage(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        self.wire.drop()
        return super().send(outgoing, handle)


@found_by("test_connection_dropped_while_idle_is_replaced")
class TrustsAnIdleConnection(CrowSender):
    def refresh(self) -> None:
        pass


@found_by("test_cut_after_the_end_is_unknown")
class ClaimsTransientAfterTheEnd(CrowSender):
    def after_the_end(self, outgoing: Outgoing) -> list[str]:
        try:
            return super().after_the_end(outgoing)
        except OutcomeUnknown as error:
            raise TransientError(codes.CONNECTION_LOST, error.sentence) from error


@found_by("test_silence_after_the_end_is_unknown")
class ClaimsTransientAfterSilence(CrowSender):
    def after_the_end(self, outgoing: Outgoing) -> list[str]:
        try:
            return super().after_the_end(outgoing)
        except OutcomeUnknown as error:
            if error.__cause__ is not None and "answer" in str(error.__cause__):
                raise TransientError(codes.TIMEOUT, error.sentence) from error
            raise


@found_by("test_cut_after_the_end_is_unknown")
class SendsAgainByItself(CrowSender):
    def after_the_end(self, outgoing: Outgoing) -> list[str]:
        try:
            return super().after_the_end(outgoing)
        except OutcomeUnknown:
            return ["OK"]


@found_by("test_cut_before_the_end_is_transient")
class DoubtsWhatWasNotSent(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        try:
            return super().send(outgoing, handle)
        except TransientError as error:
            raise OutcomeUnknown(error.sentence) from error


@found_by("test_not_finding_a_message_proves_nothing")
class ClaimsNotSentWithoutProof(CrowSender):
    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        found = super().find_sent(message_id, handle)
        return found if found is not None and hasattr(found, "sent_at") else NOT_SENT


@found_by("test_evidence_that_could_not_be_read_proves_nothing")
class TakesTroubleForProof(CrowSender):
    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        try:
            return super().find_sent(message_id, handle)
        except TransientError:
            return NOT_SENT


@found_by("test_evidence_is_about_the_message_asked_for")
class FindsTheLastOneSent(CrowSender):
    last: tuple[str, str | None] | None = None

    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        self.last = outgoing.message_id, handle
        return super().send(outgoing, handle)

    def find_sent(self, message_id: str, handle: str | None) -> Lookup:
        return super().find_sent(*(self.last or (message_id, handle)))


@found_by("test_addresses_are_told_as_they_were_given")
class WritesAddressesSmall(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        small = tuple(address.lower() for address in outgoing.recipients)
        return super().send(dataclasses.replace(outgoing, recipients=small), handle)


@found_by("test_no_secret_is_logged_or_printed")
class PrintsWhatItSends(CrowSender):
    def send(self, outgoing: Outgoing, handle: str | None) -> SendResult:
        print("sending", outgoing.message_id)
        return super().send(outgoing, handle)


@found_by("test_loading_the_plugin_imports_no_library")
class ImportsItsLibraryAtLoad(CrowReceiver):
    """Its module is `heavy`."""


@found_by("test_disposition_that_is_not_declared_is_a_settings_error")
class DoesMoreThanItDeclares(CrowReceiver):
    """Its transport declares no disposition."""


DECLARED = {"DoesMoreThanItDeclares": CrowTransport.capabilities & ~Capability.DELETE}
PLUGINS = {"ImportsItsLibraryAtLoad": "postroom_test_servers.crow.heavy"}
