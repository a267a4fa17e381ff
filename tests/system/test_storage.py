"""Rows E1 and E2: the disk is full, the disk is read-only. The state directory is a small tmpfs of its own.

A tmpfs has no write-back and no journal: this is about handling errors, never a proof of durability.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

from .invariants import finish, vitals
from .people import person, visitor
from .site import LIMIT, Site

NOISE = 2.0
COUNTED = [person(f"counted{n}", use_limit=1, face=False) for n in range(4)]


class SmallDisk(Site):
    """A site whose state directory is a tmpfs in a private mount namespace, held open by a process that sleeps."""

    def __init__(self, *, size="24m", **options):
        super().__init__(before=self._mount, **options)
        self.size = size
        self._holder = None

    async def _mount(self, _):
        script = 'cp -a "$1" "$1.disk"; mount -t tmpfs -o size=$2,mode=700 none "$1"; cp -a "$1.disk/." "$1"; echo; cat'
        # without root in a user namespace; as root without, since only real root may open a pty left exclusive
        own = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-rm")
        self._holder = await asyncio.create_subprocess_exec(
            *own, "sh", "-ec", script, "sh", str(self.state), self.size, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert await self._holder.stdout.readline() == b"\n", "a private mount namespace is needed"
        self.where = Path(f"/proc/{self._holder.pid}/root{self.state}")
        self.wrap = ("nsenter", "-t", str(self._holder.pid), *(("-U",) if own[1] == "-rm" else ()), "-m", "--")

    async def remount(self, how):
        process = await asyncio.create_subprocess_exec(*self.wrap, "mount", "-o", f"remount,{how}", str(self.state))
        assert await process.wait() == 0

    def journal(self, *streams):
        """Read from a copy: SQLite resolves links itself, and /proc/PID/root is "/" to it, so another directory."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(mode=0o700)
        for name in ("lintel.db", "anchors", "state.key"):
            shutil.copy2(self.where / name, copy / name)
        seen, self.where = self.where, copy
        try:
            return super().journal(*streams)
        finally:
            self.where = seen

    def fill_up(self):
        """Write until there is no room for another byte."""
        with (self.where / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def make_room(self):
        (self.where / "filler").unlink()

    async def alarms(self, present):
        """Wait for the alarm to stand (or to be over); the seconds it took."""
        word, there = present
        start = time.monotonic()
        async with asyncio.timeout(LIMIT):
            while (word in (await self.ask("status"))["alarms"]) != there:
                await asyncio.sleep(0.05)
        return time.monotonic() - start

    async def __aexit__(self, *exc):
        await super().__aexit__(*exc)
        if self._holder is not None:
            self._holder.stdin.close()
            await asyncio.wait_for(self._holder.wait(), LIMIT)


async def full(site):
    """Fill the disk and present until the daemon has noticed; residents pass all the time."""
    site.fill_up()
    async with asyncio.timeout(LIMIT):
        for n in itertools.count():
            assert await site.resident(("gate", "back")[n % 2]) == "granted"
            if "disk_full" in (await site.ask("status"))["alarms"]:
                return
            await asyncio.sleep(0.05)


def test_e1_residents_pass_on_a_full_disk_and_nothing_is_lost_when_there_is_room_again():
    async def main():
        async with SmallDisk(people=COUNTED) as site:
            assert await site.resident() == "granted"
            before = vitals(site.pid)
            for round_ in range(2):
                await full(site)
                for n in range(10):
                    assert await site.resident(("gate", "back")[n % 2]) == "granted"
                    assert await site.face(f"res{n}", "back") == "granted"
                assert await site.scan(COUNTED[round_].code) == "storage_read_only", "this use can not be kept"
                assert await site.scan(visitor(pass_id=70 + round_)) == "granted", "this pass is not counted"
                site.make_room()
                took = await site.alarms(("disk_full", False))
                print(f"recovered {took:.2f} s after there was room")
                assert took <= 5.0 + NOISE
                assert await site.scan(COUNTED[round_].code, "back") == "granted"
                assert await site.shown(COUNTED[round_].code) == "already_used"
            decisions = await finish(site, before)
            gate = [e.mono for e in decisions if e.door == "gate"]
            assert gate == sorted(gate), "the ring is drained in order"

    asyncio.run(main())


def test_e1_a_restart_on_the_full_disk_keeps_what_the_ring_holds():
    async def main():
        async with SmallDisk() as site:
            assert await site.resident() == "granted"
            await full(site)
            for _ in range(5):
                assert await site.resident() == "granted"
            assert await site.face("res0", "back") == "granted"
            await site.devices.event("confirmed", LIMIT)  # it is kept, so what came before is kept
            await site.kill()
            await site.start()
            assert await site.resident() == "granted"
            site.make_room()
            async with asyncio.timeout(LIMIT):
                while (await site.ask("status"))["alarms"]:
                    await asyncio.sleep(0.05)
            await finish(site)

    asyncio.run(main())


def test_e1_control_without_the_ring_events_are_missing(tmp_path):
    script = tmp_path / "ringless.py"
    script.write_text(
        "import sys\n"
        "from lintel.edge.__main__ import main\n"
        "from lintel.edge.store.ring import Ring\n"
        "Ring.keep = lambda self, bodies, error: error\n"
        "sys.exit(main())\n"
    )

    async def main():
        async with SmallDisk(main=(str(script),)) as site:
            await full(site)
            for _ in range(5):
                assert await site.resident() == "granted"
            site.make_room()
            await site.alarms(("disk_full", False))
            await site.stop()
            assert len(site.decisions()) < site.presented

    asyncio.run(main())


def test_e2_on_a_disk_that_is_read_only_at_the_start_residents_pass_and_counted_uses_wait():
    """There is no control socket on such a disk: the locks and, later, the journal tell what was decided."""

    async def main():
        async with SmallDisk(people=COUNTED) as site:
            assert await site.resident() == "granted"
            await site.ordered("gate", 1)
            assert await site.stop() == 0
            await site.remount("ro")
            before = site.log().count(": up\n")
            await site.start(up=False)
            async with asyncio.timeout(LIMIT):
                while site.log().count(": up\n") < before + 3:  # the lock is behind the broker
                    await asyncio.sleep(0.05)
            refused = (COUNTED[0].code, visitor(uses=1), COUNTED[0].code)
            for orders, text in enumerate(refused, 3):
                # one door takes one after another: when the next resident is let in, this one was refused
                await held(site, text)
                await held(site, site.next_resident() if orders < 5 else visitor(pass_id=70))
                await site.ordered("gate", orders - 1)
                await asyncio.sleep(1.6)  # the same code again within 1.5 s would be the same presentation
            site.presented += 1
            await site.devices.command("face", id="1002", person="res0")
            await site.ordered("back", 1)
            await writable_again(site)
            await held(site, COUNTED[0].code)
            await site.ordered("gate", 5)
            assert await site.stop() == 0
            await site.start()
            decisions = await finish(site)
            words = [e.reason for e in decisions if e.door == "gate"]
            assert words == ["granted", *["storage_read_only", "granted"] * 3, "granted"]
            assert "storage_read_only" in {e.reason for e in site.journal() if e.type == "notice"}

    asyncio.run(main())


async def held(site, text):
    """Hold a code before the reader of the gate. Nobody tells what was decided."""
    site.presented += 1
    await site.devices.command("scan", id="gate-qr", text=text)


async def writable_again(site):
    """Remount, and wait until the daemon has written: it looks once a second."""
    log = site.where / "lintel.db-wal"
    size = lambda: log.stat().st_size if log.exists() else 0  # noqa: E731
    before = size()
    await site.remount("rw")
    async with asyncio.timeout(LIMIT):
        while size() == before:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)


def test_the_rig_really_fills_the_disk():
    async def main():
        async with SmallDisk(devices=False) as site:
            site.fill_up()
            try:
                (site.where / "one-more").write_bytes(bytes(8192))
            except OSError as error:
                assert error.errno == errno.ENOSPC
            else:
                raise AssertionError("there was room")
            await site.kill()

    asyncio.run(main())
