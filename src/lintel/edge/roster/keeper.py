"""Keeps the person list of one terminal: reads it back, deletes who is not wanted, sends who is missing. For ever.

    read back     at the start, when the terminal came on line or began its records anew, after a command without an
                  answer, after deletions, daily, and when an operator asks
    delete        before anything is sent: who lost the right, the consent, or whose time is over
    send          a batch at a time, written down before it goes out; its answer is written down person by person

A pass begins within a second of a change of the allowlist, and on time for what time alone changes (a validity, a
retry).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lintel.edge.clock import Clock
from lintel.edge.errors import StoreError
from lintel.edge.model import Fact, Notice
from lintel.edge.persons import Keeping, KeepsPersons, NotNow, Person, Presence, State, Told, Verdict
from lintel.edge.roster import rules
from lintel.edge.store import Store
from lintel.edge.store.roster import BEGIN, Counts, Entry, Place, Turn, Wanted

log = logging.getLogger(__name__)

TICK: Final = 1.0
"""How often a quiet list looks whether there is something to do (s): two comparisons."""
MOST: Final = 200
"""Persons of one command: an answer within seconds, and a deletion waits behind no more."""
PHOTO_BYTES: Final = 180_000
"""Photos of one command: on a line of 100 Mbit/s an order waits behind them for 20 ms."""
QUIET_S: Final = 60.0
"""A command without an answer may still be at work so long; until then a list that was read proves nobody's absence."""
DAY_S: Final = 86_400.0
LEAD_S: Final = 86_400.0
"""How long before its validity begins a person is sent to a terminal that keeps validities."""
BUSY_S, LONGEST_BUSY_S = 1.0, 30.0
_MOST_FOREIGN = 1000


@dataclass(slots=True)
class Standing:
    """What an operator sees of a list. `read_at`: when it was read back last (Unix seconds)."""

    counts: Counts = field(default_factory=Counts)
    foreign: list[str] = field(default_factory=list)
    strangers: int = 0
    nameless: int = 0
    read_at: float | None = None
    why: str = ""


