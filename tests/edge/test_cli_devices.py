"""`lintel device`: what an operator sees and may do, over the control socket of a gateway."""

import asyncio
import base64
import contextlib
import json
import logging
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lintel.edge import control
from lintel.edge.cli import devices as cli
from lintel.edge.cli.allowlist import app as allowlist
from lintel.edge.devices import Desk, Running, lists_of
from lintel.edge.errors import LintelError
from lintel.edge.health import Health
from lintel.edge.ledger import Ledger
from lintel.edge.model import Action, Direction, Fact, Measure, Notice, Outcome, Stream
from lintel.edge.persons import State as At
from lintel.edge.supervisor import Keeper, State
from tests.edge.roster.rig import Rig, jpeg

DEVICE = SimpleNamespace(id="1001", line="broker", profile="mqtt-face", door="gate", direction=Direction.IN)
READER = SimpleNamespace(id="gate-qr", line="port", profile="generic-cr", door="gate", direction=Direction.IN)


class Stage:
    """A gateway's desk over real lists and a simulated terminal; what it executes is kept."""

    def __init__(self, rig, gateway):
        self.rig, self.g, self.orders, self.outcome = rig, gateway, [], Outcome.EXECUTED
        self.health = Health()
        self.ledger = Ledger({}, gateway.store.journal, gateway.clock, self.health)
        self.broker = Keeper("broker", self.ledger.report)
        self.port = Keeper("port", self.ledger.report)
        self.broker.up()
        line = SimpleNamespace(id="broker", driver="mqtt_terminal")
        devices = [SimpleNamespace(id="1001", door="gate")]
        running = Running(line, gateway.driver, self.broker, devices)
        other = Running(SimpleNamespace(id="port", driver="serial_qr"), object(), self.port, [READER])
        config = SimpleNamespace(device=[DEVICE, READER], door=[SimpleNamespace(id="gate", groups=("public",))])
        self.desk = Desk(
            config, gateway.store, gateway.clock, self.health, self.ledger, rig.digest, [running, other],
            gateway.lists, self.execute,
        )  # fmt: skip
        lists = lists_of(config, [running, other], gateway.store, gateway.clock, rig.digest, self.ledger)
        assert list(lists.keepers) == ["1001"], "a reader keeps no list"

    async def execute(self, order):
        self.orders.append(order)
        return self.outcome

    async def audit(self):
        await self.g.store.writer.submit(lambda conn: None, now=True)
        return [(r.event.type, r.event.result, r.event.detail) for r in self.g.store.journal.export(Stream.AUDIT)]


