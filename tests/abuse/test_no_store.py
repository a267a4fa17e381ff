"""A gateway whose store can not be opened at its start: exits and fire work, nobody is let in, nothing is promised."""

import asyncio
import contextlib
import time

import pytest

from lintel.edge import daemon, fire
from lintel.edge.control import call
from lintel.edge.errors import StoreError
from lintel.edge.inlet import Inlet
from lintel.edge.model import Method, Reading
from tests.abuse.test_fire import no_database_at_the_start, no_key_at_the_start, nothing, scene
from tests.abuse.wired import LIMIT, Wired
from tests.edge.drivers.contract import until


def test_a_gateway_without_its_store_says_so_keeps_no_promise_and_begins_again_with_it(tmp_path, monkeypatch):
    """Nobody is let in; no receipt is given; what fire did is in the journal when there is one; doors stay released."""

    async def body(site):
        first = site.running
        assert "commit_failed" in first.health.standing
        assert await site.present("r1") == "storage_fault"
        site.fire()
        await site.released()
        site.fire(False)
        site.press()
        await until(lambda: first.health.counters[("decisions", "gate", "egress")])
        site.press(False)
        for chip in site.chips.values():
            chip.seen.clear()
        (site.state / "damaged").unlink()
        await until(lambda: site.running is not first and site.running.gate.fire.released("gate"), LIMIT)
        await until(lambda: all(r.keeper.state == "up" for r in site.running.lines), LIMIT)
        assert site.unlocked()
        assert (2, False) not in site.chips["locks"].seen
        assert "commit_failed" not in site.running.health.standing
        await site.stop()
        reasons = [e.reason for e in site.journal()]
        assert {"storage_fault", "egress", "fire", "db_damaged"} <= set(reasons)

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


@pytest.mark.parametrize("reset", [False, True])
def test_a_latch_that_could_not_be_read_at_the_start_counts_when_it_can(tmp_path, monkeypatch, reset):
    """Fire released the doors, the power failed, the disk came late. Who resets them meanwhile has reset them."""

    async def body(site):
        first = site.running
        assert not first.gate.fire.latched
        if reset:
            site.fire()
            await site.released()
            site.fire(False)
            await until(lambda: first.gate.fire.reset().doors, LIMIT)
            await until(lambda: not first.gate.fire.latched, LIMIT)
        (site.state / fire.FILE).write_text('{"at": 1, "doors": {"gate": "panel"}}')
        (site.state / "damaged").unlink()
        await until(lambda: site.running is not first, LIMIT)
        await until(lambda: all(r.keeper.state == "up" for r in site.running.lines), LIMIT)
        assert site.running.gate.fire.released("gate") is not reset

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


def test_without_a_store_no_device_is_told_that_its_record_is_kept(tmp_path, monkeypatch):
    async def body(site):
        inlet = Inlet(site.running.gate, site.running.lines[0].keeper, site.running._durable)
        receipt = await inlet.present(Reading("evt_1", "gate", "d", Method.QR, bytes(16), time.time(), record="7"))
        with pytest.raises(Exception, match="there is no store"):
            await asyncio.wait_for(receipt, LIMIT)

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


def test_without_a_store_nothing_is_taken_that_would_have_to_be_kept(tmp_path, monkeypatch):
    async def body(site):
        def ask(method, **params):
            return asyncio.to_thread(call, site.state, method, params)

        assert "commit_failed" in (await ask("status"))["alarms"]
        assert (await ask("lockdown", groups=[], on=True))["durable"] is False
        for method in ("allowlist.import", "device.sync", "device.install"):
            with pytest.raises(StoreError, match="nothing can be kept"):
                await ask(method)
        site.fire()
        await site.released()
        site.fire(False)
        await until(lambda: site.running.gate.fire.reset().doors)
        with pytest.raises(StoreError):
            await site.running.lines[0].driver._ctx.keys.put("d", {"key": b"x"})

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


def test_where_nothing_has_to_work_without_a_store_the_start_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "must_run", lambda config: False)
    with pytest.raises(daemon.StoreError):
        scene(nothing, tmp_path, monkeypatch, before=no_key_at_the_start)


def test_control_a_start_that_is_refused_without_a_store_releases_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "must_run", lambda config: False)

    async def body(site):
        pass

    site = Wired(tmp_path, monkeypatch, before=no_database_at_the_start)

    async def main():
        with contextlib.suppress(daemon.StoreError):
            async with site:
                pass
        site.fire()
        await asyncio.sleep(1.0)
        assert not site.chips["locks"].requests

    asyncio.run(main())
