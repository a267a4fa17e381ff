"""The five published attacks on OSDP ("Badge of Shame", Bishop Fox 2023), played on the wire against the real driver.

Each has its control: the same attack on a panel that falls for it, libosdp's, shows that the attack is one.
"""

import asyncio
from functools import partial

from lintel.edge.model import Notice
from lintel.simulators.osdp_bus import Bus, Station
from lintel.simulators.osdp_pd import Lie, Peripheral, Settings
from lintel.simulators.osdp_wire import DEFAULT_KEY, Ask, Nak, Say, parse
from lintel.simulators.osdp_wire import build as frame
from tests.edge.drivers.contract import until
from tests.osdp_peers import libosdp_cp

from .osdp_stage import CARD, KEY, KNOWN, LIMIT, MEETING, WEAK, Ear, Wire, arm, card, house, in_session, usable
from .stage import decided, told


def run(work):
    async def stage():
        async with asyncio.timeout(60):
            await work()

    asyncio.run(stage())


def side_by_side(tmp_path, variants, work):
    """`work(variant, folder)` for all at once: they wait most of the time, each at a house of its own."""

    async def stage():
        folders = [tmp_path / str(n) for n in range(len(variants))]
        for folder in folders:
            folder.mkdir(mode=0o700)
        done = await asyncio.gather(*map(work, variants, folders), return_exceptions=True)
        if wrong := {str(v): error for v, error in zip(variants, done, strict=True) if error is not None}:
            raise ExceptionGroup(f"wrong for {', '.join(wrong)}", list(wrong.values()))

    run(stage)


def victim(tmp_path, settings, edit=None, **panel):
    """libosdp's panel at the same reader, with an ear on the wire from its start; `work(panel, reader, ear)`."""

    def play(work):
        async def stage():
            bus, ear = Bus(tmp_path / "theirs", 0), Ear()
            bus.tap = ear
            pd = Peripheral(settings)
            ear.edit = edit and partial(edit, pd)
            Station(bus, pd)
            bus.plug()
            try:
                async with asyncio.timeout(40):
                    async with libosdp_cp(tmp_path / "theirs", {"address": 0, "enforce": False} | panel) as cp:
                        await work(cp, pd, ear)
            finally:
                bus.close()

        asyncio.run(stage())

    return play


def no_encryption(from_panel, raw):
    """PDCAP, edited in flight: function 9 says that the reader has no encryption."""
    f = parse(raw)
    if from_panel or f.code != Say.PDCAP or f.block:
        return raw
    table = [f.data[at : at + 3] for at in range(0, len(f.data), 3)]
    table = [b"\x09\0\0" if row[0] == 9 else row for row in table]
    return frame(0x80 | f.address, f.sequence, f.code, b"".join(table))


def refuses_its_key(from_panel, raw):
    """CCRYPT, replaced: the reader seems to have lost its key."""
    f = parse(raw)
    if from_panel or f.block[:2] != b"\x12\x01":
        return raw
    return frame(0x80 | f.address, f.sequence, Say.NAK, bytes((Nak.UNSUPPORTED,)))


# ---- 1 no encryption


def test_attack_1_what_comes_in_the_clear_opens_nothing(tmp_path):
    """A reader that nobody gave a key: it is asked who it is, and its cards are written down as not to be trusted."""

    async def work():
        wire = Wire(tmp_path, key=None, enforce=False)
        async with house(tmp_path, wire, keyed=False) as (rig, driver):
            wire.card()
            (decision,) = await decided(rig, 1)
            assert decision.reason == "device_untrusted"
            assert await told(rig, Notice.INSTALL_WINDOW_CLOSED)
            assert rig.lock.orders == []
            assert not usable(driver)
        wire.bus.close()

    run(work)


def test_attack_1_with_a_key_nothing_of_a_card_is_on_the_wire(tmp_path):
    async def work():
        wire = Wire(tmp_path)
        async with house(tmp_path, wire) as (rig, driver):
            await in_session(driver)
            wire.card()
            (decision,) = await decided(rig, 1)
            assert decision.reason == "granted"
            assert len(rig.lock.orders) == 1
        assert not any(CARD[4:] in raw for _, raw in wire.ear.log)
        assert set(wire.ear.commands(clear=True)) <= MEETING
        assert wire.ear.read([*WEAK, DEFAULT_KEY]) == []
        assert (KEY, Say.RAW, CARD) in wire.ear.read([KEY]), "the control: with the key the ear reads it"
        wire.bus.close()

    run(work)


