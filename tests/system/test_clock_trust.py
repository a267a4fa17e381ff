"""Row E6 end to end: a kernel whose clock nobody disciplines. Timed passes wait, residents do not; the floor stays."""

import json
import time
from pathlib import Path

from lintel.edge.store import PassPut

from .invariants import finish, vitals
from .people import person, visitor
from .site import LIMIT, run

TIMED = person("judy", valid_to=4_000_000_000.0)
CLEANER = person("kim", schedule="nights")


def test_e6_without_a_trusted_clock_timed_passes_are_refused_and_residents_pass():
    async def body(site):
        before = vitals(site.pid)
        status = await site.ask("status")
        assert (status["clock"], list(status["alarms"])) == ("unknown", ["clock_unknown"])
        for restart in (False, True):
            if restart:
                assert await site.stop() == 0
                floor = json.loads((site.state / "clock.json").read_text())["wall"]
                await site.start()
                assert json.loads((site.state / "clock.json").read_text())["wall"] >= floor
                before = vitals(site.pid)
            assert await site.resident() == "granted"
            assert await site.face("res1") == "granted"
            assert await site.scan(visitor(pass_id=50 + restart)) == "clock_untrusted"
            assert await site.scan(visitor(pass_id=52 + restart, uses=1)) == "clock_untrusted"
            assert await site.shown(CLEANER.code) == "clock_untrusted"
            assert await site.shown(TIMED.code) == "granted", "a resident with an end date is let in, not a visitor"
        await finish(site, before)

    # A terminal that says Online again while the line comes up is not believed for 5 s where no clock is known.
    once, main = LIMIT, (str(Path(__file__).with_name("unsynced.py")),)
    run(body, repush=once, trust="kernel", people=[TIMED, CLEANER], main=main)


def test_e6_control_with_a_trusted_clock_the_same_passes_open():
    async def body(site):
        assert (await site.ask("status"))["clock"] == "synced"
        assert await site.scan(visitor(pass_id=50)) == "granted"
        await finish(site)

    run(body, trust="system", passes=[PassPut(9)])


def test_e6_a_floor_far_ahead_survives_a_restart_and_expired_stays_expired():
    """The stored mark says next year, the system clock says now (no chip, or set back): the later one wins."""

    async def body(site):
        assert await site.scan(visitor(pass_id=50)) == "granted"
        assert await site.stop() == 0
        path = site.state / "clock.json"
        mark = json.loads(path.read_text())
        assert abs(mark["wall"] - time.time()) < 60
        path.write_text(json.dumps({**mark, "wall": mark["wall"] + 1800, "boot_id": "another boot"}))
        await site.start()
        assert await site.scan(visitor(pass_id=51, start=-600, minutes=30)) == "expired"
        assert await site.resident() == "granted"
        assert await site.stop() == 0
        assert json.loads(path.read_text())["wall"] >= mark["wall"] + 1800, "the floor never runs back"
        path.write_text("{ not json")
        await site.start()
        assert await site.scan(visitor(pass_id=52, start=-600, minutes=30)) == "expired", "the journal holds it too"
        await finish(site)

    run(body)
