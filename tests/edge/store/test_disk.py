"""A disk that is full, read-only or failing: on real file systems where user namespaces are allowed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.model import Stream
from lintel.edge.store import CountedUse, derive

from .helpers import KEY, card, digest, event, opened
from .small_disk import NAMESPACES, READ_ONLY, inside

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
    at_once = store.allowlist.set_lockdown({"north"}, True)
    assert store.allowlist.site().lockdown == {"north"}
    assert not await at_once, "said: not durable yet"
    (D / "filler").unlink()
    freed = time.monotonic()
    while store.writer.fault and time.monotonic() - freed < 6:
        await asyncio.sleep(0.1)
    took = time.monotonic() - freed
    won = await store.allowlist.consume(CountedUse(digest(1)), event(902), event(903))
    people = [r.event.person for r in store.journal.export(Stream.ACCESS)]
    ok = verify(store.database).ok
    while store.allowlist.lockdown.waiting():
        await asyncio.sleep(0.1)
    assert store.database.reader.execute("SELECT door_group FROM lockdown").fetchall() == [("north",)]
    await store.close()
    whole = people == [f"per_{i}" for i in range(400)] + ["per_902"]
    print(fault, use, took < 5, won, failed, acked, ok, whole, said[0][0], said[-1])
asyncio.run(main())
"""


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
def test_disk_full_goes_to_the_ring_and_comes_back_in_order() -> None:
    out = inside(_FULL, "20m").split(" ", 9)
    assert out[:2] == ["disk_full", "disk_full"], "a use is never kept in the ring"
    assert out[2:4] == ["True", "True"], "recovered within 5 s, and uses work again"
    assert out[4] == "0", "every event was durable, so every future succeeded"
    assert out[6:8] == ["True", "True"], "all of them once, in order, and the chain holds"
    assert out[8] == "disk_full"
    assert "over" in out[9]


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
def test_control_without_a_ring_nothing_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_RING", "1")
    out = inside(_FULL, "20m").split(" ", 9)
    assert int(out[4]) > 100, "without the ring the futures must fail"


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
@pytest.mark.parametrize("log", [False, True])
def test_a_start_on_a_read_only_disk(log: bool) -> None:
    out = inside(
        f"""{READ_ONLY}
async def killed():
    await prepare()
    os._exit(0)

if {log}:
    if os.fork() == 0:
        asyncio.run(killed())
    os.wait()
    assert (D / "lintel.db-wal").stat().st_size > 0
    (D / "lintel.db-shm").unlink()
    event()  # the child used the first id

async def main():
    if not {log}:
        await (await prepare()).close()
    mount("-o", "remount,ro")
    store = opened(D)
    words = await attempt(store)
    mount("-o", "remount,rw")
    print(*words, *await recovered(store))
asyncio.run(main())
""",
        "24m",
    ).split()
    assert out[:2] == ["True", "True"], "residents are known"
    assert out[2:4] == ["storage_read_only", "storage_read_only"], "no false acknowledgement"
    assert out[4:7] == ["True", "1", "True"], "uses work again, one was taken, and the chain holds"
    assert out[7] == "per_1,per_2,per_5", "the event was kept in memory and came in later"


_WHILE_RUNNING = f"""{READ_ONLY}
async def main():
    store = await prepare()
    disk = ReadOnly(refuse=os.environ["REFUSE"] == "1")
    words = await attempt(store)
    disk.end()
    print(*words, *await recovered(store))
asyncio.run(main())
"""


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_disk_that_turns_read_only_while_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSE", "1")
    out = inside(_WHILE_RUNNING, "24m").split()
    assert out[:2] == ["True", "True"], "residents are known"
    assert out[2:4] == ["storage_read_only", "storage_read_only"], "no false acknowledgement"
    assert out[4:7] == ["True", "1", "True"], "uses work again, one was taken, and the chain holds"
    assert out[7] == "per_1,per_2,per_5", "the event was kept in memory and came in later"


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
def test_control_where_open_files_still_take_writes_nothing_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the test above: it is the refused writes that deny, and what was acknowledged here is stored."""
    monkeypatch.setenv("REFUSE", "0")
    out = inside(_WHILE_RUNNING, "24m").split()
    assert out == ["True", "True", "done", "done", "True", "2", "True", "per_1,per_2,per_3,per_5"]


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
