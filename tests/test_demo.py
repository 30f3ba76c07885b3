"""The demo plays to its end, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_TOLD = (
    "$ postroom apply desk.toml",
    "$ postroom run &",
    "領収書について",
    "to maria@example.com: Re: Order 1042 has not arrived [#1-",
    "The answer to question 1 is queued for maria@example.com.",
    "Wonderful, thank you!",
    "[automatic, bounce]",
    "A mailbox of your own",
)


@pytest.mark.timeout(300)
def test_demo_plays_to_its_end_and_ctrl_c_ends_what_it_kept(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(_ROOT / "demo"), "--keep"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert demo.stdout is not None
    overdue = threading.Timer(240, demo.terminate)
    overdue.start()
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if line.startswith("The outgoing server:"):
            demo.send_signal(signal.SIGINT)
    output = "".join(lines)
    demo.stdout.close()
    code = demo.wait(60)
    overdue.cancel()

    assert code == 0, output
    assert [words for words in _TOLD if words not in output] == []
    assert re.search(r"^unaccounted: +0$", output, re.MULTILINE)
    assert "\x1b" not in output
    assert list(tmp_path.iterdir()) == []
