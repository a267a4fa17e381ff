"""A start on a disk that is full, and how look-ups change over when it can be written again."""

import asyncio
from pathlib import Path

import pytest

from lintel.edge.store import Store, connection, database

from .helpers import card, digest, opened, run
from .small_disk import NAMESPACES, READ_ONLY, inside


@pytest.mark.skipif(not NAMESPACES, reason="user namespaces are not allowed here")
@pytest.mark.parametrize("log", [False, True])
def test_a_start_on_a_full_disk(log: bool) -> None:
    """After a power cut on a full disk the log can not be replayed: residents were locked out by every new start."""
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
    with open(D / "filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass
    before = set(Path("/dev/shm").glob("lintel-*"))
    store = opened(D)
    assert set(Path("/dev/shm").glob("lintel-*")) == before, "a copy that no kill can leave behind"
    words = await attempt(store)
    locked = store.allowlist.set_lockdown({{"north"}}, True)
    words += [store.allowlist.site().lockdown == {{"north"}}, await locked, store.writer.fault]
    (D / "filler").unlink()
    print(*words, *await recovered(store))
asyncio.run(main())
""",
        "20m",
    ).split()
    assert out[1] == "True", "residents are known"
    assert out[2:4] == ["done", "disk_full"], "the event is in the ring, the use is not taken"
    assert out[4:7] == ["True", "False", "disk_full"], "a lockdown holds, and is not durable yet"
    assert out[7:10] == ["True", "1", "True"], "uses work again, one was taken, and the chain holds"
    assert out[10] == "per_1,per_2,per_5", "what the log held, and what the ring kept"


def test_a_reader_that_can_not_be_replaced_yet_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk can be written again, but the first attempt to open it fails: look-ups go on, and it is tried again."""

    async def before(store: Store) -> None:
        await store.allowlist.apply_import([card(1)], at=7.0, replace=False)

    run(tmp_path, before)
    real, failures = database._reader, [2]

    def failing(path: Path, key: bytes, mode: str):
        if mode == "mode=ro" and failures[0]:
            failures[0] -= 1
            raise connection.sqlite.OperationalError("unable to open database file")
        return real(path, key, mode)

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(database, "_can_write", lambda _: False)
            store = opened(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(database, "_reader", failing)
            while failures[0]:
                reader = store.database.reader
                assert not store.database.try_writable()
                assert store.database.reader is reader
                assert store.allowlist.find(digest(1)) is not None
            async with asyncio.timeout(30):
                while store.writer.fault:
                    await asyncio.sleep(0.02)
        await store.allowlist.apply_import([card(2)], at=8.0, replace=False)
        assert store.allowlist.find(digest(2)) is not None
        await store.close()

    asyncio.run(main())
