import asyncio
import shutil
from pathlib import Path

import pytest

from lintel.edge.model import Stream
from lintel.edge.store import Store, chain, database, derive
from lintel.edge.store.database import open_reader
from lintel.edge.store.records import RECORDS_PER_DEVICE
from lintel.edge.store.verify import Report, verify

from .helpers import KEY, event, run

ACCESS = chain.NUMBERS[Stream.ACCESS] << 56


async def fill(store: Store, n: int, start: int = 0) -> None:
    await asyncio.gather(*(store.journal.append(event(start + i, record=f"r{start + i}")) for i in range(n)))


def checked(path: Path) -> Report:
    reader = open_reader(path / "lintel.db", derive(KEY, "database"))
    try:
        return verify(reader)
    finally:
        reader.close()


def test_a_body_comes_back(tmp_path: Path) -> None:
    e = event(5, record="r1")
    body = chain.encode(e)
    assert chain.decode(body) == e
    assert chain.unpack(chain.pack(body)) == body
    assert len(chain.pack(body)) < len(body) * 0.6
    for bad in (b"", b"\x02abc", b"\x01\xff\xff", chain.pack(body)[:-3], chain.pack(body) + b"x"):
        with pytest.raises(ValueError, match=r"packing|body"):
            chain.unpack(bad)


