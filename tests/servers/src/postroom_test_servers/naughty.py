"""A distribution with transports that misbehave, each in one place and one way, and others whose
plugins break when they are loaded; put on the path of a process, found through its entry points."""

from __future__ import annotations

from pathlib import Path

PLACES = ("settings", "open", "fetch", "settle", "close")
"""Where a visit of the runner comes by; commands also come by `check` and `list`."""
MARK_VARIABLE = "POSTROOM_NAUGHTY_MARK"
"""Names a file that is made when a plugin is about to hang."""

_SOURCE = """
import os, pathlib, sys, threading
from postroom.api import (
    Capability, Checkpoint, CheckStep, Fetched, Listed, Receiver, Settled, Transport, hookimpl
)

def misbehave(way):
    if way == "raise":
        raise RuntimeError("Kanarienvogel-7f3a9c")
    if way == "exit":
        sys.exit("leave")
    if mark := os.environ.get("POSTROOM_NAUGHTY_MARK"):
        pathlib.Path(mark).touch()
    while way == "hang":
        threading.Event().wait()
    while way == "spin":
        pass

def letter(name, number):
    return (
        f"From: Ann <ann@customer.example>\\r\\nTo: info@example.org\\r\\nSubject: {number}\\r\\n"
        f"Message-ID: <{number}@{name}.example>\\r\\n\\r\\nHello {number}\\r\\n"
    ).encode()

class NaughtyReceiver(Receiver):
    def __init__(self, place, way):
        self.place, self.way, self.name = place, way, f"{place}-{way}"

    def at(self, place):
        if place == self.place:
            misbehave(self.way)

    def fetch(self, cursor, *, limits, wanted):
        refs = wanted([Listed(str(number)) for number in range(5)])
        for number in range(5):
            if number == 3:
                self.at("fetch")
            if str(number) in refs:
                yield Fetched(str(number), letter(self.name, number))
        yield Checkpoint("")

    def settle(self, refs, disposition):
        self.at("settle")
        yield from map(Settled, refs)

    def list_refs(self):
        self.at("list")
        return iter(())

    def check(self):
        yield CheckStep("before", "ok")
        self.at("check")

    def interrupt(self):
        misbehave("hang")

    def close(self):
        self.at("close")

class NaughtyTransport(Transport):
    title = "Naughty"
    capabilities = Capability.SEEN

    def __init__(self, place, way):
        self.place, self.way = place, way
        self.name = f"{place}-{way}"

    def receiver_settings(self):
        from postroom.api.settings import TransportSettings
        if self.place == "settings" and "run" in sys.argv:
            misbehave(self.way)
        return TransportSettings

    def open_receiver(self, settings, context):
        if self.place == "open":
            misbehave(self.way)
        return NaughtyReceiver(self.place, self.way)

@hookimpl
def postroom_transports():
    places = ("settings", "open", "fetch", "settle", "close", "check", "list")
    ways = ("raise", "exit", "hang", "spin")
    return [NaughtyTransport(place, way) for place in places for way in ways]
"""
_BROKEN = {
    "import_raises": "raise RuntimeError('no')",
    "import_exits": "import sys; sys.exit(3)",
    "import_hangs": "import threading; threading.Event().wait()",
    "hook_exits": "import sys\nfrom postroom.api import hookimpl\n"
    "@hookimpl\ndef postroom_transports(): sys.exit(3)",
    "hook_hangs": "import threading\nfrom postroom.api import hookimpl\n"
    "@hookimpl\ndef postroom_transports(): threading.Event().wait()",
    "hook_unknown": "from postroom.api import hookimpl\n@hookimpl\ndef postroom_dance(): pass",
}


def install(folder: Path, *, broken: bool = False) -> None:
    """Put the distribution ``postroom-naughty`` into a folder that is to be on the path.

    :param broken: also those that cannot be loaded; two of them take their time until they are
        given up
    """
    modules = {"naughty": _SOURCE} | (_BROKEN if broken else {})
    put(folder, "postroom-naughty", {f"postroom_{name}": text for name, text in modules.items()})


def put(folder: Path, distribution: str, modules: dict[str, str]) -> None:
    """Put a distribution into a folder: each module is a plugin, named without ``postroom_``."""
    information = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    )
    points = [f"{name.removeprefix('postroom_')} = {name}" for name in modules]
    (information / "entry_points.txt").write_text("\n".join(["[postroom]", *points, ""]))
