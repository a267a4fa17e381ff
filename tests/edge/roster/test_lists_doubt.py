"""Person lists while something is in doubt: the list of the terminal, the allowlist, the time, an answer."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from lintel.edge.model import Notice
from lintel.edge.persons import Busy, Consent, NotNow, Told, Verdict
from lintel.edge.store.roster import OVERDUE_S
from tests.edge.roster.rig import face, jpeg, run, state
from tests.edge.roster.test_lists import put_stranger

A, B, C, D = "p-0001", "p-0002", "p-0003", "p-0004"
WITHDRAWN = Consent.WITHDRAWN


def moved():
    """A wall clock that a test moves on: `ahead` seconds."""
    clock = SimpleNamespace(ahead=0.0)
    clock.time = lambda: time.time() + clock.ahead
    return clock


async def there(rig, *people):
    return await rig.there() == set(people)


async def alarms(g, count):
    return len(g.told(Notice.ERASE_FAILED)) == count


async def overdue(g, count):
    return g.keeper().standing.counts.overdue == count


async def seen(g):
    return g.keeper().standing.read_at is not None


def unreadable(g, monkeypatch):
    async def listed(_device):
        raise NotNow("the terminal's list can not be read, or is cut off")

    monkeypatch.setattr(g.driver, "listed", listed)


def test_f2_a_list_that_can_not_be_read_holds_no_deletion_up_and_is_an_alarm(monkeypatch):
    async def body(rig):
        clock = moved()
        async with rig.gateway(time=clock.time) as g:
            await g.put(A, B)
            await g.settled({A, B})
            unreadable(g, monkeypatch)
            await g.delete(A)
            g.keeper().ask()
            await g.until(lambda: there(rig, B))
            assert await state(g, A, "deleting"), "nobody has seen that it is gone"
            assert g.told(Notice.ERASE_DONE) == g.told(Notice.ERASE_FAILED) == []
            clock.ahead += OVERDUE_S
            await g.until(lambda: alarms(g, 1))
            assert "can not be read" in g.told(Notice.ERASE_FAILED)[0].detail
            monkeypatch.undo()
            g.keeper().ask()
            await g.settled({B})
            await g.until(lambda: overdue(g, 0))
            assert (len(g.told(Notice.ERASE_FAILED)), len(g.told(Notice.ERASE_DONE))) == (1, 1)

    run(body)


def test_f2_what_waits_too_long_for_a_terminal_that_is_away_is_one_alarm_and_no_restart_makes_it_young():
    async def body(rig):
        clock = moved()
        async with rig.gateway(time=clock.time) as g:
            await g.put(A, B, C)
            await g.settled({A, B, C})
            await rig.sim.command("disconnect", id="1001", will=True)
            await g.until(lambda: away(g))
            await g.put(A, consent=WITHDRAWN, photos=False)
            await g.delete(B)
            await g.until(lambda: leaving(g, 2))
            clock.ahead += OVERDUE_S - 10
            await asyncio.sleep(0.5)
            assert g.told(Notice.ERASE_FAILED) == []
        async with rig.gateway(time=clock.time) as g:
            await asyncio.sleep(0.5)
            assert g.told(Notice.ERASE_FAILED) == []
            clock.ahead += 15
            await g.until(lambda: alarms(g, 1))
            (alarm,) = g.told(Notice.ERASE_FAILED)
            assert (alarm.device, alarm.count) == ("1001", 2)
            assert alarm.detail.endswith(" s: off line")
            await g.delete(C)
            clock.ahead += OVERDUE_S
            await g.until(lambda: leaving(g, 3))
            await rig.sim.command("connect", id="1001")
            await g.settled(set())
            await g.until(lambda: overdue(g, 0))
            assert len(g.told(Notice.ERASE_FAILED)) == 1, "one for the terminal"

    async def away(g):
        return not g.driver.presence("1001").there

    async def leaving(g, count):
        return g.keeper().standing.counts.deleting == count and g.keeper().standing.counts.since is not None

    run(body)


def test_f3_who_withdrew_is_deleted_although_the_row_is_replaced_and_never_sent_again():
    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B)
            await g.settled({A, B})
            await rig.sim.command("disconnect", id="1001", will=True)
            await g.until(lambda: away(g))
            await g.put(A, consent=WITHDRAWN, photos=False)
            await g.store.allowlist.apply_import([face(rig.digest, B)], at=time.time(), replace=True)
            await g.store.allowlist.apply_import(
                [face(rig.digest, p, consent=Consent.GRANTED) for p in (A, B)], at=time.time(), replace=True
            )
            await rig.sim.command("connect", id="1001")
            await g.settled({B})
            await put_stranger(rig, A)
            g.keeper().ask()
            await g.until(lambda: there(rig, B))
            await g.put(A)
            await g.settled({A, B})

    async def away(g):
        return not g.driver.presence("1001").there

    run(body)


def test_f5_an_older_list_sends_nobody_and_deletes_only_who_was_revoked_erased_or_withdrew():
    """A snapshot took its place: whom it lacks may have come since, whom it has may have gone."""

    async def body(rig):
        async with rig.gateway() as g:
            await g.put(A, B, C, D)
            await g.settled({A, B, C, D})

            def restored(conn):
                conn.execute("INSERT INTO state VALUES ('restored', '1')")
                return conn.execute("DELETE FROM credential WHERE person = ?", (f"per_{B}",)).rowcount

            assert await g.store.writer.submit(restored, now=True) == 1
            g.store.allowlist.revision += 1
            await g.put("p-0005")
            await g.put(C, consent=WITHDRAWN, photos=False)
            await g.delete(D, why="revoked")
            await put_stranger(rig, "other-1")
            g.keeper().ask(purge=True)
            await g.until(lambda: there(rig, A, B, "other-1"))
            await g.until(lambda: known(g))
            await asyncio.sleep(0.5)
            assert await there(rig, A, B, "other-1")
            assert "older one" in g.keeper().standing.why
            rig.seq += 1
            puts = [face(rig.digest, p, rev=rig.seq, consent=Consent.GRANTED) for p in (A, "p-0005")]
            await g.store.allowlist.apply_checkpoint(puts, epoch=1, seq=rig.seq, synced_at=time.time(), full=True)
            await g.settled({A, "p-0005"})

    async def known(g):
        return g.keeper().standing.strangers == 1

    run(body)


def test_f23_while_the_time_is_not_known_nobody_is_deleted_or_sent_by_it():
    async def body(rig):
        clock, known = moved(), []
        async with rig.gateway(time=clock.time) as g:
            await g.put(A)
            await g.put(B, valid_to=time.time() + 600)
            await g.settled({A, B})
        clock.ahead = 700.0
        async with rig.gateway(time=clock.time, synced=lambda: bool(known)) as g:
            await g.put(C, valid_from=time.time() - 600)
            await g.put(D)
            await g.until(lambda: there(rig, A, B, D))
            await g.put(A, consent=WITHDRAWN, photos=False)
            await g.until(lambda: there(rig, B, D))
            await asyncio.sleep(0.5)
            assert await there(rig, B, D)
            assert "what time it is" in g.keeper().standing.why
            known.append(True)
            await g.settled({C, D})

    run(body)


@pytest.mark.parametrize("answer", ["refused", "busy"])
def test_who_was_refused_after_it_had_arrived_is_deleted_all_the_same(answer, monkeypatch):
    """A terminal that stores somebody and says no, or that it is busy."""

    async def body(rig):
        async with rig.gateway() as g:
            await g.until(lambda: seen(g))
            put = g.driver.put

            async def arrives(device, persons):
                await put(device, persons)
                if answer == "busy":
                    raise Busy("the terminal is busy: 410")
                return [Told(p.id, Verdict.RETRY_LATER, "465") for p in persons]

            monkeypatch.setattr(g.driver, "put", arrives)
            await g.put(A)
            await g.until(lambda: there(rig, A))
            await g.delete(A)
            await g.until(lambda: there(rig))
            await g.settled(set())

    run(body)


def test_a_face_that_was_imported_by_its_digest_is_ours_when_a_terminal_names_it():
    async def body(rig):
        async with rig.gateway() as g:
            await g.until(lambda: seen(g))
            await put_stranger(rig, A)
            await put_stranger(rig, "other-1")
            await g.put(A, face="", photos=False)
            await g.put(B, face="", photos=False, consent=Consent.NONE)
            g.keeper().ask()
            await g.until(lambda: state(g, A, "failed"))
            assert g.keeper().standing.foreign == ["other-1"]
            assert (await g.row(A))["code"] == "no_photo", "it is on it, and nobody here has a photo to send"
            await g.photos({A: jpeg(1)})
            await g.until(lambda: state(g, A, "stored"))
            await put_stranger(rig, B)
            g.keeper().ask()
            await g.until(lambda: there(rig, A, "other-1"))  # without consent it may not stay
            await g.delete(A)
            await g.until(lambda: there(rig, "other-1"))

    run(body)
