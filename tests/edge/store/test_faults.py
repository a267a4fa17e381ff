"""Disk full, read-only, damaged: on real file systems where user namespaces are allowed."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Stream
from lintel.edge.store import CountedUse, Store, derive
from lintel.edge.store.chain import encode
from lintel.edge.store.recovery import newest_snapshot, snapshot
from lintel.edge.store.ring import SLOT, Ring
from lintel.edge.store.verify import verify

from .helpers import KEY, card, digest, event, opened

_NAMESPACES = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def _inside(body: str, size: str) -> str:
    """Run code in a private mount namespace with a small disk at $D; returns what it printed."""
    code = "import asyncio, os, subprocess, sys, time\nfrom pathlib import Path\n" + textwrap.dedent(
        """
        from lintel.edge.errors import StoreError
        from lintel.edge.model import Stream
        from lintel.edge.store import CountedUse
        from lintel.edge.store.verify import verify
        from tests.edge.store.helpers import card, digest, event, opened
        D = Path(sys.argv[1])
        """
    ) + textwrap.dedent(body)  # fmt: skip
    script = f'mkdir -p "$1" && mount -t tmpfs -o size={size} tmpfs "$1" && exec {sys.executable} -c "$2" "$1"'
    mount = Path(os.environ.get("TMPDIR", "/tmp")) / f"lintel-small-{os.getpid()}"
    mount.mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(mount), code], capture_output=True, text=True, check=False
    )
    mount.rmdir()
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


_FULL = """
async def main():
    said = []
    store = opened(D, said)
    if sys.argv[0] == "-c" and os.environ.get("NO_RING"):
        store.ring.close()
    await store.allowlist.apply_import([card(1, use_limit=9)], at=1.0, replace=False)
    await store.journal.append(event(0), now=True)
    with open(D / "filler", "wb") as f:
        try:
            while True:
                f.write(bytes(65536)); f.flush()
        except OSError:
            pass
    failed = acked = 0
    for i in range(1, 400):
        try:
            await store.journal.append(event(i), now=True)
            acked += 1
        except StoreError:
            failed += 1
        assert store.allowlist.find(digest(1)) is not None
    fault = store.writer.fault
    try:
        await store.allowlist.consume(CountedUse(digest(1)), event(900), event(901))
        use = "taken"
    except StoreError as e:
        use = e.word
    (D / "filler").unlink()
    freed = time.monotonic()
    while store.writer.fault and time.monotonic() - freed < 6:
        await asyncio.sleep(0.1)
    took = time.monotonic() - freed
    won = await store.allowlist.consume(CountedUse(digest(1)), event(902), event(903))
    people = [r.event.person for r in store.journal.export(Stream.ACCESS)]
    ok = verify(store.database).ok
    await store.close()
    whole = people == [f"per_{i}" for i in range(400)] + ["per_902"]
    print(fault, use, took < 5, won, failed, acked, ok, whole, said[0][0], said[-1])
