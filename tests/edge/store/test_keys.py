"""The keys agreed with devices: durable when told so, sealed, and gone when forgotten."""

import asyncio
import contextlib

import pytest

from lintel.edge.errors import StoreError
from lintel.edge.store import Store, state_key

SECRET = b"CANARY-KEY-1234567890abcdef-OSDP"


def run(body, tmp_path):
    async def main():
        store = Store.open(tmp_path, state_key(tmp_path))
        try:
            return await body(store)
        finally:
            await store.close()

    return asyncio.run(main())


def test_a_key_is_there_after_a_restart_and_stands_in_no_file(tmp_path):
    async def put(store):
        await store.keys.put("gate-reader", {"key": SECRET, "next": b"other"})
        assert store.keys.get("gate-reader", "key") == SECRET
        assert SECRET.decode() not in repr(store.keys)

    async def look(store):
        assert store.keys.get("gate-reader", "key") == SECRET
        assert store.keys.get("gate-reader", "next") == b"other"
        assert store.keys.get("back-reader", "key") is None
        await store.keys.put("gate-reader", {"key": None, "next": b"new"})
        assert store.keys.get("gate-reader", "key") is None

    async def after(store):
        assert store.keys.get("gate-reader", "key") is None
        assert store.keys.get("gate-reader", "next") == b"new"

    for body in (put, look, after):
        run(body, tmp_path)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    assert not any(SECRET in p.read_bytes() for p in files)


def test_a_key_that_could_not_be_stored_is_not_known(tmp_path, monkeypatch):
    async def body(store):
        await store.keys.put("r", {"key": b"old"})

        def fails(work, **_):
            done = asyncio.get_running_loop().create_future()
            done.set_exception(StoreError("disk_full", "full"))
            return done

        monkeypatch.setattr(store.writer, "submit", fails)
        with pytest.raises(StoreError):
            await store.keys.put("r", {"key": b"new"})
        assert store.keys.get("r", "key") == b"old"
        monkeypatch.undo()

    run(body, tmp_path)
    run(lambda store: _is(store, b"old"), tmp_path)


async def _is(store, secret):
    assert store.keys.get("r", "key") == secret


def test_who_stops_waiting_does_not_stop_the_commit(tmp_path):
    async def body(store):
        task = asyncio.create_task(store.keys.put("r", {"key": b"new"}))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while store.keys.get("r", "key") is None:
                await asyncio.sleep(0.01)

    run(body, tmp_path)
    run(lambda store: _is(store, b"new"), tmp_path)


def test_a_list_that_was_lost_keeps_the_keys_of_the_snapshot(tmp_path):
    async def put(store):
        await store.keys.put("r", {"key": SECRET})

    async def look(store):
        assert store.keys.get("r", "key") == SECRET

    run(put, tmp_path)  # closing makes the snapshot that is due
    for left in tmp_path.glob("lintel.db*"):
        left.unlink()
    run(look, tmp_path)
