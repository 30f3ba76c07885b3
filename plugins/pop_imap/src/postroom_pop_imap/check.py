"""Self-tests, step by step: what both protocols report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from postroom.api import CheckStep, TransportError


def session_steps(
    names: list[str],
    done: list[str],
    error: TransportError | None,
    details: Mapping[str, str] = {},
) -> Iterator[CheckStep]:
    """Yield what was done as ok, the first that was not as the error, the others as skipped."""
    failed = False
    for name in names:
        if name in done:
            yield CheckStep(name, "ok", details.get(name, ""))
        elif error is not None and not failed:
            failed = True
            yield failing(name, error)
        else:
            yield CheckStep(name, "skip")


def failing(name: str, error: TransportError) -> CheckStep:
    """Return the step that an error stands for."""
    return CheckStep(name, "fail", error.sentence, error.next_step)
