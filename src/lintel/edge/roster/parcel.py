"""What one command about persons carries: as many as their photos allow."""

import asyncio
from collections.abc import Sequence
from typing import Final

from lintel.edge.persons import Keeping, Person
from lintel.edge.store.faces import Faces
from lintel.edge.store.roster import Wanted

PHOTO_BYTES: Final = 180_000
"""Photos of one command: on a line of 100 Mbit/s an order waits behind them for 20 ms."""


async def pack(
    wanted: Sequence[Wanted], keeping: Keeping, faces: Faces
) -> tuple[list[tuple[Wanted, Person]], list[Wanted]]:
    """Whom to send now, as the terminal is to know them, and who has no photo. Stops when the photos are enough."""
    ready: list[tuple[Wanted, Person]] = []
    without: list[Wanted] = []
    size = 0
    for w in wanted:
        photo = b""
        if keeping.photos:
            opened = await asyncio.to_thread(faces.opened, w.photo) if w.photo is not None else None
            if opened is None:
                without.append(w)
                continue
            photo = opened
            if ready and size + len(photo) > PHOTO_BYTES:
                break
            size += len(photo)
        ready.append((w, Person(w.name, w.shown, w.valid_from, w.valid_to, photo, w.held)))
    return ready, without
