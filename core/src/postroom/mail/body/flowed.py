"""Join the lines of `format=flowed` text (RFC 3676)."""

from __future__ import annotations


def unflow(text: str, *, delete_space: bool) -> str:
    """Return the paragraphs on one line each; quoted lines join only within their depth."""
    out: list[str] = []
    open_depth: int | None = None  # of the line before, if it goes on
    for line in text.split("\n"):
        depth, content = _quoted(line)
        is_signature = content == "-- "
        if out and (open_depth != depth or is_signature):
            out.append("\n")
        if depth and (open_depth != depth or is_signature):
            out.append(">" * depth + " ")
        goes_on = content.endswith(" ") and not is_signature
        out.append(content[:-1] if goes_on and delete_space else content)
        open_depth = depth if goes_on else None
    return "".join(out)


def _quoted(line: str) -> tuple[int, str]:
    """Return how deep a line is quoted, and its content without the stuffed space."""
    content = line.lstrip(">")
    depth = len(line) - len(content)
    return depth, content.removeprefix(" ")
