"""What only an OSDP bus has: a card opens a relay, a channel that must be secure, readers that come and go."""

from lintel.edge.model import Action, Method, Outcome
from tests.edge.drivers.contract import DIGEST, until
from tests.edge.drivers.osdp_rig import on_bus, order


def test_a_card_and_an_order(tmp_path):
    async def scene(rig, driver, inlet):
        value = rig.card(4711)
        await until(lambda: inlet.readings)
        assert [r.digest for r in inlet.readings] == [DIGEST(Method.CARD, value)]
        assert await driver.execute(order(Action.OPEN)) is Outcome.EXECUTED
        assert rig.outputs() == [(0, 5)]
        assert not inlet.facts

    on_bus(tmp_path, scene)
