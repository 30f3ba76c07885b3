"""`parse` in the corpus' own words, for `make_corpus.py --check corpus_adaptor`."""

from __future__ import annotations

from typing import Any

import postroom.mail


def parse(raw: bytes) -> dict[str, Any]:
    """Return a message as the dict that the corpus' expectations are written for."""
    message = postroom.mail.parse(raw)
    sender = message.from_
    return {
        "subject": message.subject,
        "from_addr": sender.address if sender else None,
        "from_name": sender.name if sender else None,
        "to": [one.address for one in message.to],
        "cc": [str(one) for one in message.cc],
        "reply_to": [one.address for one in message.reply_to],
        "message_id": message.message_id,
        "in_reply_to": list(message.in_reply_to),
        "references": list(message.references),
        "text": message.text,
        "html": message.html,
        "html_original": message.html_original,
        "reply_text": message.reply_text,
        "headers": list(message.headers),
        "problems": list(message.problems),
        "is_auto_reply": message.is_automatic and not message.is_bounce,
        "is_bounce": message.is_bounce,
        "no_autoreply": not message.may_auto_reply,
        "attachments": [
            {
                "name": one.filename,
                "type": one.content_type,
                "sha256": one.sha256,
                "text": one.content[:100_000].decode("utf-8", "replace").replace("\x00", ""),
            }
            for one in message.attachments
        ],
    }
