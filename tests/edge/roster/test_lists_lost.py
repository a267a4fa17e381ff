"""A database that is damaged while somebody is still to be deleted: the snapshot that takes its place knows of it."""

import asyncio

import pytest

from lintel.edge.model import Notice
from lintel.edge.store import Del, Type, recovery
from lintel.edge.store.recovery import snapshot
from tests.edge.rig import T0
from tests.edge.roster.desk import Desk, Terminal, Time, run

A, B = "p-0001", "p-0002"


async def lost(path, *, lists, why, off=True):
    """Two are on a terminal; A is deleted, which a snapshot has, while it is off line; the database is lost.

    Returns the terminal, and how the list stands by the snapshot and after a whole list without A.
    """
    async with Desk(path, Terminal(Time(), lists=lists)) as desk:
        await desk.apply(desk.face(A, id="crd"), desk.face(B))
        await desk.run(20)
        assert set(desk.terminal.on) == {A, B}
        desk.terminal.there = not off
        await desk.apply(Del(Type.CREDENTIAL, "crd", 2, why))
        await desk.run(120 if off else 0)
        await asyncio.to_thread(snapshot, desk.store.database)
    damage(path)
    async with Desk(path, desk.terminal) as again:
        again.seq = desk.seq
        again.terminal.there, again.terminal.turn = True, again.terminal.turn + 1
        await again.run(120)
        assert again.store.allowlist.site().restored
        by_snapshot = set(again.terminal.on), list(again.keeper.standing.foreign)
        await again.store.allowlist.apply_import([again.face(B, rev=None)], at=T0, replace=True, recovered=True)
        await again.run(120)
        return by_snapshot, set(again.terminal.on), again.keeper.standing, again.told(Notice.ERASE_DONE)


def damage(path):
    for file in path.glob("lintel.db*"):
        file.write_bytes(b"x" * 8192)


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("why", ["erased", "deleted"])
def test_f5_who_was_to_be_deleted_before_the_database_was_lost_is_deleted_after_it(tmp_path, lists, why):
    async def body():
        (there, foreign), after, standing, done = await lost(tmp_path, lists=lists, why=why)
        assert there == ({B} if why == "erased" else {A, B}), "an older list deletes only what no newer one takes back"
        assert foreign == []
        assert after == {B}
        assert (standing.foreign, standing.counts.deleting, standing.counts.stored) == ([], 0, 1)
        assert sum(f.count for f in done) == 1

    run(body)


def test_f5_control_a_snapshot_without_the_lists_leaves_somebody_on_a_terminal_that_nobody_can_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(recovery, "CARRY", "SELECT 1")

    async def body():
        _, after, standing, _ = await lost(tmp_path, lists=False, why="erased")
        assert after == {A, B}
        assert standing.counts.deleting == 0, "and nobody knows"

    run(body)


def test_f5_by_a_snapshot_nobody_is_stored_whom_the_terminal_has_lost_meanwhile(tmp_path):
    """Who was deleted after it, on a terminal that nobody can read, is sent again when a whole list says so."""

    async def body():
        async with Desk(tmp_path, Terminal(Time(), lists=False)) as desk:
            await desk.apply(desk.face(A), desk.face(B))
            await desk.run(20)
            await asyncio.to_thread(snapshot, desk.store.database)
            kept = {file: file.read_bytes() for file in (tmp_path / "snapshots").iterdir()}
            await desk.apply(desk.face(A, groups=()))
            await desk.run(20)
            assert set(desk.terminal.on) == {B}
        for file in (tmp_path / "snapshots").iterdir():
            file.unlink()
        for file, content in kept.items():
            file.write_bytes(content)
        damage(tmp_path)
        async with Desk(tmp_path, desk.terminal) as again:
            await again.run(20)
            puts = [again.face(p, rev=None) for p in (A, B)]
            await again.store.allowlist.apply_import(puts, at=T0, replace=True, recovered=True)
            await again.run(20)
            assert set(again.terminal.on) == {A, B}

    run(body)


def test_who_went_to_a_terminal_is_in_the_next_snapshot(tmp_path):
    async def body():
        async with Desk(tmp_path, Terminal(Time())) as desk:
            await desk.apply(desk.face(A))
            await desk.store.care.tend()
            first = sorted(tmp_path.glob("snapshots/0*.db"))
            await desk.run(20)
            await desk.store.care.tend()
            second = sorted(tmp_path.glob("snapshots/0*.db"))
            assert first != second, "nothing but a person on a terminal is new"
            await desk.run(20)
            await desk.store.care.tend()
            assert sorted(tmp_path.glob("snapshots/0*.db")) == second

    run(body)
