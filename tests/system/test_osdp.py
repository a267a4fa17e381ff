"""OSDP end to end: the daemon as a process, a reader of another author in its own, keys in the encrypted store."""

import asyncio
import time

from lintel.edge.digests import Digester
from lintel.edge.model import Method, PersonKind
from lintel.edge.store import CredentialPut, Store, derive, state_key, state_lock
from tests.osdp_peers import osdp_reader

from .site import LIMIT, Site, device

BUS = """
[[line]]
id = "bus"
driver = "osdp"
path = "{path}"
baud = 38400

[[door]]
id = "yard"
groups = ["public"]
lock = "yard-reader"
open_s = 1.0
"""
CARD, PIN = "26:12:3456", "7431098"


class Yard(Site):
    """A site with one more door: its reader is its lock."""

    def __init__(self) -> None:
        super().__init__(devices=False)
        self.reader = osdp_reader(self.folder / "bus", baud=38400, address=5, install="true")
        self.extra = "\n".join(
            [
                BUS.format(path=self.folder / "bus"),
                *device("yard-reader", "bus", "osdp-generic-relay", "yard", "5"),
            ]
        )

    async def fill(self):
        await super().fill()
        with state_lock(self.state):
            key = state_key(self.state)
            digest = Digester(derive(key, "digest"))
            store = Store.open(self.state, key)
            try:
                puts = [
                    CredentialPut(digest(method, value), "yard-1", PersonKind.OWNER, method, ("public",), rev=1)
                    for method, value in ((Method.CARD, CARD), (Method.PIN, PIN))
                ]
                await store.allowlist.apply_checkpoint(puts, epoch=1, seq=2, synced_at=time.time())
            finally:
                await store.close()

    async def card(self) -> str:
        await self.reader.command("card", facility=12, number=3456)
        return await self.decision("yard")


def test_a_key_is_set_at_the_box_and_then_a_card_opens_also_after_a_restart():
    async def stage():
        site = Yard()
        async with site.reader, site:
            await site.up(lines=["broker", "bus"])
            await site.seen(reason="install_window_closed", device="yard-reader")
            answer = await site.ask("device.install", device="yard-reader", seconds=60, secret="")
            assert answer["outcome"] == "executed"
            await site.seen(reason="key_set", device="yard-reader")
            assert (await site.reader.event("key_set", LIMIT))["event"] == "key_set"
            assert await site.card() == "granted"
            opened = await site.reader.event("output", LIMIT)
            assert (opened["output"], opened["control"], opened["seconds"]) == (0, 5, 1.0)
            await site.reader.command("keypad", keys=PIN + "#")
            assert await site.decision("yard") == "granted"
            await site.reader.command("card", facility=12, number=3457)
            assert await site.decision("yard") == "unknown_credential"

            assert await site.stop() == 0
            await site.start(up=False)
            await site.up(lines=["broker", "bus"])
            await asyncio.sleep(2.0)  # the same card again is no held card
            assert await site.card() == "granted"

            await site.reader.command("lie", what="no_encryption")
            await site.reader.command("power_off")
            await site.reader.command("power_on")
            await site.seen(reason="link_downgrade", device="yard-reader")
            log = site.log()
            assert await site.stop() == 0
            for secret in (CARD, PIN, "3456"):
                assert secret not in log
            decided = [(e.reason, e.method) for e in site.decisions()]
            assert decided == [
                ("granted", "card"), ("granted", "pin"), ("unknown_credential", "card"), ("granted", "card"),
            ]  # fmt: skip

    async def limited():
        async with asyncio.timeout(3 * LIMIT):
            await stage()

    asyncio.run(limited())
