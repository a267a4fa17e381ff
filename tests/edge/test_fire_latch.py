"""The latch of fire outlives a restart, in a file of its own; what that file can not do stops no release."""

import asyncio
import json
import threading

import pytest

from lintel.edge import fire, latch
from lintel.edge.model import Action, Door
from tests.edge.drivers.contract import until
from tests.edge.test_fire import on, scene

LIMIT = 20.0
"""Seconds that a busy disk may take: paid only for what does not happen."""


def test_the_latch_outlives_a_restart(tmp_path):
    async def before(rig):
        rig.gate.contact(on(door="gate"))
        assert await rig.gate.fire.saved(LIMIT)

    async def after(rig):
        assert rig.gate.fire.released("gate")
        assert not rig.gate.fire.released("back")
        assert rig.locks.orders == []
        rig.gate.fire.resume()
        await until(lambda: rig.locks.held("gate"))
        rig.gate.contact(on(False, door="gate"))
        assert rig.gate.fire.reset().doors == ("gate",)
        assert await rig.gate.fire.saved(LIMIT)

    async def at_last(rig):
        assert not rig.gate.fire.latched

    for body in (before, after, at_last):
        scene(body, tmp_path)


def test_after_a_restart_an_input_that_was_not_heard_is_no_quiet_one(tmp_path):
    async def before(rig):
        rig.gate.contact(on())
        assert await rig.gate.fire.saved(LIMIT)

    async def after(rig):
        assert rig.gate.fire.reset().unknown == {"gate": "panel", "back": "panel"}
        rig.gate.contact(on(False))
        assert rig.gate.fire.reset().doors == ("gate", "back")

    scene(before, tmp_path)
    scene(after, tmp_path)


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 40, b"[]", b'{"doors": 3}', b"{}", b'{"doors": "none"}', b'{"doors": []}', b"[" * 100_000,
    b'{"doors": {}, "held": [7]}',
])  # fmt: skip
def test_a_latch_that_can_not_be_read_releases_every_door(tmp_path, content):
    (tmp_path / fire.FILE).write_bytes(content)

    async def body(rig):
        assert set(rig.gate.fire.latched) == {"gate", "back"}
        assert rig.gate.fire.reset().doors == ("gate", "back")

    scene(body, tmp_path)


def test_doors_that_are_gone_from_the_configuration_are_gone_from_the_latch(tmp_path):
    (tmp_path / fire.FILE).write_text(json.dumps({"doors": {"gate": "panel", "torn-down": "panel"}}))

    async def body(rig):
        assert rig.gate.fire.latched == {"gate": "panel"}

    scene(body, tmp_path)


def test_a_latch_that_could_not_be_read_is_written_as_it_is_in_force(tmp_path):
    """Else the next start, which can read it, would lock doors that no operator has reset."""
    (tmp_path / fire.FILE).write_bytes(b"\x00" * 40)

    async def body(rig):
        rig.gate.fire.resume()
        assert await rig.gate.fire.saved(LIMIT)

    async def after(rig):
        assert set(rig.gate.fire.latched) == {"gate", "back"}

    scene(body, tmp_path)
    scene(after, tmp_path)


def doors(**locks):
    return {d: Door(d, d, frozenset({"public"}), lock) for d, lock in locks.items()}


def test_a_lock_that_was_given_to_another_door_is_told_to_release(tmp_path):
    """The locks of two doors were changed in the file while one was released: that door is held, the other is not."""

    async def before(rig):
        rig.gate.contact(on(door="gate"))
        await until(lambda: rig.locks.held("gate"))
        assert await rig.gate.fire.saved(LIMIT)

    async def after(rig):
        rig.gate.fire.resume()
        await until(lambda: rig.locks.held("gate"))
        await until(lambda: rig.locks.count("back", Action.RELEASE) == 1)
        assert {(o.device, o.action) for o in rig.locks.orders} == {("two", Action.HOLD), ("one", Action.RELEASE)}
        await until(lambda: written(tmp_path)["held"] == [["two", 0]], LIMIT)

    scene(before, tmp_path, doors=doors(gate="one", back="two"))
    scene(after, tmp_path, doors=doors(gate="two", back="one"))


def written(folder):
    return json.loads((folder / fire.FILE).read_bytes())


def test_a_release_that_the_lock_has_not_had_outlives_a_restart(tmp_path):
    async def before(rig):
        rig.gate.contact(on(door="gate"))
        await until(lambda: rig.locks.held("gate"))
        rig.locks.away.add("gate-lock")
        rig.gate.contact(on(False, door="gate"))
        assert rig.gate.fire.reset().doors == ("gate",)
        assert await rig.gate.fire.saved(LIMIT)

    async def after(rig):
        assert not rig.gate.fire.released("gate")
        rig.gate.fire.resume()
        await until(lambda: rig.locks.count("gate", Action.RELEASE) == 1, LIMIT)
        await until(lambda: written(tmp_path) | {"at": 0} == {"at": 0, "doors": {}, "held": []}, LIMIT)

    async def at_last(rig):
        rig.gate.fire.resume()
        await asyncio.sleep(0.1)
        assert rig.locks.orders == []

    for body in (before, after, at_last):
        scene(body, tmp_path)


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), MemoryError(), RuntimeError("no thread")])
def test_a_latch_that_can_not_be_written_is_told_once(tmp_path, monkeypatch, caplog, error):
    monkeypatch.setattr(latch, "SAVE_S", 0.01)
    tries = []

    def failing(path, data):
        tries.append(data)
        raise error

    monkeypatch.setattr(latch, "atomic_write", failing)

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: len(tries) > 5, LIMIT)

    scene(body, tmp_path)
    assert sum("can not be written down" in line for line in caplog.messages) == 1


def test_a_reset_is_not_durable_while_the_disk_writes_the_latch_of_before(tmp_path, monkeypatch):
    """The file said "none" before that, and will say "gate" after it: neither is what was asked for."""
    hung, begun, write = threading.Event(), [], latch.atomic_write

    def slow(path, data):
        begun.append(data)
        hung.wait(LIMIT)
        write(path, data)

    monkeypatch.setattr(latch, "atomic_write", slow)

    async def body(rig):
        rig.gate.contact(on(door="gate"))
        await until(lambda: begun)
        rig.gate.contact(on(False, door="gate"))
        assert rig.gate.fire.reset().doors == ("gate",)
        try:
            assert not await rig.gate.fire.saved(0.1)
        finally:
            hung.set()
        assert await rig.gate.fire.saved(LIMIT)
        assert written(tmp_path)["doors"] == {}

    scene(body, tmp_path)


def test_a_latch_that_can_not_be_written_is_in_force_and_is_written_when_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(latch, "SAVE_S", 0.05)
    full = [True]
    write = latch.atomic_write

    def failing(path, data):
        if full[0]:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(latch, "atomic_write", failing)

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        assert not await rig.gate.fire.saved(0.1)
        full[0] = False
        assert await rig.gate.fire.saved(LIMIT)
        assert set(json.loads((tmp_path / fire.FILE).read_bytes())["doors"]) == {"gate", "back"}

    scene(body, tmp_path)