def run(body, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")

    async def main():
        async with asyncio.timeout(120), Rig() as rig, rig.gateway() as g:
            stage = Stage(rig, g)
            async with control.serve(rig.state, stage.desk.handlers(), {}):
                await body(stage)

    asyncio.run(main())


async def say(stage, *args, app=cli.app, code=0):
    """The command line in a thread: the gateway's loop answers it."""
    done = await asyncio.to_thread(CliRunner().invoke, app, [*args, "--state", str(stage.rig.state)])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_the_operator_sees_each_device_and_each_persons_state(monkeypatch):
    async def body(stage):
        g, rig = stage.g, stage.rig
        await rig.fault(person_errors={"p-0002": "468"})
        await g.put("p-0001", "p-0002")
        await g.until(lambda: stored(g))
        stage.health.measure("gate-qr", Measure.BATTERY_PERCENT, 71.0)
        stage.ledger.report(Fact(Notice.COMMS_LOST, "gate-qr"))
        listed = json.loads(await say(stage, "list", "--json", code=2))["devices"]
        one, two = listed
        assert (one["id"], one["line"], one["driver"], one["profile"]) == (
            "1001",
            "broker",
            "mqtt_terminal",
            "mqtt-face",
        )
        assert (one["state"], two["state"]) == ("up", "starting")
        assert two["measures"] == {"battery_percent": 71.0}
        assert two["persons"] is None
        assert {k: one["persons"][k] for k in ("wanted", "stored", "failed", "pending", "deleting", "foreign")} == {
            "wanted": 2, "stored": 1, "failed": 1, "pending": 0, "deleting": 0, "foreign": 0,
        }  # fmt: skip
        assert abs(one["seen"] - g.clock.now().wall) < 30
        assert "persons 1/2 failed 1" in await say(stage, "list", code=2)
        text = await say(stage, "show", "1001")
        assert "p-0002: failed (photo_bad 468)" in text
        assert "p-0001" not in text
        assert "p-0001: stored" in await say(stage, "show", "1001", "--all")
        (row,) = json.loads(await say(stage, "show", "1001", "--person", "p-0002", "--json"))["people"]
        assert (row["state"], row["class"], row["code"]) == ("failed", "photo_bad", "468")
        stage.port.state = State.UP
        assert "lost since" in await say(stage, "list", code=2)
        stage.ledger.report(Fact(Notice.COMMS_RESTORED, "gate-qr"))
        assert json.loads(await say(stage, "list", "--json", code=2))["devices"][1]["state"] == "up"
        with contextlib.suppress(LintelError):
            control.call(rig.folder, "device.list")

    async def stored(g):
        return (await g.states()).get("p-0001") == "stored" and (await g.states()).get("p-0002") == "failed"

    run(body, monkeypatch)


def test_it_is_chinese_where_the_operator_is(monkeypatch):
    async def body(stage):
        await stage.g.put("p-0001")
        await stage.g.settled({"p-0001"})
        monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
        assert "人员 1/1" in await say(stage, "list", code=2)
        assert "p-0001: 已存储" in await say(stage, "show", "1001", "--all")

    run(body, monkeypatch)


def test_a_device_that_is_not_in_the_configuration_any_more_is_listed_with_who_may_be_on_it(monkeypatch):
    async def body(stage):
        assert json.loads(await say(stage, "list", "--json", code=2))["left"] == []
        await stage.g.store.roster.enter("gate-old", [(n, f"p-{n}", At.STORED) for n in range(3)])
        assert json.loads(await say(stage, "list", "--json", code=2))["left"] == [{"id": "gate-old", "persons": 3}]
        said = await say(stage, "list", code=2)
        assert "gate-old  not in the configuration with a person list: 3 persons may still be on it" in said
        monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
        assert "gate-old  配置中没有它的人员名单" in await say(stage, "list", code=2)

    run(body, monkeypatch)


def test_who_is_on_a_scrapped_terminal_is_forgotten_when_somebody_says_so(monkeypatch):
    async def body(stage):
        await stage.g.store.roster.enter("gate-old", [(n, f"p-{n}", At.STORED) for n in range(3)])
        assert "3 persons forgotten" in await say(stage, "forget", "gate-old")
        assert json.loads(await say(stage, "list", "--json", code=2))["left"] == []
        assert ("device.forget", "done", "gate-old 3 persons") in await stage.audit()
        await stage.g.put("p-0001")
        await stage.g.settled({"p-0001"})
        for device, why in (("gate-old", "nobody is known to be on"), ("1001", "take it out first")):
            done = await asyncio.to_thread(
                CliRunner().invoke, cli.app, ["forget", device, "--state", str(stage.rig.state)]
            )
            assert why in str(done.exception)
        assert [e.name for e in await stage.g.store.roster.entries("1001")] == ["p-0001"]

    run(body, monkeypatch)


def test_a_synchronisation_is_asked_for_and_audited(monkeypatch):
    async def body(stage):
        await stage.g.put("p-0001")
        await stage.g.settled({"p-0001"})
        before = len(sent(stage))
        assert "asked" in await say(stage, "sync", "1001", "--full")
        await stage.g.until(lambda: more(stage, before))
        await stage.g.settled({"p-0001"})
        assert ("device.sync", "asked", "1001 full") in await stage.audit()
        done = await asyncio.to_thread(
            CliRunner().invoke, cli.app, ["sync", "gate-qr", "--state", str(stage.rig.state)]
        )
        assert "keeps no person list" in str(done.exception)
        done = await asyncio.to_thread(CliRunner().invoke, cli.app, ["show", "moon", "--state", str(stage.rig.state)])
        assert "there is no device moon" in str(done.exception)

    async def more(stage, before):
        return len(sent(stage)) > before

    def sent(stage):
        return [e for e in stage.rig.sim.events if e["event"] == "asked" and e["what"] == "EditPersonsNew"]

    run(body, monkeypatch)


def test_an_install_window_is_one_order_and_its_secret_stands_nowhere_else(monkeypatch, caplog, tmp_path):
    """In no row, no log and no `repr` of the order."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("cafe 0123\n")

    async def body(stage):
        told = await say(stage, "install", "gate-qr", "--minutes", "5", "--secret-file", str(file))
        assert "open for 5 minutes" in told
        (order,) = stage.orders
        assert (order.action, order.device, order.door, order.seconds, order.text) == (
            Action.INSTALL, "gate-qr", "gate", 300.0, "CAFE0123",
        )  # fmt: skip
        rows = await stage.audit()
        assert ("device.install", "executed", "gate-qr 300 s") in rows
        everything = [r for stream in Stream for r in stage.g.store.journal.export(stream)]
        assert "CAFE0123" not in f"{rows} {everything} {order} {told} {caplog.text}".upper()
        stage.outcome = Outcome.REFUSED_BY_DEVICE
        await say(stage, "install", "gate-qr", code=1)
        assert ("device.install", "refused_by_device", "gate-qr 600 s") in await stage.audit()
        await say(stage, "install", "gate-qr", "--minutes", "11", code=2)
        assert len(stage.orders) == 2

    run(body, monkeypatch)


def test_photos_come_in_with_an_import_or_alone_and_what_is_wrong_is_named(monkeypatch, tmp_path):
    async def body(stage):
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "p-0001.jpg").write_bytes(jpeg(1))
        (folder / "p-0002.JPG").write_bytes(b"GIF89a")
        (folder / "nobody.jpg").write_bytes(jpeg(3))
        (folder / "notes.txt").write_text("no photo")
        await stage.g.put("p-0001", "p-0002", photos=False)
        answer = await stage.desk._photos(
            {"photos": [[p.stem, base64.b64encode(p.read_bytes()).decode()] for p in sorted(folder.glob("*.[jJ]*"))]}
        )
        assert answer["photos"] == 3
        assert sorted(m[0] for m in answer["mistakes"]) == ["nobody", "p-0002"]
        await stage.g.until(lambda: stored(stage.g))
        assert ("allowlist.photos", "applied", "photos 3, mistakes 2") in await stage.audit()
        bad = await stage.desk._photos({"photos": [["p-0001", "?"]]})
        assert bad["mistakes"] == [["p-0001", "expected a photo in base64"]]

    async def stored(g):
        return (await g.states())["p-0001"] == "stored"

    run(body, monkeypatch)


def test_an_import_without_a_gateway_keeps_the_photos(monkeypatch, tmp_path):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "list.csv").write_text("person,method,value,groups,consent\nper_1,face,p1,public,granted\n")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "p1.jpg").write_bytes(jpeg(1))
    (folder / "p2.jpg").write_bytes(jpeg(2))
    args = ["import", str(tmp_path / "list.csv"), "--photos", str(folder), "--state", str(tmp_path / "state"), "--json"]
    done = CliRunner().invoke(allowlist, args)
    assert done.exit_code == 1, done.output
    answer = json.loads(done.output)
    assert (answer["put"], answer["photos"]) == (1, 2)
    assert answer["mistakes"] == [["p2", "expected the value of a face on the allowlist"]]
    assert len(list((tmp_path / "state" / "faces").iterdir())) == 1
    args[3] = str(tmp_path / "none")
    with pytest.raises(LintelError, match="readable file"):
        raise CliRunner().invoke(allowlist, args).exception
