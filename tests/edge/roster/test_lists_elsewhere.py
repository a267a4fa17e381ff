"""Person lists on terminals of other dialects, and when the list itself is lost."""

import asyncio
import json
import time

import pytest

from lintel.edge.model import Notice
from tests.edge.roster.rig import URL, run, state

A, B = "p-0001", "p-0002"


@pytest.mark.parametrize("profile", ["yld", "luozhi", "mqtt-face-dean"])
def test_the_other_dialects_one_by_one_with_photos_that_they_fetch(profile):
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B, photos=False)
            await g.settled({A, B})
            await g.put(A, photos=False, mask="Zhao *")
            await g.until(lambda: named(rig))
            await g.settled({A, B})
            await g.delete(B)
            await g.settled({A})
            assert g.told(Notice.ERASE_FAILED) == []

    async def named(rig):
        people = (await rig.sim.command("persons", id="1001"))["persons"]
        return [p["name"] for p in people if p["customId"] == A] == ["Zhao *"]

    run(body, {"1001": profile}, photo_url=URL)


def test_a_terminal_without_a_list_whose_records_begin_anew_is_sent_everybody_again():
    """Somebody has reset it, or it is another one; its record numbers are all that tells."""

    async def body(rig):
        async with rig.gateway() as g, rig.broker.client("terminal") as client:
            await g.put(A, B, photos=False)
            await g.settled({A, B})
            await record(client, 500)
            everybody = {"client_id": "1001", "cmd_id": "x", "version": "0.2", "cmd": "delete_face", "type": 4}
            await client.publish("face.1001.request", json.dumps(everybody))
            await g.until(lambda: empty(rig))
            await asyncio.sleep(1.1)
            assert await rig.there() == set(), "nothing tells of it so far"
            await record(client, 1)
            await g.settled({A, B})

    async def record(client, number):
        body = {"sn": "1001", "per_id": "", "matched": 0, "sec": int(time.time()), "usec": 0, "sequence": number}
        await client.publish("face/response", json.dumps({"type": "face_result", "body": body}), qos=1)

    async def empty(rig):
        return await rig.there() == set()

    run(body, {"1001": "yld"}, photo_url=URL)


def test_a_terminal_that_keeps_no_validity_loses_a_person_at_its_end():
    async def body(rig):
        ahead = [0.0]
        async with rig.gateway(time=lambda: time.time() + ahead[0]) as g:
            await g.put(A, photos=False, valid_to=time.time() + 600)
            await g.put(B, photos=False, valid_from=time.time() + 900)
            await g.until(lambda: there(rig, {A}))
            assert g.keeper().keeping.enforces_validity is False
            ahead[0] = 601.0
            await g.until(lambda: there(rig, set()))
            ahead[0] = 901.0
            await g.until(lambda: there(rig, {B}))

    async def there(rig, want):
        return await rig.there() == want

    run(body, {"1001": "luozhi"}, photo_url=URL)


def test_without_photo_url_a_dialect_that_fetches_photos_says_what_is_missing():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A)
            await g.until(lambda: state(g, A, "failed"))
            assert (await g.row(A))["code"] == "no_photo_url"
            assert len(g.told(Notice.DEVICE_FAULT)) == 1

    run(body, {"1001": "yld"})


def test_a_list_that_was_lost_deletes_nobody():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B)
            await g.settled({A, B})

            def lose(conn):
                conn.execute("DELETE FROM credential")
                conn.execute("INSERT INTO state VALUES ('fault', '1')")

            await g.store.writer.submit(lose, now=True)
            g.store.allowlist.revision += 1
            await asyncio.sleep(1.0)
            assert await rig.there() == {A, B}
            assert "the allowlist was lost" in g.keeper().standing.why

    run(body)
