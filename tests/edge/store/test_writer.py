import asyncio
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.store import Store, open_database
from lintel.edge.store.files import derive
from lintel.edge.store.verify import verify

from .helpers import KEY, event, opened


def _commits(store: Store) -> list[int]:
    """Sizes of the groups as they are committed."""
    sizes: list[int] = []
    inner = store.writer._commit

    def counted(group: list) -> None:
        sizes.append(len(group))
        inner(group)

    store.writer._commit = counted  # type: ignore[method-assign]
    return sizes


def test_a_burst_is_grouped_by_32(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        sizes = _commits(store)
        seqs = await asyncio.gather(*(store.journal.append(event(i)) for i in range(200)))
        assert seqs == list(range(1, 201))
        assert max(sizes) == 32
        assert len(sizes) <= 10
        await store.close()

    asyncio.run(main())


def test_now_takes_along_what_is_pending(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        sizes = _commits(store)
        first = store.journal.append(event(1))
        begun = time.perf_counter()
        await store.journal.append(event(2), now=True)
        assert first.done()
        assert time.perf_counter() - begun < 10  # a lonely event alone would wait for the end of its window
        assert sizes == [2]
        await store.close()

    asyncio.run(main())


def test_windows(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        sizes = _commits(store)

        async def took(n: int) -> float:
            begun = time.perf_counter()
            await asyncio.gather(*(store.journal.append(event(i)) for i in range(n)))
            return time.perf_counter() - begun

        lone = min([await took(1) for _ in range(3)])
        flight = min([await took(20) for _ in range(3)])  # what a broker keeps in flight waits for no more
        assert lone > 0.4
        assert flight < lone / 2
        assert sizes == [1] * 3 + [20] * 3
        await store.close()

    asyncio.run(main())


def test_a_steady_stream_is_committed_in_whole_groups(tmp_path: Path) -> None:
    """200 events a second: 32 a commit, not as many as happen to be there. Flash wears by commits."""

    async def main() -> list[int]:
        store = opened(tmp_path)
        sizes = _commits(store)
        begun, written = time.monotonic(), []
        for n in range(400):
            await asyncio.sleep(begun + n / 200 - time.monotonic())
            written.append(store.journal.append(event(n)))
        await asyncio.gather(*written)
        await store.close()
        return sizes

    sizes = asyncio.run(main())
    assert sum(sizes) == 400
    assert sizes.count(32) >= 8, sizes  # of 12; a machine that stands still ends a group early


def test_idle_costs_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        await store.journal.append(event(), now=True)
        before = time.process_time()
        await asyncio.sleep(1.0)
        assert time.process_time() - before < 0.02
        await store.close()

    asyncio.run(main())


def test_one_bad_item_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)

        def wrong(conn) -> None:
            conn.execute("INSERT INTO lockdown VALUES ('half')")
            raise ValueError("no")

        results = await asyncio.gather(
            store.journal.append(event(1)), store.writer.submit(wrong), store.journal.append(event(2)),
            return_exceptions=True,
        )  # fmt: skip
        assert results[0] == 1
        assert isinstance(results[1], ValueError)
        assert results[2] == 2
        await store.close()
        store = opened(tmp_path)
        assert store.allowlist.site().lockdown == frozenset()
        assert verify(store.database).ok
        await store.close()

    asyncio.run(main())


def test_closed_store_refuses(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        last = store.journal.append(event())
        await store.close()
        assert last.result() == 1
        with pytest.raises(StoreError):
            await store.journal.append(event())

    asyncio.run(main())


_CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.edge.store.helpers import event, opened

async def main():
    store = opened(Path(sys.argv[1]))
    early = sys.argv[2] == "early"

    async def door(n):
        i = 0
        while True:
            i += 1
            e = event(i, device=f"d{n}", record=f"{os.getpid()}-{i}")
            stored = store.journal.append(e)
            if early:
                os.write(1, f"{e.device} {e.record}\\n".encode())
            await stored
            if not early:
                os.write(1, f"{e.device} {e.record}\\n".encode())

    await asyncio.gather(*(door(n) for n in range(40)))

asyncio.run(main())
"""


def _killed(state: Path, mode: str, after: int) -> list[tuple[str, str]]:
    """Run a child that journals and acknowledges on its standard output; kill it after some acknowledgements."""
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(_CHILD), str(state), mode], stdout=subprocess.PIPE)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(after)]
    child.kill()
    lines += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    return [tuple(line.decode().split()) for line in lines if line.endswith(b"\n")]  # type: ignore[misc]


def test_sigkill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[tuple[str, str]] = []
    for turn in range(5):
        acknowledged += _killed(tmp_path, "honest", 40 + 61 * turn)

    async def check() -> None:
        store = opened(tmp_path)
        missing = [a for a in acknowledged if not store.journal.seen(*a)]
        assert missing == []
        ids = [row.event.id + row.event.record for stream in ("access",) for row in store.journal.export(stream)]  # type: ignore[arg-type]
        assert len(set(ids)) == len(ids) >= len(acknowledged) > 200
        assert verify(store.database).ok
        await store.close()

    asyncio.run(check())


def test_control_acknowledging_early_loses(tmp_path: Path) -> None:
    lost = 0
    for turn in range(4):
        acknowledged = _killed(tmp_path, "early", 40 + 7 * turn)

        async def check(acknowledged: list = acknowledged) -> int:
            store = opened(tmp_path)
            missing = sum(not store.journal.seen(*a) for a in acknowledged)
            await store.close()
            return missing

        lost += asyncio.run(check())
    assert lost > 0


def test_a_database_opens_again_after_sigkill_with_its_log(tmp_path: Path) -> None:
    _killed(tmp_path, "honest", 100)
    assert (tmp_path / "lintel.db-wal").stat().st_size > 0
    open_database(tmp_path / "lintel.db", derive(KEY, "database")).close()
