"""The emergency ring: torn records, wrapping, and how it is drained into the journal, each event once."""

import asyncio
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Stream
from lintel.edge.store.chain import encode
from lintel.edge.store.ring import SLOT, Ring

from .helpers import card, event, opened


def _ring(path: Path, bodies: list[bytes], drained: int = 0, slots: int = 16) -> Ring:
    return Ring(path, bytes(32), lambda _, got: bodies.extend(got) or 0, drained=drained, size=slots * SLOT)


def test_a_torn_record_is_skipped(tmp_path: Path) -> None:
    ring = _ring(tmp_path / "ring", [])
    assert ring.keep([b"one", b"two", b"three"], StoreError("disk_full", "")) is None
    ring.close()
    raw = bytearray((tmp_path / "ring").read_bytes())
    assert b"two" not in raw
    raw[SLOT + 40] ^= 1
    (tmp_path / "ring").write_bytes(raw)
    ring = _ring(tmp_path / "ring", [])
    assert ring.records() == [b"one", b"three"]
    ring.close()


def test_the_ring_wraps_and_never_overwrites(tmp_path: Path) -> None:
    ring = _ring(tmp_path / "ring", [], drained=13)
    assert ring.keep([b"%d" % n for n in range(16)], StoreError("disk_full", "")) is None
    refused = ring.keep([b"more"], StoreError("disk_full", ""))
    assert refused is not None
    assert refused.word == "disk_full"
    ring.close()
    again = _ring(tmp_path / "ring", [], drained=13)
    assert again.records() == [b"%d" % n for n in range(16)]
    again.close()


def test_the_ring_is_drained_at_the_next_start(tmp_path: Path) -> None:
    async def first() -> None:
        store = opened(tmp_path)
        await store.journal.append(event(1), now=True)
        fault = StoreError("disk_full", "")
        assert store.ring.keep([encode(event(2)), encode(event(3))], fault) is None
        store.writer._spare = None  # as if the power went now
        await store.close()

    async def second() -> None:
        store = opened(tmp_path)
        while store.writer.fault:
            await asyncio.sleep(0.05)
        assert [r.event.person for r in store.journal.export(Stream.ACCESS)] == ["per_1", "per_2", "per_3"]
        await store.close()

    asyncio.run(first())
    asyncio.run(second())
    asyncio.run(second())  # and not a second time


def test_a_refused_checkpoint_does_not_undo_the_drain(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_checkpoint([card(1)], epoch=5, seq=5, synced_at=1.0)
        assert store.ring.keep([encode(event(1))], StoreError("disk_full", "")) is None
        store.writer._fault = StoreError("disk_full", "as if the disk had been full until now")
        with pytest.raises(StoreError, match="older"):
            await store.allowlist.apply_checkpoint([card(2)], epoch=1, seq=1, synced_at=1.0)
        assert [r.event.person for r in store.journal.export(Stream.ACCESS)] == ["per_1"]
        await store.close()

    asyncio.run(main())


def test_a_sync_that_fails_leaves_nothing_to_drain_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, not synced: the bodies wait in memory, and what stands in the slots counts as drained with them."""
    put: list[bytes] = []
    ring = _ring(tmp_path / "ring", put)
    assert ring.keep([b"one"], StoreError("disk_full", "")) is None

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", failing)
        assert ring.keep([b"two", b"three"], StoreError("disk_full", "")) is not None

    class Conn:
        drained = 0

        def execute(self, _: str, values: tuple[str]) -> None:
            self.drained = int(values[0])

    conn = Conn()
    ring.drain(conn)
    ring.drained()
    assert put == [b"one", b"two", b"three"], "once, in order"
    ring.close()
    again = _ring(tmp_path / "ring", put, drained=conn.drained)
    assert not again.waiting(), "and not after a restart"
    assert again.keep([b"four"], StoreError("disk_full", "")) is None
    assert again.records() == [b"four"]
    again.close()
    control = _ring(tmp_path / "ring", put, drained=1)
    assert control.records() == [b"two", b"three", b"four"], "the control: they are there to be read"
    control.close()