def test_streams_have_their_own_numbers_and_survive_a_restart(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        await fill(store, 50)
        assert await store.journal.append(event(stream=Stream.ALARM), now=True) == 1
        assert store.journal.heads()["access"]["seq"] == 50
        assert store.journal.newest_ts() == 1_790_000_000_049

    async def second(store: Store) -> None:
        assert store.journal.newest_ts() == 1_790_000_000_049
        assert await store.journal.append(event(), now=True) == 51
        rows = list(store.journal.export(Stream.ACCESS, (1, 40)))
        assert [r.seq for r in rows] == list(range(41, 52))

    run(tmp_path, first)
    run(tmp_path, second)
    report = checked(tmp_path)
    assert report.ok, report
    assert report.rows == 52


def test_a_device_record_is_stored_once(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        assert not store.journal.seen("qr-1", "a")
        together = [store.journal.append(event(record="a")) for _ in range(3)]
        assert await asyncio.gather(*together) == [1, 1, 1]
        assert store.journal.seen("qr-1", "a")
        assert not store.journal.seen("qr-2", "a")
        assert await store.journal.append(event(device="qr-2", record="a")) == 2

    async def second(store: Store) -> None:
        assert store.journal.seen("qr-1", "a")
        assert await store.journal.append(event(record="a")) == 1
        assert store.journal.heads()["access"]["seq"] == 2

    run(tmp_path, first)
    run(tmp_path, second)


def test_records_are_bounded_per_device_and_reread(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        await store.journal.append(event(device="quiet", record="only"))
        for start in range(0, 3200, 400):
            await fill(store, 400, start)
        await asyncio.sleep(0.6)

    async def second(store: Store) -> None:
        assert store.journal.seen("quiet", "only"), "a busy device does not push a quiet one out"
        assert all(store.journal.seen("qr-1", f"r{n}") for n in range(3200 - 1000, 3200))
        assert await store.journal.append(event(record="r2200"), now=True) == 2202, "a thousand records later"
        assert await store.journal.append(event(record="r0"), now=True) == 3202, "the memory is bounded"
        stored = store.database.reader.execute("SELECT count(*) FROM device_record").fetchone()[0]
        assert 1000 <= stored < 2000

    run(tmp_path, first)
    run(tmp_path, second)


# tamper: six ways, each on a copy, with the right key


def _tamper(path: Path, *statements: tuple) -> Report:
    conn = database.Database(path / "lintel.db", derive(KEY, "database"))
    writer = conn.connect()
    for sql, *values in statements:
        writer.execute(sql, values)
    conn.close()
    writer.close()
    return checked(path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal")

    async def body(store: Store) -> None:
        await fill(store, 60)

    run(path, body)
    return path


def _forged() -> bytes:
    return chain.pack(chain.encode(event(999, reason="forged")))


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([("UPDATE journal SET body = ? WHERE place = ?", _forged(), ACCESS | 1 << 40 | 30)], id="edit"),
        pytest.param([("DELETE FROM journal WHERE place = ?", ACCESS | 1 << 40 | 30)], id="delete"),
        pytest.param(
            [("INSERT INTO journal VALUES (?, ?, ?)", ACCESS | 1 << 40 | 61, _forged(), bytes(32))], id="insert"
        ),
        pytest.param(
            [
                ("UPDATE journal SET place = 1 WHERE place = ?", ACCESS | 1 << 40 | 30),
                ("UPDATE journal SET place = ? WHERE place = ?", ACCESS | 1 << 40 | 30, ACCESS | 1 << 40 | 31),
                ("UPDATE journal SET place = ? WHERE place = 1", ACCESS | 1 << 40 | 31),
            ],
            id="reorder",
        ),
        pytest.param([("DELETE FROM journal WHERE place > ?", ACCESS | 1 << 40 | 50)], id="cut-tail"),
        pytest.param(
            [
                ("DELETE FROM journal WHERE place < ?", ACCESS | 1 << 40 | 10),
                ("UPDATE stream SET floor = ? WHERE stream = 5", ACCESS | 1 << 40 | 9),
            ],
            id="cut-front",
        ),
    ],
)
def test_tampering_is_found(filled: Path, tmp_path: Path, statements: list) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(filled, copy)
    assert checked(copy).ok, "the control: nothing is found where nothing was done"
    report = _tamper(copy, *statements)
    assert not report.ok
    assert report.breaks[0].stream == "access"


def test_roll_back_is_found_and_the_control_misses_it(tmp_path: Path) -> None:
    run(tmp_path, lambda store: fill(store, 20))
    yesterday = (tmp_path / "lintel.db").read_bytes()
    anchors = (tmp_path / "anchors").read_bytes()
    run(tmp_path, lambda store: fill(store, 20, 20))
    (tmp_path / "lintel.db").write_bytes(yesterday)
    assert not checked(tmp_path).ok
    kept = (tmp_path / "anchors").read_bytes()
    (tmp_path / "anchors").write_bytes(anchors)
    assert checked(tmp_path).ok, "without a head from outside a roll-back can not be seen"
    (tmp_path / "anchors").write_bytes(kept)

    async def after(store: Store) -> None:  # the gateway notices, and never uses a number twice
        assert any(str(n) == "audit_broken" for n, _ in store.notices)
        await fill(store, 5, 100)
        assert store.journal.heads()["access"]["epoch"] == 2

    run(tmp_path, after)
    report = checked(tmp_path)
    assert [(b.epoch, b.seq) for b in report.breaks] == [(1, 21)], "the evidence stays"


def test_forged_or_missing_anchors_are_found(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(filled, copy)
    text = (copy / "anchors").read_text()
    (copy / "anchors").write_text(text.replace("60", "50", 1))
    assert "without the key" in checked(copy).breaks[0].what
    (copy / "anchors").unlink()
    assert "missing" in checked(copy).breaks[0].what


def test_anchors_follow_within_a_thousand_events(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await fill(store, 1100)
        heads = chain.read_anchors(tmp_path, derive(store.database.key, "anchor"))[Stream.ACCESS]
        assert heads[-1].seq >= 1024

    run(tmp_path, body)


def test_records_that_a_crash_left_are_trimmed_at_the_next_start(tmp_path: Path) -> None:
    """The power goes before the evictions are written down: the table does not grow with every crash."""

    def stored(store: Store) -> int:
        return int(store.database.reader.execute("SELECT count(*) FROM device_record").fetchone()[0])

    async def crash(store: Store) -> None:
        await store.journal.append(event(), now=True)

        def grown(conn) -> None:
            conn.executemany(
                "INSERT INTO device_record VALUES (?, 7, ?, ?)", [(n, n, ACCESS | 1 << 40 | 1) for n in range(1, 5001)]
            )

        await store.writer.submit(grown, now=True)

    async def after(store: Store) -> None:
        await fill(store, RECORDS_PER_DEVICE)
        await store.writer.submit(store.journal._flush_records, now=True)
        assert stored(store) == 2 * RECORDS_PER_DEVICE, "the newest of either device"
        assert store.journal._records.seen((7, 5000))

    run(tmp_path, crash)
    run(tmp_path, after)
