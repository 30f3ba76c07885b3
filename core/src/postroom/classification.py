"""What is to be done with a message: classifiers are asked, the first to set a field wins.

Here are the classifiers that are built in. They run where messages are understood, so that the
process that stores has time to store; plugins from elsewhere are asked by `plugins`.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final

from postroom.api.verdict import MailboxView, Verdict

if TYPE_CHECKING:
    from postroom.mail import ParsedMessage

logger = logging.getLogger(__name__)

BUILT_IN: Final = {
    "filters": "postroom.builtin.filters",
    "acknowledgement": "postroom.builtin.acknowledgement",
    "loops": "postroom.builtin.loops",
}
DENY: Final = "POSTROOM_DISABLE_PLUGINS"
NOTHING: Final = Verdict()
Classified = tuple[Verdict, list[str]]
"""For each field what was first said, and a sentence for each classifier that failed."""

_FIELDS = tuple(one.name for one in fields(Verdict))
_Classifier = Callable[["ParsedMessage", MailboxView], object]


def names_in(text: str) -> set[str]:
    """Return the names in a list with commas, as POSTROOM_DISABLE_PLUGINS has them."""
    return {name.strip() for name in text.split(",") if name.strip()}


def merge(verdict: Verdict, said: object) -> Verdict:
    """Fill in the fields that nobody set yet.

    :raises TypeError: what was said is no verdict
    """
    if said is None:
        return verdict
    if not isinstance(said, Verdict):
        raise TypeError(f"postroom_classify returned {type(said).__name__}")
    if verdict is NOTHING:
        return said
    news = {
        name: value
        for name in _FIELDS
        if getattr(verdict, name) is None and (value := getattr(said, name)) is not None
    }
    return replace(verdict, **news) if news else verdict


def report_failure(name: str, error: BaseException) -> str:
    """Log that a classifier failed; return the sentence for the message's record."""
    logger.error("Plugin %s failed on a message", name, exc_info=error, extra={"plugin": name})
    return f"The plugin {name} failed on a message: {type(error).__name__}."


class BuiltIn:
    """The built-in classifiers that are not switched off; loaded with the first message."""

    def __init__(self) -> None:
        denied = names_in(os.environ.get(DENY, ""))
        self._modules = {name: path for name, path in BUILT_IN.items() if name not in denied}
        self._loaded: dict[str, _Classifier] | None = None
        self._missing: list[str] = []

    def classify(
        self, message: ParsedMessage, mailbox: MailboxView, verdict: Verdict = NOTHING
    ) -> Classified:
        """Ask each of them, after whoever said `verdict`."""
        if self._loaded is None:
            self._missing, self._loaded = self._load()
        reports = list(self._missing)
        for name, classify in self._loaded.items():
            try:
                verdict = merge(verdict, classify(message, mailbox))
            except Exception as error:
                reports.append(report_failure(name, error))
        return verdict, reports

    def headers(self, mailbox: MailboxView) -> frozenset[str]:
        """Return the names, in lower case, of the headers that they look at."""
        from postroom.builtin import filters, loops

        return loops.HEADERS.union(filters.headers(mailbox.filters))

    def _load(self) -> tuple[list[str], dict[str, _Classifier]]:
        missing: list[str] = []
        loaded: dict[str, _Classifier] = {}
        for name, path in self._modules.items():
            try:
                loaded[name] = importlib.import_module(path).postroom_classify
            except (ImportError, AttributeError) as error:
                missing.append(report_failure(name, error))
        return missing, loaded
