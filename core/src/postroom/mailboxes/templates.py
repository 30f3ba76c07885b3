"""Templates of acknowledgements (Jinja, sandboxed).

They see what is ours, never a word of the customer's: a confirmation that carries a stranger's text
to an address of the stranger's choice is a free relay.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from postroom.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Template

logger = logging.getLogger(__name__)

DEFAULT: Final = """\
Hello,

thank you for your message; we have it. Its reference is {{ question.reference }}.
Please leave it in the subject when you write about this again.

{{ mailbox.name or mailbox.address }}
"""
LONGEST: Final = 20_000
Values = Mapping[str, Mapping[str, Any]]

_SAMPLE: Final[Values] = {
    "question": {"number": 1, "reference": "#1-0000000000"},
    "mailbox": {"name": "Example Support", "address": "info@example.org"},
    "segment": {"name": "support"},
}


def values(
    *, number: int, reference: str, mailbox_name: str, mailbox_address: str, segment_name: str
) -> Values:
    """Return all that a template sees."""
    return {
        "question": {"number": number, "reference": reference},
        "mailbox": {"name": mailbox_name, "address": mailbox_address},
        "segment": {"name": segment_name},
    }


def render(template: str, seen: Values) -> str:
    """Return the text; the default's where the template is blank or does not work."""
    if template.strip():
        try:
            text = _compiled(template).render(seen)
            if text.strip():
                return text[:LONGEST]
        except Exception as error:  # a template may raise anything; the mail is safe
            logger.warning("A template of %s does not work: %s", seen["segment"]["name"], error)
    return _compiled(DEFAULT).render(seen)


def check(template: str) -> None:
    """Refuse a template that does not work.

    :raises InputError: says why, and what can be used
    """
    try:
        _compiled(template).render(_SAMPLE)
    except Exception as error:
        names = [f"{name}.{part}" for name, parts in _SAMPLE.items() for part in parts]
        raise InputError(
            f"The template does not work: {' '.join(str(error).split())[:200].rstrip('.')}.",
            next_step=f"It may use {', '.join(names)}.",
        ) from error


@lru_cache(maxsize=100)
def _compiled(template: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        autoescape=False,  # it is plain text
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.from_string(template)
