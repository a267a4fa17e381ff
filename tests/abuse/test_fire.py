"""E14, G10: in whatever state the gateway is, a fire input releases all doors within a second, and they stay so.

Each mode spoils something and says how to see that it was spoilt: by what a resident is told at the door.
"""

import asyncio
import resource
import threading
import time

import pytest

from lintel.edge import daemon
from lintel.edge.fire import Fire
from lintel.edge.ids import new_id
from lintel.edge.model import Method, Reading, Stream
from tests.abuse.wired import DOORS, LIMIT, Wired
from tests.edge.drivers.contract import until


def damage(site):
    for path in site.state.glob("lintel.db*"):
        with path.open("r+b") as file:
            file.write(b"\xa5" * path.stat().st_size)


def vanish(site):
    for path in site.state.glob("lintel.db*"):
        path.unlink()


async def nothing(site):
    pass


async def database_damaged(site):
    damage(site)
    site.running.store.database.still.close()


async def database_gone(site):
    vanish(site)
    site.running.store.database.still.close()


async def disk_full(site):
    """No byte can be written to any file from here on: the kernel says so to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    site.undo = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    site.running.gate.ledger.audit("test", "done", "")
    await until(lambda: site.running.store.writer.fault, LIMIT)


async def disk_hangs(site):
    hung = threading.Event()
    site.undo = hung.set
    site.running.store.writer.submit(lambda _: hung.wait(LIMIT), now=True)
    await asyncio.sleep(0.05)


async def lockdown(site):
    site.running.store.allowlist.set_lockdown({"public"}, on=True)


async def loop_busy(site):
    """Every queue full of strangers, and somebody who takes the loop for 50 ms of every 60."""
    gate, digest = site.running.gate, site.running.digest(Method.QR, "nobody")

    async def hog():
        while True:
            for door in DOORS:
                while gate.offer(Reading(new_id(), door, "reader", Method.QR, digest, time.time())) is not None:
                    pass
            time.sleep(0.05)  # noqa: ASYNC251  that is the point
            await asyncio.sleep(0.01)

    site.undo = asyncio.create_task(hog()).cancel
    await until(lambda: site.running.health.total("decisions") > 500, LIMIT)


async def lock_lost(site):
    site.chips["far"].unplug()
    await until(lambda: [r.keeper.state for r in site.running.lines].count("up") == 2, LIMIT)


async def panel_flaps(site):
    for _ in range(1):
        site.chips["inputs"].unplug()
        await asyncio.sleep(0.6)
        site.chips["inputs"].plug()
        await until(lambda: all(r.keeper.state == "up" for r in site.running.lines), LIMIT)


# at the start


async def no_database_at_the_start(site):
    damage(site)
    (site.state / "damaged").write_text("where the damaged one can not be set aside")


async def no_key_at_the_start(site):
    (site.state / "state.key").unlink()


BEFORE, DURING = "before", "during"
LATCHED = 0.7
"""Longer than any pulse of these doors (s)."""
MODES = {
    # name: when it is spoilt, how, what a resident is told, options
    "database damaged": (DURING, database_damaged, "storage_fault", {}),
    "database gone": (DURING, database_gone, "storage_fault", {}),
    "no list": (DURING, nothing, "unknown_credential", {"people": ()}),
    "disk full, and the latch can not be written": (DURING, disk_full, "granted", {}),
    "disk hangs": (DURING, disk_hangs, "granted", {}),
    "lockdown": (DURING, lockdown, "lockdown", {}),
    "event loop busy, queues full": (DURING, loop_busy, None, {}),
    "clock unknown": (DURING, nothing, "granted", {"trust": "kernel"}),
    "the panel's line flapped": (DURING, panel_flaps, "granted", {}),
    "database damaged at the start": (BEFORE, no_database_at_the_start, "storage_fault", {}),
    "key lost at the start": (BEFORE, no_key_at_the_start, "storage_fault", {}),
}  # fmt: skip


def told_at_the_door(mode):
    """Where every queue is full of strangers, one more is not looked for."""
    return "queues full" not in mode


def scene(body, *args, **options):
    async def main():
        async with Wired(*args, **options) as site:
            site.undo = lambda: None
            try:
                await body(site)
            finally:
                site.undo()

    asyncio.run(asyncio.wait_for(main(), 100))


def spoilt(mode, body, tmp_path, monkeypatch):
    when, spoil, told, options = MODES[mode]
    if "trust" in options:
        monkeypatch.setattr(daemon, "kernel_synced", lambda: False)

    async def inside(site):
        if when == DURING:
            await spoil(site)
        if told is not None:
            assert await site.present("r1") == told, "the mode is what it says"
            await until(site.locked, LIMIT)
        await body(site)

    scene(inside, tmp_path, monkeypatch, before=spoil if when == BEFORE else None, **options)


@pytest.mark.parametrize("mode", MODES)
def test_e14_fire_releases_all_doors_within_a_second_and_for_good(tmp_path, monkeypatch, mode):
    async def body(site):
        assert site.locked("back", "side")
        site.fire()
        await site.released()
        site.fire(False)
        await asyncio.sleep(LATCHED)
        assert site.unlocked(), "latched"
        site.undo()
        if told_at_the_door(mode):
            assert await site.present("nobody") == "fire_release"

    spoilt(mode, body, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "mode", [m for m in MODES if m not in ("no list", "database gone", "the panel's line flapped")]
)
def test_n5_g10_the_exit_button_opens_in_every_mode(tmp_path, monkeypatch, mode):
    async def body(site):
        site.press()
        await site.released("gate")
        assert site.locked("back", "side"), "and no other door"
        site.press(False)
        await until(lambda: site.locked("gate"), LIMIT)

    spoilt(mode, body, tmp_path, monkeypatch)


def test_e14_a_lock_that_is_away_is_released_when_it_is_back_and_the_others_do_not_wait(tmp_path, monkeypatch):
    async def body(site):
        await lock_lost(site)
        site.fire()
        await site.released("gate", "back")
        site.fire(False)
        site.chips["far"].volts.clear()
        site.chips["far"].seen.clear()
        site.chips["far"].plug()
        await until(lambda: site.unlocked("side"), LIMIT)
        assert {high for _, high in site.chips["far"].seen} == {True}, "never locked for a moment"

    scene(body, tmp_path, monkeypatch)


def test_e14_fire_that_was_there_before_the_gateway(tmp_path, monkeypatch):
    async def before(site):
        site.fire()

    async def body(site):
        await site.released()

    scene(body, tmp_path, monkeypatch, before=before)


def test_e14_the_latch_outlives_the_gateway_and_no_lock_locks_at_its_start(tmp_path, monkeypatch):
    async def body(site):
        site.fire()
        await site.released()
        assert await site.running.gate.fire.saved(LIMIT)
        site.fire(False)
        await site.stop()
        assert site.unlocked("gate", "back", "side"), "and the end of the program locks nothing"
        for chip in site.chips.values():
            chip.seen.clear()
        await site.start()
        await asyncio.sleep(0.3)
        assert site.unlocked()
        for name, at, high in (("locks", 2, True), ("locks", 3, False), ("far", 2, True)):
            assert (at, not high) not in site.chips[name].seen
        assert await site.present("nobody") == "fire_release"
        answer = site.running.gate.fire.reset()
        assert answer.doors == DOORS
        await until(site.locked, LIMIT)
        await site.stop()
        assert {e.type for e in site.journal(Stream.AUDIT)} >= {"fire.reset"}
        assert [e.reason for e in site.journal(Stream.ALARM) if e.type == "notice"].count("fire") == 2

    scene(body, tmp_path, monkeypatch)


# ---- controls


def test_control_e14_a_gateway_that_asks_its_store_first_is_found(tmp_path, monkeypatch):
    """A build that writes the latch down before it releases: on a full disk no door opens."""
    real = Fire.input

    def asking(self, contact):
        if contact.active:
            self.file.write_text("latched")
        real(self, contact)

    monkeypatch.setattr(Fire, "input", asking)

    async def body(site):
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await disk_full(site)
        site.fire()
        await asyncio.sleep(1.2)
        assert site.locked()

    scene(body, tmp_path, monkeypatch)


def test_control_e14_without_a_latch_the_doors_lock_when_the_input_ends(tmp_path, monkeypatch):
    real = Fire.input

    def forgetful(self, contact):
        real(self, contact)
        if contact.active is False and self.latched:
            self.reset()

    monkeypatch.setattr(Fire, "input", forgetful)

    async def body(site):
        site.fire()
        await site.released()
        site.fire(False)
        await until(site.locked, LIMIT)

    scene(body, tmp_path, monkeypatch)


def test_control_a_lock_that_is_not_told_of_the_fire_locks_for_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(Fire, "frees", lambda self, lock: False)

    async def body(site):
        await lock_lost(site)
        site.fire()
        await site.released("gate", "back")
        site.chips["far"].seen.clear()
        site.chips["far"].plug()
        await until(lambda: site.unlocked("side"), LIMIT)
        assert (2, False) in site.chips["far"].seen

    scene(body, tmp_path, monkeypatch)