asyncio.run(main())
"""


@pytest.mark.skipif(not _NAMESPACES, reason="user namespaces are not allowed here")
def test_disk_full_goes_to_the_ring_and_comes_back_in_order() -> None:
    out = _inside(_FULL, "20m").split(" ", 9)
    assert out[:2] == ["disk_full", "disk_full"], "a use is never kept in the ring"
    assert out[2:4] == ["True", "True"], "recovered within 5 s, and uses work again"
    assert out[4] == "0", "every event was durable, so every future succeeded"
    assert out[6:8] == ["True", "True"], "all of them once, in order, and the chain holds"
    assert out[8] == "disk_full"
    assert "over" in out[9]


@pytest.mark.skipif(not _NAMESPACES, reason="user namespaces are not allowed here")
def test_control_without_a_ring_nothing_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_RING", "1")
    out = _inside(_FULL, "20m").split(" ", 9)
    assert int(out[4]) > 100, "without the ring the futures must fail"


@pytest.mark.skipif(not _NAMESPACES, reason="user namespaces are not allowed here")
@pytest.mark.parametrize("when", ["running", "start", "start with a log"])
def test_read_only(when: str) -> None:
    out = _inside(
        f"""
        def remount(how):
            subprocess.run(["mount", "-o", "remount," + how, str(D)], check=True)

        async def prepare():
            store = opened(D)
            await store.allowlist.apply_import([card(1, use_limit=9)], at=1.0, replace=False)
            await store.journal.append(event(1), now=True)
            return store

        async def killed():
            await prepare()
            os._exit(0)

        if {when!r} == "start with a log":
            if os.fork() == 0:
                asyncio.run(killed())
            os.wait()
            assert (D / "lintel.db-wal").stat().st_size > 0
            (D / "lintel.db-shm").unlink()
            event()  # the child used the first id

        async def main():
            store = await prepare() if {when!r} != "start with a log" else None
            if {when!r} != "running":
                if store:
                    await store.close()
                remount("ro")
                store = opened(D)
            else:
                subprocess.run(["mount", "-o", "remount,ro", str(D)], check=False)
            ro = bool(os.statvfs(D).f_flag & os.ST_RDONLY)
            found = store.allowlist.find(digest(1)) is not None
            words = []
            for act in (lambda: store.journal.append(event(2), now=True),
                        lambda: store.allowlist.consume(CountedUse(digest(1)), event(3), event(4))):
                try:
                    await act()
                    words.append("done")
                except StoreError as e:
                    words.append(e.word)
            remount("rw")
            begun = time.monotonic()
            while store.writer.fault and time.monotonic() - begun < 6:
                await asyncio.sleep(0.1)
            won = await store.allowlist.consume(CountedUse(digest(1)), event(5), event(6))
            found = found and store.allowlist.find(digest(1)).uses == (1 if ro else 2)
            people = [r.event.person for r in store.journal.export(Stream.ACCESS)]
            ok = verify(store.database).ok
            await store.close()
            print(ro, *words, found, won, ok, ",".join(people))
        asyncio.run(main())
        """,
        "24m",
    ).split()
    if when == "running" and out[0] == "False":
        pytest.skip("this kernel does not remount a file system read-only while files are open for writing")
    assert out[1:3] == ["storage_read_only", "storage_read_only"], "no false acknowledgement"
    assert out[3:6] == ["True", "True", "True"]
    assert out[6] == "per_1,per_2,per_5", "the event was kept in memory and came in later"


def _ring(path: Path, bodies: list[bytes], drained: int = 0, slots: int = 16) -> Ring:
    return Ring(path, bytes(32), lambda _, got: bodies.extend(got), drained=drained, size=slots * SLOT)


def test_a_torn_record_ends_the_replay(tmp_path: Path) -> None:
    ring = _ring(tmp_path / "ring", [])
    assert ring.keep([b"one", b"two", b"three"], StoreError("disk_full", "")) is None
    ring.close()
    raw = bytearray((tmp_path / "ring").read_bytes())
    assert b"two" not in raw
    raw[SLOT + 40] ^= 1
    (tmp_path / "ring").write_bytes(raw)
    ring = _ring(tmp_path / "ring", [])
    assert ring.records() == [b"one"]
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


def _damage(path: Path) -> None:
    raw = bytearray((path / "lintel.db").read_bytes())
    raw[len(raw) // 2] ^= 1
    (path / "lintel.db").write_bytes(raw)


def test_damage_falls_back_to_the_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(i) for i in range(50)], at=7.0, replace=False)
        await store.tend()
        assert newest_snapshot(tmp_path) > 0
        await asyncio.gather(*(store.journal.append(event(i)) for i in range(30)))
        await store.close()
        _damage(tmp_path)
        store = opened(tmp_path)
        assert [str(n) for n, _ in store.notices[:2]] == ["db_damaged", "db_restored"]
        assert store.allowlist.find(digest(3)) is not None
        site = store.allowlist.site()
        assert (site.fault, site.synced_at) == (False, 7.0)
        assert await store.journal.append(event(), now=True) == 1
        assert store.journal.heads()["access"]["epoch"] == 2, "numbers of the lost journal are not used again"
        assert len(list((tmp_path / "damaged").glob("0*.db"))) == 1
        assert not verify(store.database).ok, "lost events are not hidden"
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("loss", ["damaged", "deleted"])
def test_without_a_snapshot_nothing_is_decided(tmp_path: Path, loss: str) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        await store.close()
        _damage(tmp_path) if loss == "damaged" else (tmp_path / "lintel.db").unlink()
        for _ in range(2):  # also after another restart
            store = opened(tmp_path)
            site = store.allowlist.site()
            assert (site.fault, site.synced_at) == (True, None)
            await store.close()
        store = opened(tmp_path)
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=1, synced_at=8.0)
        assert store.allowlist.site().fault, "a part of the list is not the list"
        await store.allowlist.apply_checkpoint([card(1)], epoch=1, seq=2, synced_at=9.0, full=True)
        assert not store.allowlist.site().fault
        await store.close()

    asyncio.run(main())


def test_a_wrong_key_never_puts_a_good_database_aside(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)
        await store.close()
        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path, bytes(32))
        assert caught.value.word == "key_invalid"
        store = opened(tmp_path)
        assert store.allowlist.find(digest(1)) is not None
        await store.close()

    asyncio.run(main())


def test_old_copies_are_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(5):
            store = opened(tmp_path)
            snapshot(store.database)
            await store.close()
            _damage(tmp_path)
        assert len(list((tmp_path / "snapshots").iterdir())) == 2
        assert len(list((tmp_path / "damaged").glob("0*.db"))) == 3

    asyncio.run(main())


def test_a_use_is_not_acknowledged_when_the_commit_fails(tmp_path: Path) -> None:
    """The connection fails at COMMIT once: the use is refused, the event is kept, and the next commit works."""

    class Failing:
        def __init__(self, conn) -> None:
            self._conn = conn

        def __getattr__(self, name: str):
            return getattr(self._conn, name)

        def execute(self, sql: str, *values):
            if sql == "COMMIT":
                raise OSError(5, "Input/output error")
            return self._conn.execute(sql, *values)

    async def main() -> None:
        said: list = []
        store = opened(tmp_path, said)
        await store.allowlist.apply_import([card(1, use_limit=1)], at=7.0, replace=False)
        await asyncio.sleep(0)
        store.writer._conn = Failing(store.writer._conn)  # type: ignore[assignment]
        kept = store.journal.append(event(1))
        with pytest.raises(StoreError) as caught:
            await store.allowlist.consume(CountedUse(digest(1)), event(2), event(3))
        assert caught.value.word == "commit_failed"
        assert await kept == 0, "0: it is in the ring"
        while store.writer.fault:
            await asyncio.sleep(0.05)
        assert await store.allowlist.consume(CountedUse(digest(1)), event(4), event(5))
        assert [r.event.person for r in store.journal.export(Stream.ACCESS)] == ["per_1", "per_4"]
        assert [n for n, _ in said] == ["commit_failed", "commit_failed"]
        assert said[-1][1] == "over"
        await store.close()

    asyncio.run(main())
    assert derive(KEY, "ring") != KEY