def test_attack_1_control_a_panel_that_allows_it_takes_the_card_and_so_does_the_ear(tmp_path):
    @victim(tmp_path, Settings(0, None, enforce=False))
    async def _(panel, reader, ear):
        await panel.event("state", 10, online=True)
        reader.queue.append((Say.RAW, CARD, lambda: None))
        assert (await panel.event("card", 10))["data"] == CARD[4:].hex()
        assert any(CARD[4:] in raw for _, raw in ear.log)


# ---- 2 downgrade


def test_attack_2_a_reader_that_says_it_cannot_encrypt_is_refused(tmp_path):
    """The capabilities are edited in flight; the reader would gladly talk in the clear."""

    async def work():
        wire = Wire(tmp_path, enforce=False)
        wire.ear.edit = no_encryption
        async with house(tmp_path, wire) as (rig, driver):
            wire.card()
            assert await told(rig, Notice.LINK_DOWNGRADE)
            await asyncio.sleep(1.2)  # time to give in
            assert set(wire.ear.commands()) <= {Ask.ID, Ask.CAP, Ask.CHLNG}
            assert rig.decisions() == []
            assert not usable(driver)
            wire.ear.edit = None
            await in_session(driver)  # and it is none the worse for it
            assert (await decided(rig, 1))[0].reason == "stale_reading"  # shown long before: nobody stands there
            wire.card(data=card(KNOWN[1]))
            assert (await decided(rig, 2))[-1].reason == "granted"
        assert not any(CARD[4:] in raw for _, raw in wire.ear.log)
        wire.bus.close()

    run(work)


def test_attack_2_control_a_panel_without_the_rule_talks_in_the_clear(tmp_path):
    @victim(tmp_path, Settings(0, KEY, enforce=False), lambda _, *frame: no_encryption(*frame), key=KEY.hex())
    async def _(panel, reader, ear):
        await panel.event("state", 15, online=True, secure=False)
        reader.queue.append((Say.RAW, CARD, lambda: None))
        assert (await panel.event("card", 10))["data"] == CARD[4:].hex()
        assert any(CARD[4:] in raw for _, raw in ear.log)


# ---- 3 install mode


def test_attack_3_a_reader_in_install_mode_is_given_no_key(tmp_path):
    """The attacker hangs up a reader of his own that waits for a key, in the place of one that had one."""

    async def work():
        wire = Wire(tmp_path, key=None, install=True, enforce=False)
        async with house(tmp_path, wire) as (rig, driver):
            assert await told(rig, Notice.READER_KEY_LOST)
            await asyncio.sleep(1.2)
            assert Ask.KEYSET not in wire.ear.commands()
            assert not any(wire.ear.challenges()), "never with the default key"
            assert wire.ear.read([DEFAULT_KEY]) == []
            assert wire.pd.settings.key is None
            assert not usable(driver)
        wire.bus.close()

    run(work)


def test_attack_3_control_a_panel_that_keys_by_itself_hands_its_key_over(tmp_path):
    @victim(tmp_path, Settings(0, None, install=True), key=KEY.hex())
    async def _(panel, reader, ear):
        await until(lambda: reader.settings.key is not None, LIMIT)
        assert reader.settings.key == KEY
        keysets = [data for key, code, data in ear.read([DEFAULT_KEY]) if code == Ask.KEYSET]
        assert keysets[0] == b"\x01\x10" + KEY, "the ear has it too"


# ---- 4 weak keys


def test_attack_4_the_keys_that_are_made_here_cannot_be_guessed(tmp_path):
    async def work():
        wire = Wire(tmp_path, key=None, install=True)
        async with house(tmp_path, wire, keyed=False) as (rig, driver):
            await told(rig, Notice.INSTALL_WINDOW_CLOSED)
            await arm(driver)
            await told(rig, Notice.KEY_SET)
            await in_session(driver)
            made = wire.pd.settings.key
            assert made not in WEAK
            wire.ear.log.clear()
            wire.pd.forget()
            await until(lambda: wire.pd.secure and wire.ear.challenges(), LIMIT)
            await in_session(driver)
            wire.card()
            assert (await decided(rig, 1))[-1].reason == "granted"
        assert wire.ear.read([*WEAK, DEFAULT_KEY]) == []
        assert (made, Say.RAW, CARD) in wire.ear.read([made])
        wire.bus.close()

    run(work)


