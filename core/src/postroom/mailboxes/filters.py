"""Filters: rules of a segment that sort or ignore mail, kept in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from postroom import names
from postroom.api.errors import Problem
from postroom.api.verdict import FilterRule, MailboxView, Status
from postroom.errors import InputError, NotFoundError
from postroom.mailboxes import segments, topics
from postroom.store.database import transaction
from postroom.store.models import Filter, Segment

FIELDS: Final = ("subject", "body", "from", "to")
STATUSES: Final = get_args(Status)
ACTIONS: Final = ("topic", "assignee", "status", "ignore")
LONGEST_PATTERN: Final = 2_000
_HEADER = re.compile(r"header:[!-9;-~]+")  # RFC 5322 section 2.2: printable but no colon


def put(segment_name: object, name: object, values: Mapping[str, Any]) -> list[str]:
    """Make a filter be so; return the names of what changed. A new one comes last.

    :param values: ``field``, ``pattern``, and of ``topic``, ``assignee``, ``status``, ``ignore``,
        ``stop`` those that are wanted
    :raises InputError: with every problem
    """
    segment, problems = segments.named_by(segment_name)
    columns = _checked(segment, values, problems)
    try:
        columns["name"] = names.checked_name(name)
    except ValueError as error:
        problems.append(Problem("name", str(error)))
    if segment is None or problems:
        raise InputError("The filter is not right.", problems)
    key = names.name_key(columns["name"])
    with transaction():
        old = Filter.get_or_none((Filter.segment == segment.id) & (Filter.name_key == key))
        if old is None:
            Filter.create(
                segment=segment.id, name_key=key, position=_next_position(segment), **columns
            )
            return ["added"]
        changed = [column for column, value in columns.items() if getattr(old, column) != value]
        if changed:
            Filter.update(columns).where(Filter.id == old.id).execute()
        return changed


def order(segment_name: str, wanted: Sequence[str]) -> bool:
    """Put these filters of a segment into this order; the others keep their places.

    :returns: whether anything moved
    """
    segment = segments.find(segment_name)
    keys = [names.name_key(name) for name in wanted]
    with transaction():
        current = list(_of(segment))
        moving = {rule.name_key: rule for rule in current if rule.name_key in keys}
        in_order = iter([moving[key] for key in keys if key in moving])
        target = [next(in_order) if rule.name_key in moving else rule for rule in current]
        if [rule.id for rule in target] == [rule.id for rule in current]:
            return False
        for position, rule in enumerate(target, start=1):
            Filter.update(position=position).where(Filter.id == rule.id).execute()
    return True


def find(name: str, segment_name: str) -> Filter:
    """Return a filter by its name.

    :raises NotFoundError: with the nearest name
    """
    segment = segments.find(segment_name)
    found: Filter | None = Filter.get_or_none(
        (Filter.segment == segment.id) & (Filter.name_key == names.name_key(name))
    )
    if found is None:
        hint = names.nearest(name, [rule.name for rule in _of(segment)])
        raise NotFoundError(f'The segment "{segment.name}" has no filter "{name}"; {hint}')
    return found


def exists(name: str, segment_name: str) -> bool:
    """Say whether there is a filter of that name."""
    try:
        find(name, segment_name)
    except NotFoundError:
        return False
    return True


def try_out(rule: Filter, raw: bytes) -> dict[str, Any]:
    """Return whether a filter matches a message, and what it would do. Stores nothing."""
    from postroom.builtin.filters import postroom_classify
    from postroom.mail import parse

    one = FilterRule(
        **{name: getattr(rule, name) for name in ("name", "field", "pattern", "stop", *ACTIONS)}
    )
    view = MailboxView("", "", "", frozenset(), filters=(one,))
    verdict = postroom_classify(parse(raw), view)
    does = {name: getattr(verdict, name) for name in ACTIONS} if verdict else {}
    stops = verdict is not None and rule.stop and verdict.because == rule.name
    return {"matches": stops or any(does.values()), **does}


def remove(name: str, segment_name: str) -> None:
    """Remove a filter."""
    Filter.delete().where(Filter.id == find(name, segment_name).id).execute()


def listed(segment_name: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield filters in the order in which they are applied, of one segment or of all."""
    query = Segment.select().order_by(Segment.name_key)
    if segment_name is not None:
        query = query.where(Segment.id == segments.find(segment_name).id)
    for segment in query:
        for rule in _of(segment):
            yield shown(rule, segment)


