"""Controls: with one rule taken away, what its row forbids happens. They show that the rows' tests can fail."""

import asyncio
import itertools
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lintel.edge import frames
from lintel.edge.digests import credential_bytes
from lintel.edge.model import Method, Status
from lintel.edge.passes import rotating
from lintel.edge.policy import decide
from lintel.edge.store import PassPut
from lintel.edge.store.apply import Applier
from lintel.edge.store.database import open_database
from tests.edge.rig import T0, run
from tests.edge.store.helpers import KEY, card
from tests.edge.test_policy import built, make


def test_a2_control_without_the_bound_an_endless_code_is_kept_whole():
    bounded, endless = frames.Delimited(), frames.Delimited(max_length=1 << 30)
    for framer in (bounded, endless):
        framer.feed(b"x" * 65536, 0.0)
    assert max((len(f.data) for f in bounded.feed(b"\r", 0.0) if isinstance(f, frames.Frame)), default=0) <= 512
    assert [len(f.data) for f in endless.feed(b"\r", 0.0)] == [65536]


@pytest.mark.parametrize("raw", [b"A\xc0\xafB", b"A\xed\xa0\x80B", b"A\xe2\x80\xaeB"])
def test_a3_control_decoding_before_the_check_makes_a_credential_of_it(raw):
    with pytest.raises(ValueError, match="letters, digits"):
        credential_bytes(Method.QR, raw)
    assert credential_bytes(Method.QR, raw.decode("ascii", "ignore")) == b"AB"


def test_a6_control_without_the_memory_of_steps_a_screenshot_opens(tmp_path):
    secret = bytes(range(32, 64))

    async def body(rig):
        async def forgetful(use, granted, refused, **options):
            await rig.store.journal.append(granted, now=True)
            return True

        await rig.store.allowlist.apply_checkpoint(
            [PassPut(9, ("public",), secret=secret)], epoch=1, seq=1, synced_at=T0
        )
        rig.store.allowlist.consume = lambda *args, **options: asyncio.ensure_future(forgetful(*args, **options))
        code = rotating(secret, 9, T0)
        assert await rig.present(code, method=Method.PASS) == "granted"
        assert await rig.present(code, method=Method.PASS, door="back") == "granted", "the screenshot"

    run(body, tmp_path)


def test_a10_control_facts_that_are_remembered_outlive_a_revocation(tmp_path):
    async def body(rig):
        await rig.allow("alice", rev=7)
        fresh, kept = rig.gate.witness, {}
        find = lambda reading, door, now: kept.setdefault(reading.digest, fresh.find(reading, door, now))  # noqa: E731
        rig.gate.witness = SimpleNamespace(find=find, spent=fresh.spent)
        assert await rig.present("alice") == "granted"
        await rig.allow("alice", seq=2, rev=8, status=Status.REVOKED)
        assert await rig.present("alice") == "granted", "from memory"
        rig.gate.witness = fresh
        assert await rig.present("alice") == "revoked"

    run(body, tmp_path)


def test_a11_control_where_the_last_to_arrive_wins_a_revocation_is_lost(tmp_path):
    changes = (card(1, rev=7), card(1, rev=8, status=Status.REVOKED))
    ends = {"by revision": set(), "by arrival": set()}
    for n, order in enumerate(itertools.permutations(changes)):
        for how, revised in (
            ("by revision", order),
            ("by arrival", [replace(c, rev=r) for r, c in enumerate(order, 1)]),
        ):
            base = open_database(tmp_path / f"{how} {n}.db", KEY, check=False)
            conn = base.connect()
            for change in revised:
                Applier(conn, 1.0).apply([change], full=False)
            ends[how].add(list(Status)[conn.execute("SELECT status FROM credential").fetchone()[0]])
            conn.close()
            base.close()
    assert ends["by revision"] == {Status.REVOKED}
    assert ends["by arrival"] == {Status.REVOKED, Status.ACTIVE}


@pytest.mark.parametrize("added", ["blocked", "lockdown", "revoked", "storage_fault"])
def test_g8_control_a_policy_without_the_rule_opens_what_the_rule_refuses(added):
    """The cases of the property are no empty ones: without the rule many of them open."""

    def refused(facts):
        if added == "revoked":
            return replace(facts, credential=facts.credential and replace(facts.credential, status=Status.REVOKED))
        return replace(facts, **{added: True})

    def lenient(facts):
        if added == "revoked" and facts.credential and facts.credential.status is Status.REVOKED:
            return replace(facts, credential=replace(facts.credential, status=Status.ACTIVE))
        return replace(facts, **({} if added == "revoked" else {added: False}))

    opened = 0
    for seed in range(4000):
        reading, facts, door, now = built(make(random.Random(seed)))
        opened += decide(reading, lenient(refused(facts)), door, now).opens
    assert opened > 20


def test_g9_control_without_the_transaction_half_a_checkpoint_stays(tmp_path):
    base = open_database(tmp_path / "p.db", KEY, check=False)
    conn = base.connect()
    for begin in (True, False):
        if begin:
            conn.execute("BEGIN")
        with pytest.raises(Exception, match="cannot store TEXT"):
            Applier(conn, 1.0).apply([card(1), card(2, valid_from="soon")], full=False)
        if begin:
            conn.execute("ROLLBACK")
        assert conn.execute("SELECT count(*) FROM credential").fetchone()[0] == (0 if begin else 1)
    conn.close()
    base.close()
