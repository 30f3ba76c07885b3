"""The rule that a standard test is not overridden in silence."""

from __future__ import annotations

import inspect
from typing import Any

_OURS = __name__.rpartition(".")[0]


class Conformance:
    """Base of the kit's classes: refuses a subclass that overrides a standard test without
    ``@pytest.mark.xfail(reason="…")``."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if _is_ours(cls):
            return
        for name, standard in _standard_tests(cls).items():
            found = inspect.getattr_static(cls, name)
            if found is not standard and not _has_reason(found):
                raise TypeError(
                    f"{cls.__name__} overrides the standard test {name}. Mark it with "
                    '@pytest.mark.xfail(reason="…"), so that whoever reads the report sees what '
                    "the transport does not do, and why."
                )


def _is_ours(cls: type) -> bool:
    return cls.__module__ == _OURS or cls.__module__.startswith(f"{_OURS}.")


def _standard_tests(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if _is_ours(base):
            found |= {name: value for name, value in vars(base).items() if name.startswith("test_")}
    return found


def _has_reason(test: Any) -> bool:
    marks = getattr(test, "pytestmark", ())
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
