"""A gateway whose store can not be opened at its start: exits and fire work, nobody is let in, nothing is promised."""

import asyncio
import contextlib
import time
from dataclasses import replace
from functools import partial

import pytest

from lintel.edge import config, daemon, fire, storeless
from lintel.edge.control import call
from lintel.edge.errors import StoreError
from lintel.edge.inlet import Inlet
from lintel.edge.model import Method, Reading
from lintel.edge.store import Store, standin, state_key
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


def lockdown(on):
    return {"groups": [], "on": on}


async def begun_again(site):
    first = site.running
    (site.state / "damaged").unlink()
    await until(lambda: site.running is not first, LIMIT)
    await until(lambda: all(r.keeper.state == "up" for r in site.running.lines), LIMIT)


async def locked_down_without_a_store(site):
    answer = await asyncio.to_thread(call, site.state, "lockdown", lockdown(True))
    assert (answer["lockdown"], answer["durable"]) == (["public"], False)
    await begun_again(site)
    return site.running.store.allowlist.site().lockdown


def test_a_lockdown_that_was_ordered_without_a_store_is_in_force_and_durable_with_it(tmp_path, monkeypatch):
    async def body(site):
        assert await locked_down_without_a_store(site) == {"public"}
        await until(lambda: not site.running.store.allowlist.lockdown.waiting(), LIMIT)
        await site.stop()
        told = [e.detail for e in site.journal() if e.type == "lockdown"]
        assert told == ["public", "public: said while there was no store"]
        await site.start()
        assert site.running.store.allowlist.site().lockdown == {"public"}

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


def test_control_a_build_that_forgets_the_lockdown_is_found(tmp_path, monkeypatch):
    real = storeless.gathered
    monkeypatch.setattr(storeless, "gathered", lambda *args: replace(real(*args), lockdown={}))

    async def body(site):
        assert await locked_down_without_a_store(site) == frozenset()

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


async def locked_down_before(monkeypatch, site):
    """A lockdown is stored, and then there is no store."""
    store = Store.open(site.state, state_key(site.state))
    assert await store.allowlist.set_lockdown({"public"}, on=True)
    await store.close()
    await no_store_for_now(site, monkeypatch)


def test_a_lockdown_that_was_lifted_without_a_store_is_lifted_with_it(tmp_path, monkeypatch):
    """It was stored before; who ordered one and lifted it again has lifted it."""

    async def body(site):
        for on in (True, False):
            await asyncio.to_thread(call, site.state, "lockdown", lockdown(on))
        site.let_in()
        await begun_again(site)
        assert site.running.store.allowlist.site().lockdown == frozenset()
        assert await site.present("r1") == "granted"

    scene(body, tmp_path, monkeypatch, before=partial(locked_down_before, monkeypatch))


def test_control_a_lockdown_that_nobody_lifts_is_there_with_the_store(tmp_path, monkeypatch):
    async def body(site):
        site.let_in()
        await begun_again(site)
        assert await site.present("r1") == "lockdown"

    scene(body, tmp_path, monkeypatch, before=partial(locked_down_before, monkeypatch))


async def no_store_for_now(site, monkeypatch):
    """Whatever opens the store fails until `site.let_in()`, with what no disk explains."""
    real, away = Store.open, [True]

    def failing(path, *args, **kwargs):
        if away[0] and path == site.state:
            raise MemoryError("not enough of it")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Store, "open", failing)
    (site.state / "damaged").touch()
    site.let_in = lambda: away.__setitem__(0, False)


def test_whatever_breaks_while_the_store_is_looked_for_exits_and_fire_go_on(tmp_path, monkeypatch, caplog):
    async def before(site):
        await no_store_for_now(site, monkeypatch)

    async def body(site):
        first = site.running
        await until(lambda: "the store can not be looked at" in caplog.messages, LIMIT)
        await asyncio.sleep(0.5)  # two more turns
        assert site.running is first
        assert caplog.messages.count("the store can not be looked at") == 1
        site.fire()
        await site.released()
        site.let_in()
        await begun_again(site)
        assert site.running.gate.fire.released("gate")
        assert await site.present("r1") == "fire_release"

    scene(body, tmp_path, monkeypatch, before=before)


def test_a_journal_of_the_time_without_a_store_that_can_not_be_read_ends_nothing(tmp_path, monkeypatch):
    def failing(store):
        raise MemoryError

    monkeypatch.setattr(standin, "events", failing)

    async def body(site):
        assert await locked_down_without_a_store(site) == {"public"}

    scene(body, tmp_path, monkeypatch, before=no_database_at_the_start)


def test_a_panel_that_is_not_heard_keeps_its_doors_released(tmp_path, monkeypatch):
    """Its chip does not come back after the restart; a reset by somebody who has not looked does not go past it."""

    async def body(site):
        site.fire()
        await site.released()
        await site.stop()
        (site.state / fire.FILE).write_text('{"doors": {"gate": ""}}')
        site.chips["inputs"].unplug()
        await site.start(up=False)
        assert site.running.gate.fire.reset().unknown == {"gate": "panel"}
        site.fire(False)
        site.chips["inputs"].plug()
        await until(lambda: site.running.gate.fire.reset().doors == ("gate",), LIMIT)

    scene(body, tmp_path, monkeypatch)


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


MQTT = """
[[line]]
id = "terminals"
driver = "mqtt_terminal"
host = "127.0.0.1"
port = 9
username = "gateway"
password = "terminals"
[[device]]
id = "face"
line = "terminals"
profile = "mqtt-face"
address = "1000001"
door = "gate"
"""


def test_a_password_that_is_away_with_the_store_takes_its_own_line_along_and_no_other(tmp_path, monkeypatch):
    """It lies beside the store. The line has it when the store is back."""

    async def before(site):
        secret = site.state / "credentials" / "terminals"
        secret.parent.mkdir(mode=0o700)
        site.give = lambda: (secret.write_text("secret"), secret.chmod(0o600))
        path = site.folder / "gateway.toml"
        path.write_text(path.read_text() + MQTT)
        site.config = config.load(path)
        await no_store_for_now(site, monkeypatch)

    async def body(site):
        wired = [r for r in site.running.lines if r.line.id != "terminals"]
        await until(lambda: all(r.keeper.state == "up" for r in wired), LIMIT)
        site.fire()
        await site.released()
        first = site.running
        site.give()
        site.let_in()
        (site.state / "damaged").unlink()
        await until(lambda: site.running is not first, LIMIT)
        (line,) = [r for r in site.running.lines if r.line.id == "terminals"]
        assert not isinstance(line.driver, storeless.NoSecret)

    async def main():
        site = Wired(tmp_path, monkeypatch, before=before)
        site.start = partial(site.start, up=False)
        async with site:
            await body(site)

    asyncio.run(main())
