"""Look-ups stand still while the journal commits: they keep their pages, see every change, let the log be emptied."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from lintel.edge.model import Method
from lintel.edge.store import CountedUse, Del, Type
from lintel.edge.store import connection as connections
from lintel.edge.store.still import Still

from .helpers import card, digest, event, run


def read_so_far():
    """Bytes that this process has read by system calls."""
    return int(Path("/proc/self/io").read_text("ascii").split("rchar: ")[1].split()[0])


async def commit(store, n=1):
    await asyncio.gather(*(store.journal.append(event(i), now=i == n - 1) for i in range(n)))


async def cost(store, people):
    """Bytes read for one look-up of each, beyond what asking costs."""
    idle = read_so_far()
    idle = read_so_far() - idle
    before = read_so_far()
    for person in people:
        assert store.allowlist.find(digest(person)) is not None
    return read_so_far() - before - idle


@pytest.mark.parametrize("held", [True, False])
def test_a_commit_of_the_journal_costs_the_next_look_up_no_page(tmp_path, held):
    """Control: without the open transaction the pages are read again."""

    async def body(store):
        people = range(2000)
        await store.allowlist.apply_checkpoint([card(p) for p in people], epoch=1, seq=1, synced_at=0.0)
        await cost(store, people)  # into the cache
        await commit(store)
        if not held:
            store.database.still.rest()
        read = await cost(store, people)
        assert (read == 0) is held, read

    run(tmp_path, body)


def test_what_changes_is_seen_at_the_next_look_up(tmp_path):
    async def body(store):
        put = card("a", use_limit=5)
        await store.allowlist.apply_checkpoint([put], epoch=1, seq=1, synced_at=0.0)
        for n in range(4):
            assert store.allowlist.find(digest("a")).uses == n
            await commit(store)
            assert await store.allowlist.consume(CountedUse(digest("a")), event(), event(reason="already_used"))
        assert store.allowlist.find(digest("b")) is None
        await store.allowlist.apply_checkpoint([card("b")], epoch=1, seq=2, synced_at=0.0)
        assert store.allowlist.find(digest("b")).method is Method.CARD
        await store.allowlist.apply_checkpoint([Del(Type.CREDENTIAL, digest("b").hex())], epoch=1, seq=3, synced_at=0.0)
        assert store.allowlist.find(digest("b")) is None

    run(tmp_path, body)


@contextlib.contextmanager
def never_paused(_self, _loop):
    yield


@pytest.mark.parametrize("paused", [True, False])
def test_the_log_begins_anew_though_somebody_looks_up_all_the_time(tmp_path, monkeypatch, paused):
    """Control: a reader that does not let go keeps the log growing."""
    monkeypatch.setattr(connections, "CHECKPOINT_PAGES", 40)
    if not paused:
        monkeypatch.setattr(Still, "paused", never_paused)

    async def body(store):
        await store.allowlist.apply_checkpoint([card("a")], epoch=1, seq=1, synced_at=0.0)
        longest = 0
        for _ in range(120):
            assert store.allowlist.find(digest("a")) is not None
            await commit(store, 8)
            log = store.database.reader.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()[1]
            longest = max(longest, log)
        assert (longest < 3 * 40) is paused, longest

    run(tmp_path, body)
