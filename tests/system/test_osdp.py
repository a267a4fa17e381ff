"""OSDP in the whole daemon: a person has a reader of libosdp keyed, it opens its door, nobody talks it down."""

import asyncio
import time

from lintel.edge.digests import Digester
from lintel.edge.model import Method, PersonKind
from lintel.edge.store import CredentialPut, Store, derive, state_key, state_lock
from lintel.simulators.osdp_bus import Bus
from lintel.simulators.osdp_wire import Ask, Say, parse
from tests.abuse.osdp_stage import MEETING, Ear
from tests.abuse.test_osdp_attacks import no_encryption
from tests.edge.drivers.contract import until
from tests.osdp_peers import libosdp_pd

from .site import Site, device

BITS, CARD = "bdd93740", "26:123:45678"


async def give_card(site):
    """res1 gets a card."""
    with state_lock(site.state):
        key = state_key(site.state)
        store = Store.open(site.state, key)
        try:
            digest = Digester(derive(key, "digest"))(Method.CARD, CARD)
            put = CredentialPut(digest, "res1", PersonKind.OWNER, Method.CARD, ("public",))
            await store.allowlist.apply_checkpoint([put], epoch=1, seq=2, synced_at=time.time())
        finally:
            await store.close()


async def emptied(pd, ear):
    """Wait until the reader is in a session and had nothing to tell: what it kept from before would be stale."""
    await pd.event("state", 20, secure=True)
    seen = len(ear.log)

    def empty(from_panel, raw):
        f = parse(raw)
        return not from_panel and f.code == Say.ACK and f.block == b"\x16"

    await until(lambda: sum(empty(*each) for each in ear.log[seen:]) >= 3, 20)


def test_b1_a_wall_reader_is_keyed_opens_and_cannot_be_talked_down_across_a_kill(tmp_path):
    async def work():
        bus, ear = Bus(tmp_path / "bus", 9600), Ear()
        bus.tap = ear
        bus.plug()
        bus.drop(tmp_path / "theirs")
        lines = ["[[line]]", 'id = "bus"', 'driver = "osdp"', f'path = "{tmp_path / "bus"}"', "[[door]]", 'id = "wall"']
        lines += ['groups = ["public"]', 'lock = "wall-osdp"', "open_s = 0.5"]
        lines += device("wall-osdp", "bus", "osdp-generic-relay", "wall", "5")
        reader = libosdp_pd(
            tmp_path / "theirs", {"id": "wall", "address": 5, "key": None, "install": True, "enforce": False}
        )
        site = Site(devices=False, extra="\n".join(lines), before=give_card)
        try:
            async with reader as pd, site:
                await site.seen(reason="install_window_closed")
                assert Ask.KEYSET not in ear.commands()
                answer = await site.ask("device.install", device="wall-osdp", seconds=60)
                assert answer["outcome"] == "executed"
                await site.seen(reason="key_set")
                await emptied(pd, ear)
                await pd.command("card", data=BITS, bits=26)
                assert await site.decision("wall") == "granted"
                while (order := await pd.event("command", 10))["name"] != "output":
                    pass  # its key, its lights
                assert order["fields"]["control_code"] == 5

                await site.kill()
                ear.log.clear()
                ear.edit = no_encryption
                await site.start()
                await site.seen(reason="link_downgrade")
                await asyncio.sleep(1.5)
                assert set(ear.commands()) <= MEETING
                ear.edit = None
                await emptied(pd, ear)
                await pd.command("card", data=BITS, bits=26)
                assert await site.decision("wall") == "granted"
                assert await site.stop() == 0
                assert {e.reason for e in site.decisions()} == {"granted"}  # the kill may have taken the first one
                assert not any(bytes.fromhex(BITS) in raw for _, raw in ear.log)
        finally:
            bus.close()

    asyncio.run(work())
