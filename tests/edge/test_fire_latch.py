"""The latch of fire outlives a restart, in a file of its own; what that file can not do stops no release."""

import json

import pytest

from lintel.edge import fire
from tests.edge.drivers.contract import until
from tests.edge.test_fire import on, scene


def test_the_latch_outlives_a_restart(tmp_path):
    async def before(rig):
        rig.gate.contact(on(door="gate"))
        assert await rig.gate.fire.saved(5)

    async def after(rig):
        assert rig.gate.fire.released("gate")
        assert not rig.gate.fire.released("back")
        assert rig.locks.orders == []
        rig.gate.fire.resume()
        await until(lambda: rig.locks.held("gate"))
        rig.gate.contact(on(False, door="gate"))
        assert rig.gate.fire.reset().doors == ("gate",)
        assert await rig.gate.fire.saved(5)

    async def at_last(rig):
        assert not rig.gate.fire.latched

    for body in (before, after, at_last):
        scene(body, tmp_path)


def test_after_a_restart_an_input_that_was_not_heard_is_no_quiet_one(tmp_path):
    async def before(rig):
        rig.gate.contact(on())
        assert await rig.gate.fire.saved(5)

    async def after(rig):
        assert rig.gate.fire.reset().unknown == {"gate": "panel", "back": "panel"}
        rig.gate.contact(on(False))
        assert rig.gate.fire.reset().doors == ("gate", "back")

    scene(before, tmp_path)
    scene(after, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"[]", b'{"doors": 3}', b"{}"])
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


def test_a_latch_that_can_not_be_written_is_in_force_and_is_written_when_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(fire, "SAVE_S", 0.05)
    full = [True]
    write = fire.atomic_write

    def failing(path, data):
        if full[0]:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(fire, "atomic_write", failing)

    async def body(rig):
        rig.gate.contact(on())
        await until(lambda: rig.locks.held("gate", "back"))
        assert not await rig.gate.fire.saved(0.1)
        full[0] = False
        assert await rig.gate.fire.saved(5)
        assert set(json.loads((tmp_path / fire.FILE).read_bytes())["doors"]) == {"gate", "back"}

    scene(body, tmp_path)
