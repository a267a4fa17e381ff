"""Keeps the person list of one terminal: reads it back, deletes who is not wanted, sends who is missing. For ever.

    read back     at the start, when the terminal came on line or began its records anew, after a command without an
                  answer, after deletions, daily, and when an operator asks
    delete        before anything is sent: who lost the right, the consent, or whose time is over. It waits for nothing,
                  also not for a list that can not be read; what waits longer than a minute is an alarm
    send          a batch at a time, written down before it goes out; its answer is written down person by person

A pass begins within a second of a change of the allowlist, and on time for what time alone changes (a validity, a
retry).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from lintel.edge.clock import Clock
from lintel.edge.errors import StoreError
from lintel.edge.model import ClockState, Fact, Instant, Notice
from lintel.edge.persons import Busy, Keeping, KeepsPersons, NotNow, Presence, State, Told, Verdict
from lintel.edge.roster import rules
from lintel.edge.roster.loud import Loud
from lintel.edge.roster.parcel import pack
from lintel.edge.roster.standing import Standing, Tally
from lintel.edge.store import Store
from lintel.edge.store.roster import BEGIN, CLEAR, Entry, Place, Sight, Turn, Wanted
from lintel.edge.store.uses import split_digest

log = logging.getLogger(__name__)

TICK: Final = 1.0
"""How often a quiet list looks whether there is something to do (s): two comparisons."""
MOST: Final = 200
"""Persons of one command: an answer within seconds, and a deletion waits behind no more."""
DAY_S: Final = 86_400.0
LEAD_S: Final = 86_400.0
"""How long before its validity begins a person is sent to a terminal that keeps validities."""
BUSY_S, LONGEST_BUSY_S = 1.0, 30.0
SELDOM_S: Final = 30.0
"""How often a list is looked at for what time alone changes, while little can be done about it."""
RECOUNT_S: Final = 10.0
"""How often it is counted anew during a pass, which may last for hours, when the allowlist changed meanwhile."""
_MOST_FOREIGN = 1000
_LOST = "the allowlist was lost: nobody is sent or deleted before a whole one is here"
_OLD = "the allowlist is an older one: nobody is sent before a whole one is here, and only who was revoked is deleted"
_BLIND = "it is not known what time it is: nobody with a validity is sent, and nobody is deleted by it"


class ListKeeper:
    """One terminal's list. `digest`: of an id on a terminal, as the gate makes it of a face that is presented."""

    def __init__(
        self,
        device: str,
        groups: Sequence[str],
        *,
        driver: KeepsPersons,
        keeping: Keeping,
        store: Store,
        clock: Clock,
        report: Callable[[Fact], None],
        digest: Callable[[str], bytes],
    ) -> None:
        lead = LEAD_S if keeping.enforces_validity else 0.0
        self.place = Place(device, tuple(groups), keeping.enforces_validity, lead)
        self.device, self.keeping = device, keeping
        self.standing = Standing()
        self._tally = Tally(self.place, store, report, self.standing)
        self._driver, self._store, self._clock, self._report, self._digest = driver, store, clock, report, digest
        self._wake = asyncio.Event()
        self._sight = CLEAR
        self._revision = (-1, -1, CLEAR)
        self._turn: tuple[int, int] | None = None
        self._read_due = True
        self._read_mono = float("-inf")
        self._loud = Loud()
        self._doubt = self._purge = self._retry = False
        self._drop_after = self._put_after = BEGIN
        self._dirty, self._working, self._unproven = True, False, False
        self._counted = (-1, -1, CLEAR)
        self._passed = float("-inf")
        self._told: set[str] = set()

    def ask(self, *, full: bool = False, purge: bool = False) -> None:
        """An operator wants the list read and mended now, what failed included.

        `full`: everybody is sent again. `purge`: strangers go.
        """
        self._read_due = self._dirty = self._retry = True
        self._doubt, self._purge = self._doubt or full, self._purge or purge
        self._wake.set()

    async def count(self) -> None:
        """Count anew. Raises StoreError."""
        self._counted = self._revision
        await self._tally.count(self._clock.now(), self._sight)

    async def people(self, *, name: str, only_failed: bool, limit: int) -> list[dict[str, object]]:
        """The state of each person, as an operator sees it. Raises StoreError."""
        return await self._store.roster.persons(
            self.place, self._clock.now().wall, self._sight, name=name, only_failed=only_failed, limit=limit
        )

    async def run(self) -> None:
        """For ever; what fails is tried again, and fails nobody else."""
        pause = BUSY_S
        while True:
            try:
                working = await self.step()
                pause, wait = BUSY_S, 0.0 if working else TICK
            except NotNow as error:
                self.standing.why, wait = str(error), pause
                pause = min(LONGEST_BUSY_S, pause * 2)
                with contextlib.suppress(StoreError):
                    await self.count()
            except StoreError as error:
                self.standing.why, wait = str(error), 5.0
            except Exception:  # a bug in one list must not end the gateway
                log.exception("%s: its person list failed unexpectedly", self.device)
                self.standing.why, wait = "internal_error", LONGEST_BUSY_S
            await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        if seconds:
            try:
                await asyncio.wait_for(self._wake.wait(), seconds)
            except TimeoutError:
                return
            self._wake.clear()
        else:
            await asyncio.sleep(0)

    async def step(self) -> bool:
        """Do the next thing; False: there is nothing to do for now. Raises NotNow and StoreError."""
        presence, site, now = self._driver.presence(self.device), self._store.allowlist.site(), self._clock.now()
        self._sight = Sight(blind=now.state is ClockState.UNKNOWN, old=site.restored)
        self._heed(presence)
        if site.fault:
            self.standing.why = _LOST
            return False
        await self._watch(now, there=presence.there)
        if not presence.there:
            return False
        if self._doubt:
            await self._store.roster.doubt(self.device)
            self._doubt, self._dirty = False, True
        if self._retry:
            await self._store.roster.retry(self.device)
            self._retry = False
        if self._read_due or now.mono - self._read_mono >= DAY_S:
            try:
                await self._read_back()
            except NotNow:  # who is to be deleted is known all the same
                self._drop_after = BEGIN
                while await self._drop():
                    pass
                raise
        self.standing.why = _OLD if self._sight.old else _BLIND if self._sight.blind else ""
        if not self._working:
            if not self._dirty and not self._timely(now):
                return False
            self._dirty, self._working, self._passed = False, True, now.mono
            self._drop_after = self._put_after = BEGIN
        return await self._drop() or await self._put() or await self._done()

    def _heed(self, presence: Presence) -> None:
        """What the terminal, the allowlist or the clock did since the last step."""
        turn = (presence.turn, presence.wiped)
        if self._turn != turn:
            wiped = self._turn is not None and self._turn[1] != presence.wiped
            self._doubt = self._doubt or (wiped and not self.keeping.lists)
            self._turn, self._read_due, self._dirty = turn, True, True
        revision = (self._store.allowlist.revision, self._store.faces.turn, self._sight)
        if self._revision != revision:
            self._read_due = self._read_due or (self._purge and not self._sight.old)
            self._revision, self._dirty, self._drop_after = revision, True, BEGIN

    def _timely(self, now: Instant) -> bool:
        """Whether time alone has changed something; where little can be done about it, not every time."""
        due = self.standing.counts.next
        return due is not None and due <= now.wall and (self._sight == CLEAR or now.mono >= self._passed + SELDOM_S)

    async def _watch(self, now: Instant, *, there: bool) -> None:
        """Who waits for a deletion waits for it off line as well, and behind a long pass."""
        changed = self._counted != self._revision
        age = now.mono - self._tally.at
        waits = self._working or not there  # else a pass begins at once, and counts
        soon = RECOUNT_S if there else 0.0
        news = waits and ((changed and age >= soon) or (age >= SELDOM_S and self._timely(now)))
        if self._tally.grown(now) or news:
            await self.count()
        if not there:
            self.standing.why = "off line"
        self._tally.tell(now)

    async def _done(self) -> bool:
        """Nobody is left to delete or send: prove the deletions, then the pass is over. Whether there is more to do."""
        if self._unproven:
            self._unproven, self._read_due = False, True
            return True
        self._working = False
        await self.count()
        return self._dirty

    # ---- reading back

    async def _read_back(self) -> None:
        now = self._clock.now()
        if not self.keeping.lists:
            await self._unread()
            return
        listed = await self._driver.listed(self.device)
        rows = await self._store.roster.entries(self.device)
        self._loud.begin(rows, now)
        ours = await self._ours(listed.ids - {row.name for row in rows})
        settled = await asyncio.to_thread(
            rules.settle, rows, listed, ours, loud=self._loud.keys(now), until=self._loud.end(now), now=now.wall
        )
        await self._store.roster.turn(self.device, settled.turns)
        await self._store.roster.enter(self.device, ((key, name, State.PENDING) for key, name in settled.found))
        purge = self._purge and not self._sight.old
        if purge:
            foreign = [(split_digest(self._digest(name))[0], name, State.DELETING) for name in settled.foreign]
            await self._store.roster.enter(self.device, foreign)
        self._read_due, self._purge, self._read_mono = False, self._purge and not purge, now.mono
        standing = self.standing
        standing.foreign, standing.strangers = settled.foreign[:_MOST_FOREIGN], len(settled.foreign)
        standing.nameless, standing.read_at = listed.nameless, self._clock.now().wall
        if settled.erased:
            await self._erased(settled.erased, "read back")
        if settled.lost:
            log.warning("%s: %d persons are not on it any more, they are sent again", self.device, settled.lost)
        self._dirty = self._dirty or bool(settled.turns or settled.found or purge)
        await self.count()

    async def _ours(self, names: Collection[str]) -> dict[str, int]:
        """Keys of those of these ids that are faces of the allowlist, by value or by digest; their ids are kept."""
        if not names:
            return {}
        digests = await asyncio.to_thread(lambda: {name: self._digest(name) for name in names})
        ours, learnt = await self._store.roster.ours(digests)
        if learnt:
            await self._store.faces.learn(learnt)
        return ours

    async def _unread(self) -> None:
        """A list that nobody can read: what was sent and not answered is sent again."""
        rows, now = await self._store.roster.entries(self.device), self._clock.now()
        self._loud.begin(rows, now)
        await self._store.roster.turn(
            self.device, [Turn(r.key, held=True, tries=r.tries) for r in rows if r.state is State.SENT]
        )
        self._read_due, self._read_mono = False, now.mono

    # ---- deleting

    async def _drop(self) -> bool:
        wall = self._clock.now().wall
        most = min(MOST, self.keeping.drop_batch)
        rows = await self._store.roster.to_drop(self.place, wall, self._drop_after, most, self._sight)
        if not rows:
            self._drop_after = BEGIN  # behind each batch that is sent: who has lost the right, or is due again
            return False
        never = [r for r in rows if r.state in (State.PENDING, State.FAILED) and not r.held]
        await self._store.roster.turn(self.device, [Turn(r.key, gone=True) for r in never])
        there = [r for r in rows if r not in never]
        if there:
            told = {t.id: t for t in await self._driver.drop(self.device, [r.name for r in there])}
            await self._note_drops(there, told)
        self._drop_after = rows[-1].key
        return True

    async def _note_drops(self, rows: Sequence[Entry], told: dict[str, Told]) -> None:
        now, lists = self._clock.now(), self.keeping.lists
        turns = [
            rules.after_drop(r, told.get(r.name), now.wall, lists=lists, loud=self._loud.until(r.key, now))
            for r in rows
        ]
        await self._store.roster.turn(self.device, turns)
        self._unproven = lists
        gone = sum(t.gone for t in turns)
        if gone:
            await self._erased(gone, "confirmed")

    async def _erased(self, count: int, how: str) -> None:
        self._report(Fact(Notice.ERASE_DONE, self.device, how, count))
        await self._store.roster.retry(self.device, Verdict.STORE_FULL)  # there is room again

    # ---- sending

    async def _put(self) -> bool:
        if self._unproven or self._sight.old:
            return False  # who was deleted is proven first, and with it that there is room
        wall = self._clock.now().wall
        most = min(MOST, self.keeping.batch)
        wanted = await self._store.roster.to_put(self.place, wall, self._put_after, most, self._sight)
        if not wanted:
            return False
        ready, without = await pack(wanted, self.keeping, self._store.faces)
        if without:
            said = "no photo is here"
            turns = [Turn(w.key, State.FAILED, w.held, Verdict.PHOTO_BAD, "no_photo", said, 1, rules.NEVER)
                     for w in without]  # fmt: skip
            await self._store.roster.failed(self.device, without, turns)
        if ready:
            await self._store.roster.sending(self.device, [w for w, _ in ready])
            try:
                told = await self._driver.put(self.device, [person for _, person in ready])
            except NotNow as error:  # who waited is as before; what a command has left for may be there
                left = isinstance(error, Busy)
                turns = [Turn(w.key, held=w.held or left, tries=w.tries) for w, _ in ready]
                await self._store.roster.turn(self.device, turns)
                raise
            await self._note_puts([w for w, _ in ready], {t.id: t for t in told})
        self._put_after = max(w.key for w in (*without, *(w for w, _ in ready)))
        return True

    async def _note_puts(self, wanted: Sequence[Wanted], told: dict[str, Told]) -> None:
        now, lists = self._clock.now(), self.keeping.lists
        unknown = Told("", Verdict.UNKNOWN)
        turns = [rules.after_put(w, told.get(w.name, unknown), now.wall, lists=lists) for w in wanted]
        await self._store.roster.turn(self.device, [t for t in turns if t is not None])
        silent = [w.key for w in wanted if told.get(w.name, unknown).verdict is Verdict.UNKNOWN]
        self._read_due = self._read_due or bool(silent)
        self._loud.note(silent, now)
        for verdict, what in ((Verdict.STORE_FULL, "its person list is full"), (Verdict.BUG, "it refuses our command")):
            of_it = [t for t in told.values() if t.verdict is verdict]
            if of_it and verdict not in self._told:
                self._told.add(verdict)
                said = f"{what}: {of_it[0].code} {of_it[0].text}".rstrip(": ")
                self._report(Fact(Notice.DEVICE_FAULT, self.device, said, len(of_it)))
        if any(t.verdict is Verdict.DONE for t in told.values()):
            self._told.clear()