def test_attack_4_a_key_that_can_be_guessed_is_neither_set_nor_used(tmp_path):
    async def work(weak, folder):
        wire = Wire(folder, key=None, install=True)
        async with house(folder, wire, keyed=False, make_key=lambda n: weak) as (rig, driver):
            await told(rig, Notice.INSTALL_WINDOW_CLOSED)
            await arm(driver)
            assert await told(rig, Notice.WEAK_KEY)
            assert Ask.KEYSET not in [code for _, code, _ in wire.ear.read([DEFAULT_KEY])]
            assert wire.pd.settings.key is None
        wire.pd.settings.key, wire.pd.settings.install = weak, False
        async with house(folder, wire, keyed=False) as (rig, driver):
            await rig.store.keys.put("r0", {"osdp.key": weak})  # by another program, long ago
        wire.ear.log.clear()
        async with house(folder, wire, keyed=False) as (rig, driver):
            await until(lambda: wire.ear.commands().count(Ask.CAP) >= 2, LIMIT)
            assert wire.ear.challenges() == []
            assert not usable(driver)
        wire.bus.close()

    variants = [bytes(range(16)), b"\x30" * 16, DEFAULT_KEY, bytes(range(0xFF, 0xEF, -1))]
    side_by_side(tmp_path, variants, work)


def test_attack_4_control_a_session_on_a_sample_key_is_read_by_all(tmp_path):
    sample = bytes(range(16))

    @victim(tmp_path, Settings(0, sample), key=sample.hex())
    async def _(panel, reader, ear):
        await panel.event("state", 10, secure=True)
        reader.queue.append((Say.RAW, CARD, lambda: None))
        await panel.event("card", 10)
        assert (sample, Say.RAW, CARD) in ear.read(WEAK)


# ---- 5 key capture


def test_attack_5_nobody_on_the_wire_can_provoke_a_key(tmp_path):
    """The attacker makes it look as if the reader had lost its key and waits for a new one with his ear on the wire."""

    async def work():
        wire = Wire(tmp_path)
        async with house(tmp_path, wire) as (rig, driver):
            await in_session(driver)
            wire.ear.edit = refuses_its_key
            wire.pd.forget()
            assert await told(rig, Notice.READER_KEY_LOST)
            await asyncio.sleep(1.2)
            assert Ask.KEYSET not in wire.ear.commands()
            assert not any(wire.ear.challenges())
            wire.ear.edit = None
            await in_session(driver)
        assert wire.pd.settings.key == KEY
        wire.bus.close()

    run(work)


def test_attack_5_a_new_key_of_a_reader_that_has_one_is_not_on_the_wire(tmp_path):
    """The window is armed: the new key goes through the channel of the old one, and the printed key reads nothing."""

    async def work():
        wire = Wire(tmp_path)
        async with house(tmp_path, wire) as (rig, driver):
            await in_session(driver)
            await arm(driver)
            await told(rig, Notice.KEY_SET)
            await in_session(driver)
            made = wire.pd.settings.key
            assert made != KEY
            assert wire.ear.read([DEFAULT_KEY, *WEAK]) == []
            assert not any(made in raw for _, raw in wire.ear.log)
            assert any(code == Ask.KEYSET and made in data for _, code, data in wire.ear.read([KEY])), "control"
        wire.bus.close()

    run(work)


def test_attack_5_control_the_first_key_is_heard_by_who_listens_in_the_window(tmp_path):
    """What the standard leaves open, and why a window needs a person and ends after ten minutes at most."""

    async def work():
        wire = Wire(tmp_path, key=None, install=True)
        async with house(tmp_path, wire, keyed=False) as (rig, driver):
            await told(rig, Notice.INSTALL_WINDOW_CLOSED)
            await arm(driver)
            await told(rig, Notice.KEY_SET)
            made = wire.pd.settings.key
            assert any(code == Ask.KEYSET and made in data for _, code, data in wire.ear.read([DEFAULT_KEY]))
        wire.bus.close()

    run(work)


def test_attack_5_control_a_panel_is_provoked_by_one_lost_answer(tmp_path):
    """libosdp's panel takes a refused key for a lost one, and sends its key under the printed one."""

    def edit(reader, from_panel, raw):
        answer = refuses_its_key(from_panel, raw)
        if answer != raw:
            reader.lies.add(Lie.DEFAULT_KEY)  # from here on the attacker answers in the reader's place
        return answer

    @victim(tmp_path, Settings(0, KEY), edit, key=KEY.hex())
    async def _(panel, reader, ear):
        await until(lambda: [d for _, c, d in ear.read([DEFAULT_KEY]) if c == Ask.KEYSET], LIMIT)
        assert ear.read([DEFAULT_KEY])[0][2] == b"\x01\x10" + KEY