def shown(rule: Filter, segment: Segment) -> dict[str, Any]:
    """Return a filter for people and programs."""
    return {
        "segment": segment.name,
        "name": rule.name,
        "field": rule.field,
        "pattern": rule.pattern,
        "set": {name: value for name in ACTIONS[:3] if (value := getattr(rule, name))},
        "ignore": rule.ignore,
        "stop": rule.stop,
    }


def _of(segment: Segment) -> Any:
    return Filter.select().where(Filter.segment == segment.id).order_by(Filter.position, Filter.id)


def _next_position(segment: Segment) -> int:
    last = _of(segment).order_by(Filter.position.desc()).first()
    return last.position + 1 if last else 1


# ---------------------------------------------------------------------------- checks


def _checked(
    segment: Segment | None, values: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    """Return the columns, adding what is wrong to `problems`."""
    checks = {"field": _check_field, "pattern": _check_pattern, "status": _check_status}
    columns: dict[str, Any] = {"stop": values.get("stop", False)}
    if not isinstance(columns["stop"], bool):
        problems.append(Problem("stop", "must be true or false"))
    for name in ("field", "pattern", *ACTIONS):
        value = columns[name] = values.get(name)
        try:
            if value is not None:
                _check_text(value)
                checks.get(name, _check_nothing)(value)
            elif name in ("field", "pattern"):
                raise ValueError("is missing")
        except ValueError as error:
            field = f"set.{name}" if name in ACTIONS[:3] else name
            problems.append(Problem(field, str(error)))
    _check_actions(segment, columns, problems)
    return columns


def _check_actions(
    segment: Segment | None, columns: dict[str, Any], problems: list[Problem]
) -> None:
    set_ones = [name for name in ACTIONS if columns[name] is not None]
    if not set_ones and columns["stop"] is not True:
        problems.append(Problem("set", "the filter does nothing: set something, or ignore"))
    if "ignore" in set_ones and len(set_ones) > 1:
        problems.append(Problem("ignore", "what is ignored opens no question to set anything on"))
    if columns["status"] == "assigned" and columns["assignee"] is None:
        problems.append(Problem("set.status", "assigned needs an assignee"))
    if segment is not None and isinstance(columns["topic"], str):
        try:
            columns["topic"] = topics.find(segment, columns["topic"]).name
        except NotFoundError as error:
            problems.append(Problem("set.topic", error.sentence))


def _check_nothing(value: str) -> None:
    """Any text will do."""


def _check_text(value: object) -> None:
    if not isinstance(value, str):
        raise ValueError("must be text")
    if not value.strip() or "\0" in value:
        raise ValueError("must not be empty")
    if len(value) > LONGEST_PATTERN:
        raise ValueError(f"must have at most {LONGEST_PATTERN} characters")


def _check_field(value: str) -> None:
    if value not in FIELDS and not _HEADER.fullmatch(value):
        raise ValueError(f"must be one of {', '.join(FIELDS)} or header:NAME")


def _check_pattern(value: str) -> None:
    import regex  # type: ignore[import-untyped]  # has no stubs

    try:
        regex.compile(value)
    except RecursionError as error:
        raise ValueError("has groups that stand in one another too deeply") from error
    except (regex.error, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from error


def _check_status(value: str) -> None:
    if value not in STATUSES:
        raise ValueError(f"must be one of {', '.join(STATUSES)}")
