"""What the tests of the store share."""

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

from lintel.edge.digests import Digester
from lintel.edge.model import ClockState, Event, Method, PersonKind, Stream
from lintel.edge.store import CredentialPut, Store

KEY = bytes(range(32))
DIGEST = Digester(bytes(32))
_n = itertools.count(1)


def digest(value: object) -> bytes:
    return hashlib.blake2b(str(value).encode(), digest_size=16).digest()


def event(
    i: int = 0, *, stream: Stream = Stream.ACCESS, device: str = "qr-1", record: str = "", reason: str = "granted"
):
    return Event(
        f"evt_{next(_n):026d}", stream, "access.decision", 1_790_000_000_000 + i, float(i), ClockState.SYNCED,
        door="gate", device=device, result="open", reason=reason, person=f"per_{i}", method="qr", record=record,
    )  # fmt: skip


def card(value: object, **fields: object) -> CredentialPut:
    given = {"person": f"per_{value}", "kind": PersonKind.OWNER, "method": Method.CARD, "groups": ("north",), **fields}
    return CredentialPut(digest(value), **given)  # type: ignore[arg-type]


def opened(path: Path, notices: list | None = None) -> Store:
    said = notices if notices is not None else []
    return Store.open(path, KEY, on_notice=lambda n, d: said.append((str(n), d)))


def run(path: Path, body: Callable[[Store], Awaitable[None]]) -> None:
    """Run `body` on the opened store of a directory."""

    async def main() -> None:
        store = opened(path)
        try:
            await body(store)
        finally:
            await store.close()

    asyncio.run(main())
