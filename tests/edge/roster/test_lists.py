"""Person lists kept on terminals: a simulated one that enforces its document is the far end, over a real broker."""

import asyncio
import itertools
import json
import time
from dataclasses import replace

from lintel.edge.model import Notice
from lintel.edge.persons import Consent
from lintel.edge.roster import keeper, rules
from tests.edge.drivers.mqtt_rig import open_order
from tests.edge.roster.rig import jpeg, run, state

A, B, C = "p-0001", "p-0002", "p-0003"
WITHDRAWN = Consent.WITHDRAWN


async def read(g):
    return g.keeper().standing.read_at is not None


def test_who_is_wanted_is_stored_as_the_list_says_and_who_is_not_is_gone():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A)
            await g.put(B, valid_from=1767225600.0, valid_to=4000000000.0)
            await g.put(C, groups=("elsewhere",))
            await g.settled({A, B})
            known = (await rig.sim.command("person", id="1001", person=B))["person"]
            assert (known["tempValid"], known["validBegin"]) == (1, "2026-01-01 00:00:00")
            assert (known["name"], known["personType"]) == ("p-*", 0)
            assert (await rig.sim.command("person", id="1001", person=A))["person"]["tempValid"] == 0
            await g.put(C)
            await g.settled({A, B, C})
            await g.delete(A)
            await g.settled({B, C})
            assert g.told(Notice.ERASE_DONE)[0].count == 1

    run(body)


def test_f2_a_withdrawn_consent_takes_the_person_off_every_terminal_and_the_photo_off_the_disk():
    """Read back within a minute; the terminal that is off line is erased when it comes back."""

    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B)
            for who in rig.profiles:
                await g.settled({A, B}, who)
            await rig.sim.command("disconnect", id="1003", will=True)
            await g.until(lambda: gone(g, "1003"))
            began = time.monotonic()
            await g.put(A, consent=WITHDRAWN, photos=False)
            for who in ("1001", "1002"):
                await g.settled({B}, who)
            assert time.monotonic() - began < 60
            assert (await g.states("1003"))[A] == "deleting", "not gone before it says so"
            assert A in await rig.there("1003")
            await rig.sim.command("connect", id="1003")
            await g.settled({B}, "1003")
            assert sum(f.count for f in g.told(Notice.ERASE_DONE)) == 3, "one for each terminal"
            await g.until(lambda: only(g, 1))

    async def gone(g, who):
        return not g.driver.presence(who).there

    async def only(g, count):
        return len(list(g.store.faces.folder.iterdir())) == count

    run(body, {"1001": "mqtt-face", "1002": "mqtt-face", "1003": "mqtt-face"})


def test_a_bad_photo_is_told_with_the_terminals_own_code_and_waits_for_another_one():
    async def body(rig):
        await rig.fault(person_errors={A: "468"})
        async with rig.gateway() as g:
            await g.put(A, B)
            await g.until(lambda: state(g, A, "failed"))
            row = await g.row(A)
            assert (row["class"], row["code"], row["retry_at"]) == ("photo_bad", "468", 9e12)
            await g.until(lambda: state(g, B, "stored"))
            commands = len(await asked(rig))
            await g.put(B, mask="Li *")  # another pass, which is no reason to try the photo again
            await g.until(lambda: state(g, B, "stored"))
            assert (await g.row(A))["tries"] == 1
            assert len(await asked(rig)) > commands
            await rig.fault()
            await asyncio.sleep(0.6)
            assert await rig.there() == {B}
            await g.photos({A: jpeg(500)})
            await g.settled({A, B})

    run(body)


async def asked(rig, what="EditPersonsNew", who="1001"):
    return [e for e in rig.sim.events if e["event"] == "asked" and e["what"] == what and e["id"] == who]


def test_no_photo_no_person_and_the_operator_reads_why():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, photos=False)
            await g.until(lambda: state(g, A, "failed"))
            assert (await g.row(A))["code"] == "no_photo"
            await g.put(A)
            await g.settled({A})

    run(body)


def test_a_command_that_is_not_answered_is_read_back_and_not_sent_again():
    async def body(rig):
        await rig.fault(drop_acks=1)
        async with rig.gateway() as g:
            await g.until(lambda: read(g))  # the answer that is dropped is that of this query
            await rig.fault(drop_acks=1)
            await g.put(A)
            await g.settled({A})
            assert len(await asked(rig)) == 1, "it was stored: the list says so"
            await rig.fault(ignore=1)
            await g.put(B)
            await g.settled({A, B})
            assert len(await asked(rig)) == 2, "it was not: sent once more"

    run(body)


def test_f4_gone_is_what_the_terminal_no_longer_lists_whatever_it_answers(monkeypatch):
    monkeypatch.setattr(rules, "ERASE_WAIT", 0.5)

    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B)
            await g.settled({A, B})
            await rig.fault(keep_deleted=-1)
            await g.delete(A)
            await g.until(lambda: told(g, Notice.ERASE_FAILED), limit=90)
            assert await state(g, A, "deleting")
            assert g.told(Notice.ERASE_DONE) == []
            await rig.fault()
            await g.settled({B}, limit=90)
            assert len(g.told(Notice.ERASE_DONE)) == 1

    async def told(g, notice):
        return g.told(notice)

    run(body)


def test_f4_control_a_gateway_that_believes_the_answer_calls_somebody_gone_who_is_there(monkeypatch):
    def credulous(entry, told, now, *, lists, loud):
        return rules.Turn(entry.key, gone=True)

    monkeypatch.setattr(keeper.rules, "after_drop", credulous)

    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A)
            await g.settled({A})
            await rig.fault(keep_deleted=-1)
            await g.delete(A)
            await g.until(lambda: said(g))
            assert await rig.there() == {A}, "gone, it is said, and is there"

    async def said(g):
        return g.told(Notice.ERASE_DONE)

    run(body)