class ListKeeper:
    """One terminal's list. `key_of` names a row for somebody who is on no list of ours."""

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
        key_of: Callable[[str], int],
    ) -> None:
        lead = LEAD_S if keeping.enforces_validity else 0.0
        self.place = Place(device, tuple(groups), keeping.enforces_validity, lead)
        self.device, self.keeping = device, keeping
        self.standing = Standing()
        self._driver, self._store, self._clock, self._report, self._key_of = driver, store, clock, report, key_of
        self._wake = asyncio.Event()
        self._revision = (-1, -1)
        self._turn: tuple[int, int] | None = None
        self._read_due = True
        self._read_mono = float("-inf")
        self._loud_until = float("-inf")
        self._doubt = self._purge = self._retry = False
        self._drop_after = self._put_after = BEGIN
        self._dirty, self._working, self._unproven = True, False, False
        self._counted = (-1, -1)
        self._answered: list[int] = []
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
        self.standing.counts = await self._store.roster.counts(self.place, self._clock.now().wall)

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
        presence = self._driver.presence(self.device)
        self._heed(presence)
        now = self._clock.now()
        if not presence.there:
            self.standing.why = "off line"
            if self._counted != self._revision:
                await self.count()
            return False
        if self._store.allowlist.site().fault:
            self.standing.why = "the allowlist was lost: nobody is sent or deleted before a whole one is here"
            return False
        if self._doubt:
            await self._store.roster.doubt(self.device)
            self._doubt, self._dirty = False, True
        if self._retry:
            await self._store.roster.retry(self.device)
            self._retry = False
        if self._read_due or now.mono - self._read_mono >= DAY_S:
            await self._read_back()
        self.standing.why = ""
        if not self._working:
            due = self.standing.counts.next
            if not self._dirty and not (due is not None and due <= now.wall):
                return False
            self._dirty, self._working = False, True
            self._drop_after = self._put_after = BEGIN
        return await self._drop() or await self._put() or await self._done()

    def _heed(self, presence: Presence) -> None:
        """What the terminal or the allowlist did since the last step."""
        turn = (presence.turn, presence.wiped)
        if self._turn != turn:
            wiped = self._turn is not None and self._turn[1] != presence.wiped
            self._doubt = self._doubt or (wiped and not self.keeping.lists)
            self._turn, self._read_due, self._dirty = turn, True, True
        if self._revision != (revision := (self._store.allowlist.revision, self._store.faces.turn)):
            self._revision, self._dirty, self._drop_after = revision, True, BEGIN

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
        begun = now.mono
        listed = await self._driver.listed(self.device)
        rows, ours = await self._store.roster.entries(self.device), {}
        if self.standing.read_at is None and any(row.state is State.SENT for row in rows):
            self._loud_until = begun + QUIET_S  # of the run before this one, up to its end
        if not listed.ids <= {row.name for row in rows}:
            ours = await self._store.roster.names()
        quiet = begun >= self._loud_until
        settled = await asyncio.to_thread(rules.settle, rows, listed, ours, quiet=quiet, dropped=tuple(self._answered))
        await self._store.roster.turn(self.device, settled.turns)
        await self._store.roster.enter(self.device, ((key, name, State.PENDING) for key, name in settled.found))
        purge = self._purge
        if purge:
            await self._store.roster.enter(
                self.device, ((self._key_of(name), name, State.DELETING) for name in settled.foreign)
            )
        self._answered.clear()
        self._read_due, self._purge, self._read_mono = False, False, now.mono
        standing = self.standing
        standing.foreign, standing.strangers = settled.foreign[:_MOST_FOREIGN], len(settled.foreign)
        standing.nameless, standing.read_at = listed.nameless, self._clock.now().wall
        if settled.erased:
            await self._erased(settled.erased, "read back")
        if settled.lost:
            log.warning("%s: %d persons are not on it any more, they are sent again", self.device, settled.lost)
        self._dirty = self._dirty or bool(settled.turns or settled.found or purge)
        await self.count()

    async def _unread(self) -> None:
        """A list that nobody can read: what was sent and not answered is sent again."""
        rows = await self._store.roster.entries(self.device)
        await self._store.roster.turn(
            self.device, [Turn(r.key, held=True, tries=r.tries) for r in rows if r.state is State.SENT]
        )
        self._read_due, self._read_mono = False, self._clock.now().mono

    # ---- deleting

    async def _drop(self) -> bool:
        wall = self._clock.now().wall
        most = min(MOST, self.keeping.drop_batch)
        rows = await self._store.roster.to_drop(self.place, wall, self._drop_after, most)
        if not rows:
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
        turns = [rules.after_drop(r, told.get(r.name), now.wall, lists=lists) for r in rows]
        await self._store.roster.turn(self.device, turns)
        self._answered += [r.key for r in rows if r.name in told and told[r.name].verdict is not Verdict.UNKNOWN]
        self._unproven = lists
        gone = sum(t.gone for t in turns)
        if gone:
            await self._erased(gone, "confirmed")
        stubborn = [t for t in turns if t.tries == rules.STUBBORN]
        if stubborn:
            code = f", it says {stubborn[0].code or 'nothing'}"
            detail = f"still there after {rules.STUBBORN} deletions{code}"
            self._report(Fact(Notice.ERASE_FAILED, self.device, detail, len(stubborn)))

    async def _erased(self, count: int, how: str) -> None:
        self._report(Fact(Notice.ERASE_DONE, self.device, how, count))
        await self._store.roster.retry(self.device, Verdict.STORE_FULL)  # there is room again

    # ---- sending

    async def _put(self) -> bool:
        if self._unproven:
            return False  # who was deleted is proven first, and with it that there is room
        wall = self._clock.now().wall
        wanted = await self._store.roster.to_put(self.place, wall, self._put_after, min(MOST, self.keeping.batch))
        if not wanted:
            return False
        ready, without = await self._with_photos(wanted)
        if without:
            said = "no photo is here"
            turns = [Turn(w.key, State.FAILED, w.held, Verdict.PHOTO_BAD, "no_photo", said, 1, rules.NEVER)
                     for w in without]  # fmt: skip
            await self._store.roster.failed(self.device, without, turns)
        if ready:
            await self._store.roster.sending(self.device, [w for w, _ in ready])
            self.standing.why = ""
            try:
                told = await self._driver.put(self.device, [person for _, person in ready])
            except NotNow:  # nothing has left: who waited is as before
                await self._store.roster.turn(self.device, [Turn(w.key, held=w.held, tries=w.tries) for w, _ in ready])
                raise
            await self._note_puts([w for w, _ in ready], {t.id: t for t in told})
        self._put_after = max(w.key for w in (*without, *(w for w, _ in ready)))
        return True

    async def _with_photos(self, wanted: Sequence[Wanted]) -> tuple[list[tuple[Wanted, Person]], list[Wanted]]:
        """Whom to send now, as the terminal is to know them, and who has no photo. Stops when the photos are enough."""
        ready: list[tuple[Wanted, Person]] = []
        without: list[Wanted] = []
        size = 0
        for w in wanted:
            photo = b""
            if self.keeping.photos:
                opened = await asyncio.to_thread(self._store.faces.opened, w.photo) if w.photo is not None else None
                if opened is None:
                    without.append(w)
                    continue
                photo = opened
                if ready and size + len(photo) > PHOTO_BYTES:
                    break
                size += len(photo)
            ready.append((w, Person(w.name, w.shown, w.valid_from, w.valid_to, photo, w.held)))
        return ready, without

    async def _note_puts(self, wanted: Sequence[Wanted], told: dict[str, Told]) -> None:
        now, lists = self._clock.now(), self.keeping.lists
        unknown = Told("", Verdict.UNKNOWN)
        turns = [rules.after_put(w, told.get(w.name, unknown), now.wall, lists=lists) for w in wanted]
        await self._store.roster.turn(self.device, [t for t in turns if t is not None])
        if any(told.get(w.name, unknown).verdict is Verdict.UNKNOWN for w in wanted):
            self._read_due, self._loud_until = True, now.mono + QUIET_S
        for verdict, what in ((Verdict.STORE_FULL, "its person list is full"), (Verdict.BUG, "it refuses our command")):
            of_it = [t for t in told.values() if t.verdict is verdict]
            if of_it and verdict not in self._told:
                self._told.add(verdict)
                said = f"{what}: {of_it[0].code} {of_it[0].text}".rstrip(": ")
                self._report(Fact(Notice.DEVICE_FAULT, self.device, said, len(of_it)))
        if any(t.verdict is Verdict.DONE for t in told.values()):
            self._told.clear()
