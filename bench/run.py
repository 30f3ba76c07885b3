"""Measures everything in one run on one Dovecot: `scripts/bench --help`."""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from postroom_test_servers.dovecot import Account, Dovecot, running_dovecot
from postroom_test_servers.tls import PrivateAuthority

from bench import corpus
from bench.drain import drain
from bench.measure import SCRATCH, Measured, run_measured
from bench.peers import Peers
from bench.postroom import Installation
from bench.report import Report

_PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_STEP = 2_000
_FEW = 2_000
"""Here starting and ending count for as much as the mail. Peers that take long get no more."""
_FEW_MIXED = 1_000
_ROUNDS = 5
_FEWEST_TIMES = {
    ("small", "mbsync"): 1,
    ("small", "django-mailbox"): 25,
    ("mix", "django-mailbox"): 15,
}
_MOST_TIMES_DRAIN = {"small": 12, "mix": 7}
_MB = 1_000_000
_BEFORE = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What some drains took (in seconds), some first retrievals, and as many of nothing (in
    seconds); the best counts."""

    drains: list[float] = field(default_factory=list)
    runs: list[Measured] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)

    @property
    def drain(self) -> float:
        """Seconds."""
        return min(self.drains)

    @property
    def best(self) -> Measured:
        """The fastest retrieval."""
        return min(self.runs, key=lambda measured: measured.seconds)

    @property
    def net(self) -> float:
        """Seconds of the retrieval, less one that finds nothing."""
        return self.best.seconds - min(self.idle)


class Bench:
    """One run. Every figure of it comes from the same server and the same mail."""

    def __init__(self, server: Dovecot, folder: Path, peers: Peers, report: Report) -> None:
        self._server, self._folder, self._peers, self._report = server, folder, peers, report
        self._numbers = itertools.count(1)
        self._rates: dict[tuple[str, str, int], float] = {}
        """Messages a second, by kind of mail, peer and number, of those that take long."""

    def start_up(self, rounds: int = 10) -> None:
        """Measure how long the commands take that every shell completion waits for."""
        folder = Path(sys.executable).parent
        commands: dict[str, list[str | Path]] = {
            "limit": [sys.executable, "-c", "import click, pluggy, peewee"],
            "--help": [folder / "postroom", "--help"],
            "plugin list": [folder / "postroom", "plugin", "list"],
        }
        best = dict.fromkeys(commands, float("inf"))
        for _ in range(rounds):  # in turns: what else the machine does slows all of them
            for name, command in commands.items():
                best[name] = min(best[name], run_measured(command, {}).seconds)
        limit = best.pop("limit")
        for name, seconds in best.items():
            self._report.target(
                f"`postroom {name}` against `python -c 'import click, pluggy, peewee'`",
                "under 2 times",
                f"{seconds / limit:.1f} times",
                is_met=seconds < 2 * limit,
            )

    def compare(self, kind: str, count: int) -> None:
        """Measure drain, postroom and peers on the same mail."""
        mails = list(corpus.make(kind, count))
        delivered, read = self._retrieve(mails)
        best = delivered.best
        for name, found in (("just delivered", delivered), ("read before", read)):
            what = f"{kind}, {name}"
            self._report.rate(what, "raw drain", count, found.drain)
            self._report.rate(
                what, "postroom, whole process", count, found.best.seconds, found.best.peak
            )
            self._report.rate(what, "postroom, without start and end", count, found.net)
            most = _MOST_TIMES_DRAIN[kind]
            self._report.target(
                f"{kind}, n = {count:,}, {name}: time against the raw drain",
                f"at most {most} times",
                f"{found.best.seconds / found.drain:.1f} times; "
                f"without start and end {found.net / found.drain:.1f}",
                is_met=found.best.seconds <= most * found.drain,
            )
        self._report.target(
            f"{kind}, n = {count:,}: peak memory",
            "under 200 MB",
            f"{best.peak / _MB:.0f} MB",
            is_met=best.peak < 200 * _MB,
        )
        for name in self._peers.available:
            self._compare_peer(kind, name, mails, count / best.seconds)

    def _retrieve(self, mails: list[bytes]) -> tuple[Retrieved, Retrieved]:
        """Return what a drain and a first retrieval take of mail that was just delivered, and of
        mail that was read before, of which the server has an index."""
        delivered, read = Retrieved(), Retrieved()
        for _ in range(_ROUNDS):  # in turns: what else the machine does slows all of them
            drained, retrieved = self._account(mails), self._account(mails)
            delivered.drains.append(self._drain(drained))
            self._first_retrieval(delivered, retrieved, len(mails))
            read.drains.append(self._drain(drained))
            self._first_retrieval(read, drained, len(mails))
            for account in (drained, retrieved):
                _empty(account)
        return delivered, read

    def _first_retrieval(self, found: Retrieved, account: Account, count: int) -> None:
        installation = self._installation(account)
        found.runs.append(installation.retrieve())
        _expect(installation.stored(), count)
        found.idle.append(installation.retrieve().seconds)

    def _compare_peer(self, kind: str, name: str, mails: list[bytes], ours: float) -> None:
        known = self._rates.get((kind, name, min(len(mails), _FEW)))
        rate = known or self._measure_peer(kind, name, mails)
        times = ours / rate
        wanted = _FEWEST_TIMES.get((kind, name))
        self._report.target(
            f"{kind}, n = {len(mails):,}: rate against {name}",
            f"at least {wanted} times" if wanted else "",
            f"{times:.1f} times",
            is_met=times >= wanted if wanted else None,
        )

    def _measure_peer(self, kind: str, name: str, mails: list[bytes]) -> float:
        """Return messages a second, of mail that was just delivered; those that take long are
        measured once, and not with more than a few."""
        is_slow = name != "mbsync"
        count = min(len(mails), _FEW) if is_slow else len(mails)
        best: Measured | None = None
        for _ in range(1 if is_slow else 2):
            account = self._account(mails[:count])
            folder = self._new_folder()
            fetch = self._peers.available[name]
            measured = fetch(folder, self._server.imap, account.name, account.password)
            _empty(account)
            if best is None or measured.seconds < best.seconds:
                best = measured
        assert best is not None
        self._report.rate(f"{kind}, just delivered", name, count, best.seconds, best.peak)
        if is_slow:
            self._rates[kind, name, count] = count / best.seconds
        return count / best.seconds

    def large_message(self, count: int = 500) -> None:
        """Measure how much more memory a retrieval needs while one message of 50 MB passes; of
        what it may be made of, the worst counts."""
        mails = list(corpus.make("small", count))
        before = self._peak_with(mails)
        peaks = {name: self._peak_with(mails, one) for name, one in corpus.large(50 * _MB).items()}
        worst = max(peaks, key=lambda name: peaks[name])
        self._report.target(
            f"a message of 50 MB among small ones ({', '.join(peaks)}): memory",
            "at most +60 MB, under 200 MB",
            f"+{(peaks[worst] - before) / _MB:.0f} MB, {peaks[worst] / _MB:.0f} MB ({worst})",
            is_met=peaks[worst] - before <= 60 * _MB and peaks[worst] < 200 * _MB,
        )

    def _peak_with(self, mails: list[bytes], *extra: bytes) -> int:
        """Return the peak of a retrieval with something in the middle of the mail."""
        middle = len(mails) // 2
        account = self._account([*mails[:middle], *extra, *mails[middle:]])
        installation = self._installation(account)
        peak = installation.retrieve().peak
        _expect(installation.stored(), len(mails) + len(extra))
        return peak

    def growth(self, most: int = 200_000) -> None:
        """Measure the rate at 2,000 stored messages and at 200,000, in one database."""
        account = self._account(())
        installation = self._installation(account)
        self._add(account, installation, 0, _STEP)
        early = self._steps(account, installation, _STEP)
        begin = _STEP * (1 + _ROUNDS)
        fill = self._add(account, installation, begin, most - begin)
        late = self._steps(account, installation, most)
        self._report.rate("small, up to 200,000", "postroom, whole process", most - begin, fill)
        for stored, seconds in ((_STEP, early), (most, late)):
            name = "postroom, without start and end"
            self._report.rate(f"small, on top of {stored:,}", name, _STEP, seconds)
        self._report.target(
            "rate at 200,000 stored messages against that at 2,000",
            "at least 0.8",
            f"{early / late:.2f}",
            is_met=early / late >= 0.8,
        )

    def _steps(self, account: Account, installation: Installation, first: int) -> float:
        """Return the best net time for `_STEP` more messages."""
        times = []
        for place in range(_ROUNDS):
            seconds = self._add(account, installation, first + place * _STEP, _STEP)
            times.append(seconds - installation.retrieve().seconds)
        return min(times)

    def _add(self, account: Account, installation: Installation, first: int, count: int) -> float:
        """Put more messages into the mailbox, in place of those that are stored by now; return the
        seconds it takes to retrieve them.

        With 200,000 files in a Maildir, Dovecot thinks for 0.7 s before it serves the first.
        """
        _empty(account)
        account.append(*corpus.make("small", count, first=first), received_at=_BEFORE)
        self._drain(account)  # the server's index is made; none of them is acknowledged
        seconds = installation.retrieve().seconds
        _expect(installation.stored(), first + count)
        return seconds

    def _drain(self, account: Account) -> float:
        return drain(self._server.imap, account.name, account.password)

    def _account(self, mails: Iterable[bytes]) -> Account:
        """Return a new account; nobody has read its mail yet."""
        account = self._server.new_user()
        account.append(*mails)
        return account

    def _installation(self, account: Account) -> Installation:
        return Installation(
            self._new_folder() / "postroom",
            port=self._server.imap,
            user=account.name,
            password=account.password,
        )

    def _new_folder(self) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(mode=0o755)
        return folder


def _empty(account: Account) -> None:
    """Delete all mail of an account, as its owner could."""
    for folder in ("new", "cur"):
        for file in (account.maildir / folder).iterdir():
            file.unlink()


def _expect(stored: int, wanted: int) -> None:
    if stored != wanted:
        raise RuntimeError(f"{stored} of {wanted} messages are stored: the figures mean nothing")


def main() -> None:
    """Measure and print; write the page if everything was measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer messages, no slow peers, no 200,000 messages; writes nothing",
    )
    parser.add_argument(
        "--small",
        type=int,
        metavar="N",
        default=10_000,
        help=f"small mails, besides {_FEW:,} of them (default 10,000)",
    )
    parser.add_argument(
        "--mix",
        type=int,
        metavar="N",
        default=3_000,
        help=f"mixed mails, besides {_FEW_MIXED:,} of them (default 3,000)",
    )
    options = parser.parse_args()
    peers = Peers(SCRATCH / "peers", only=("mbsync",) if options.quick else None)
    report = Report(" ".join(["scripts/bench", *sys.argv[1:]]), peers.versions())
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)  # a peer writes as nobody
    try:
        with running_dovecot(PrivateAuthority(folder).issue("localhost", "127.0.0.1")) as server:
            bench = Bench(server, folder, peers, report)
            bench.start_up()
            bench.compare("small", _FEW)
            if not options.quick:
                bench.compare("small", options.small)
            bench.compare("mix", 300 if options.quick else _FEW_MIXED)
            if not options.quick:
                bench.compare("mix", options.mix)
            bench.large_message()
            if not options.quick:
                bench.growth()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.notes += [f"{name} is left out: {why}." for name, why in peers.missing.items()]
    print(report.text())
    if not options.quick:
        report.write(_PAGE)


if __name__ == "__main__":
    main()
