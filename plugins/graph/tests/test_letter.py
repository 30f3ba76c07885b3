"""A message taken apart: nothing of its files is lost, and memory does not follow them."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from postroom.api import Outgoing
from postroom_graph.letter import Letter

LARGE = os.urandom(400_001)


def letter(message: EmailMessage | bytes) -> Letter:
    raw = message if isinstance(message, bytes) else message.as_bytes(policy=SMTP)
    return Letter(
        Outgoing(
            message_id="a1@example.org",
            sender="support@example.org",
            recipients=("ann@customer.example",),
            raw=raw,
            from_address="support@example.org",
        )
    )


def message(*files: bytes, text: str = "Hello\n") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"] = "support@example.org", "ann@customer.example"
    made.set_content(text)
    for number, content in enumerate(files):
        made.add_attachment(content, "application", "pdf", filename=f"{number}.pdf")
    return made


@pytest.mark.parametrize("sizes", [(5, 400_001), (400_001, 5, 300_000), (400_001,), (1_000_002,)])
def test_files_of_every_size_come_out_as_they_went_in(sizes: tuple[int, ...]):
    contents = [os.urandom(size) for size in sizes]

    properties, files = letter(message(*contents)).as_properties()

    assert [file.content for file in files] == contents
    assert [file.name for file in files] == [f"{number}.pdf" for number in range(len(sizes))]
    assert properties["body"]["content"] == "Hello\r\n"


def test_message_within_keeps_its_large_file():
    outer = message(text="See below\n")
    outer.add_attachment(message(LARGE))

    _, [file] = letter(outer).as_properties()

    [inner] = letter(file.content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).as_properties()[
        1
    ]
    assert inner.content == LARGE


def test_large_text_in_base64_is_the_body():
    text = "Grüße aus dem Süden\n" * 40_000
    made = message(text=text)
    made.replace_header("Content-Transfer-Encoding", "base64")
    made.set_payload(base64.encodebytes(text.encode()).decode())

    properties, files = letter(made).as_properties()

    assert properties["body"]["content"] == text
    assert files == []


def test_base64_that_is_cut_short_gives_what_is_there():
    raw = message(LARGE).as_bytes(policy=SMTP)
    end = raw.rindex(b"\r\n--") - 3

    _, [file] = letter(raw[:end] + raw[raw.rindex(b"\r\n--") :]).as_properties()

    assert LARGE.startswith(file.content)
    assert len(LARGE) - len(file.content) < 60


MEASURE = """
import base64, os, resource
from test_letter import letter
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
head = b"From: a@b\\r\\nTo: c@d\\r\\nContent-Type: multipart/mixed; boundary=b\\r\\n\\r\\n--b\\r\\n"
part = b"Content-Type: application/zip\\r\\nContent-Transfer-Encoding: base64\\r\\n\\r\\n"
line = base64.b64encode(os.urandom(57)) + b"\\r\\n"
raw = head + part + line * 1_000_000 + b"--b--\\r\\n"
before = most()
_, [file] = letter(raw).as_properties()
assert len(file.content) == 57_000_000
print(most() - before, len(raw) / 2**20)
"""


def test_memory_is_little_more_than_the_file():
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=os.path.dirname(__file__), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    more, size = map(float, done.stdout.split())
    assert more < 1.5 * size
