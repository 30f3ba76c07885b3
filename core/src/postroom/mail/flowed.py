"""Join the lines of `format=flowed` text (RFC 3676)."""

from __future__ import annotations


def unflow(text: str, *, delete_space: bool) -> str:
    """Return the paragraphs on one line each; quoted lines join only within their depth."""
    out: list[str] = []
    open_depth: int | None = None  # of the line before, if it goes on
    for line in text.split("\n"):
        depth, content = _quoted(line)
        goes_on = content.endswith(" ") and content != "-- "
        if open_depth == depth and content != "-- ":
            out[-1] += content
        else:
            out.append(">" * depth + " " + content if depth else content)
        if goes_on and delete_space:
            out[-1] = out[-1][:-1]
        open_depth = depth if goes_on else None
    return "\n".join(out)


def _quoted(line: str) -> tuple[int, str]:
    """Return how deep a line is quoted, and its content without the stuffed space."""
    content = line.lstrip(">")
    depth = len(line) - len(content)
    return depth, content.removeprefix(" ")