def test_a_terminal_that_was_reset_or_replaced_is_filled_again_by_itself():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B)
            await g.settled({A, B})
            await rig.sim.command("factory_default", id="1001")
            assert await rig.there() == set()
            await g.settled({A, B})

    run(body)


def test_strangers_on_a_terminal_are_told_and_deleted_only_when_asked():
    async def body(rig):
        await rig.sim.command("enrol", id="1001", name="guard")
        async with rig.gateway() as g:
            await g.put(A)
            await g.until(lambda: state(g, A, "stored"))
            await put_stranger(rig, "other-1")
            g.keeper().ask()
            await g.until(lambda: known(g))
            standing = g.keeper().standing
            assert (standing.foreign, standing.nameless) == (["other-1"], 1)
            await asyncio.sleep(0.6)
            assert "other-1" in await rig.there()
            g.keeper().ask(purge=True)
            await g.until(lambda: purged(rig))
            assert await rig.there() == {A, ""}, "who was enrolled at the terminal has no id to be deleted by"

    async def known(g):
        return g.keeper().standing.strangers

    async def purged(rig):
        return "other-1" not in await rig.there()

    run(body)


async def put_stranger(rig, name, who="1001"):
    """Another platform puts somebody on the terminal."""
    command = {
        "messageId": "x-1", "operator": "EditPersonsNew", "DataBegin": "BeginFlag", "DataEnd": "EndFlag",
        "PersonNum": 1, "info": [{"customId": name, "name": name, "picURI": "http://192.0.2.9/x.jpg"}],
    }  # fmt: skip
    async with rig.broker.client("other") as client:
        await client.publish(f"mqtt/face/{who}", json.dumps(command))
    async with asyncio.timeout(10):
        while name not in await rig.there(who):
            await asyncio.sleep(0.05)


def test_a_terminal_whose_batch_of_somebody_else_runs_is_left_alone_until_it_is_done():
    async def body(rig):
        async with rig.gateway() as g:
            await g.until(lambda: read(g))
            command = {
                "messageId": "x-1", "operator": "EditPersonsNew", "DataBegin": "BeginFlag", "DataEnd": "EndFlag",
                "PersonNum": 10,
                "info": [{"customId": f"o{n}", "picURI": f"http://192.0.2.9/{n}.jpg"} for n in range(10)],
            }  # fmt: skip
            async with rig.broker.client("other") as client:
                await client.publish("mqtt/face/1001", json.dumps(command))
                await g.put(A)
                await g.until(lambda: state(g, A, "stored"))
            refused = [e for e in rig.sim.events if e["event"] == "refused"]
            assert {e["code"] for e in refused} == {"410"}
            assert (await g.row(A))["tries"] == 0, "busy is nobody's failure"

    run(body, options={"batch_seconds": 0.3})


def test_commands_about_persons_keep_their_distance_and_a_batch_its_limits():
    """The terminal itself refuses a batch that is too long or badly counted; its document asks for a second between."""

    async def body(rig):
        async with rig.gateway() as g:
            await g.put(*(f"p-{n:04d}" for n in range(250)))
            await g.until(lambda: full(rig))
            times = [e["t"] for e in rig.sim.events if e["event"] == "asked" and "Person" in e["what"]]
            assert len(times) >= 3, "the list was asked for, and 250 persons need two commands"
            assert min(b - a for a, b in itertools.pairwise(times)) > 0.9
            assert [e for e in rig.sim.events if e["event"] == "refused"] == []

    async def full(rig):
        return len(await rig.there()) == 250

    run(body, quick=False)


def test_a_full_terminal_is_an_alarm_and_who_waits_takes_the_place_of_who_goes():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B, C)
            await g.until(lambda: failed(g, 1))
            (late,) = [p for p, s in (await g.states()).items() if s == "failed"]
            row = await g.row(late)
            assert (row["class"], row["code"]) == ("store_full", "474")
            assert [f.detail for f in g.told(Notice.DEVICE_FAULT)] == ["its person list is full: 474"]
            there = sorted(await rig.there())
            await g.delete(there[0])
            await g.settled({there[1], late})

    async def failed(g, count):
        return list((await g.states()).values()).count("failed") == count and len(await g.states()) == 3

    run(body, options={"capacity": 2})


def test_a_gateway_that_was_cut_off_assumes_nothing():
    """What was sent and not answered before the cut is read back, who changed meanwhile is seen to."""

    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B)
            await g.settled({A, B})
            await rig.fault(drop_acks=-1)
            await g.put(C)
            await g.until(lambda: state(g, C, "sent"))
            await g.until(lambda: there(rig, C))
        await rig.fault()
        await rig.sim.command("factory_default", id="1001")
        await asyncio.sleep(0.5)
        async with rig.gateway() as g:
            await g.settled({A, B, C})

    async def there(rig, person):
        return person in await rig.there()

    run(body)


def test_an_order_and_an_acknowledgement_do_not_wait_for_a_batch():
    async def body(rig):
        people = [f"p-{n:04d}" for n in range(100, 200)]
        async with rig.gateway() as g:
            await g.put(*people)
            await g.until(lambda: some(rig))
            began = time.monotonic()
            order = replace(open_order(), device="1001", deadline=g.clock.now().mono + 5)
            outcome = await g.driver.execute(order)
            took = time.monotonic() - began
            assert outcome == "executed"
            assert await state(g, people[-1], "sent") or await state(g, people[0], "sent"), "the batch is under way"
            assert took < 2

    async def some(rig):
        return len(await rig.there()) > 2

    run(body, options={"batch_seconds": 0.2})
