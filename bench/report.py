"""The table of a run: printed, and written between two marks into docs/performance.md."""

from __future__ import annotations

import os
import platform
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_BEGIN = "<!-- begin: written by scripts/bench -->"
_END = "<!-- end: written by scripts/bench -->"


@dataclass(slots=True)
class Report:
    """Collects lines; `command` is what the reader types to get them again."""

    command: str
    peers: str
    rates: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def rate(self, corpus: str, who: str, count: int, seconds: float, peak: int = 0) -> None:
        """Add a line to the table of rates."""
        memory = f"{peak / 1e6:.0f} MB" if peak else ""
        cells = (corpus, who, f"{count:,}", f"{seconds:.2f}", f"{count / seconds:,.0f}", memory)
        self.rates.append(f"| {' | '.join(cells)} |")

    def target(self, what: str, wanted: str, result: str, *, is_met: bool | None) -> None:
        """Add a line to the table of targets."""
        verdict = {True: "yes", False: "**no**", None: ""}[is_met]
        self.targets.append(f"| {what} | {wanted} | {result} | {verdict} |")

    def text(self) -> str:
        """Return it as Markdown."""
        return "\n".join(
            [
                f"`{self.command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {_machine()}."
                + (f" Peers: {self.peers}." if self.peers else ""),
                "",
                "| What | Target | Measured | Reached |",
                "|---|---|---|---|",
                *self.targets,
                "",
                "| Mail | Program | Messages | Seconds | Messages/s | Peak memory |",
                "|---|---|---:|---:|---:|---:|",
                *self.rates,
                "",
                *(f"- {note}" for note in self.notes),
            ]
        )

    def write(self, page: Path) -> None:
        """Replace what stands between the marks."""
        before, _, rest = page.read_text("utf-8").partition(_BEGIN)
        _, _, after = rest.partition(_END)
        page.write_text(f"{before}{_BEGIN}\n{self.text()}\n{_END}{after}", "utf-8")


def _machine() -> str:
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"peewee {version('peewee')}, postroom {version('postroom')}"
    )
