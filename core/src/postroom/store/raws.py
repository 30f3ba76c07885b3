"""Raw messages: exactly the bytes the server served, compressed, in pieces.

This is the small interface behind which a store outside the database could come.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from postroom.api.transport import Spool
from postroom.errors import NotFoundError
from postroom.store.database import allocate_ids, insert_rows, is_among, rows
from postroom.store.models import Raw, RawChunk
from postroom.store.packing import Packed, pack, unpack

__all__ = ["Packed", "beginnings", "delete", "insert", "load", "pack", "pieces", "save"]


def save(raw: bytes | Spool) -> int:
    """Store one message in the caller's transaction; return its id."""
    raw_id = allocate_ids(Raw, 1)[0]
    insert([(raw_id, pack(raw))])
    return raw_id


def insert(items: Iterable[tuple[int, Packed]]) -> None:
    """Store packed messages under allocated ids, in the caller's transaction."""
    items = list(items)
    insert_rows(Raw, ("id", "sha256", "size"), ((i, p.sha256, p.size) for i, p in items))
    small = [(i, p.chunks) for i, p in items if isinstance(p.chunks, list)]
    insert_rows(
        RawChunk,
        ("raw_id", "position", "body"),
        ((i, n, body) for i, chunks in small for n, body in enumerate(chunks)),
    )
    for raw_id, packed in items:
        if not isinstance(packed.chunks, list):
            for position, body in enumerate(packed.chunks):
                insert_rows(RawChunk, ("raw_id", "position", "body"), [(raw_id, position, body)])


def pieces(raw_id: int) -> Iterator[bytes]:
    """Yield the bytes in pieces of at most 1 MiB.

    :raises NotFoundError: the bytes are not kept (any more)
    """
    size = rows(Raw.select(Raw.size).where(Raw.id == raw_id))
    if not size:
        raise NotFoundError("The raw message is not in the database.")
    left, position = size[0][0], 0
    while left > 0:
        wanted = (RawChunk.raw_id == raw_id) & (RawChunk.position == position)
        found = rows(RawChunk.select(RawChunk.body).where(wanted))
        if not found:
            return
        piece = unpack(bytes(found[0][0]))
        yield piece
        left -= len(piece)
        position += 1


def load(raw_id: int) -> bytes:
    """Return all of the bytes.

    :raises NotFoundError: the bytes are not kept (any more)
    """
    whole = io.BytesIO()  # a join would hold all of it twice
    whole.writelines(pieces(raw_id))
    return whole.getvalue()


def beginnings(raw_ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Yield id and first piece, at most 1 MiB, of those that are kept."""
    wanted = list(raw_ids)
    for i in range(0, len(wanted), 100):
        some = RawChunk.select(RawChunk.raw_id, RawChunk.body).where(
            (RawChunk.position == 0) & RawChunk.raw_id.in_(wanted[i : i + 100])
        )
        for raw_id, body in rows(some):
            yield raw_id, unpack(bytes(body))


def delete(raw_ids: Iterable[int]) -> None:
    """Remove messages in the caller's transaction."""
    wanted = list(raw_ids)
    RawChunk.delete().where(is_among(RawChunk.raw_id, wanted)).execute()
    Raw.delete().where(is_among(Raw.id, wanted)).execute()
