"""How a terminal's list stands: what an operator sees of it, and the alarm when somebody should be gone who is not."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lintel.edge.model import Fact, Instant, Notice
from lintel.edge.store import Store
from lintel.edge.store.roster import OVERDUE_S, Counts, Place, Sight


@dataclass(slots=True)
class Standing:
    """What an operator sees of a list. `read_at`: when it was read back last (Unix seconds)."""

    counts: Counts = field(default_factory=Counts)
    foreign: list[str] = field(default_factory=list)
    strangers: int = 0
    nameless: int = 0
    read_at: float | None = None
    why: str = ""


class Tally:
    """Counts a list. From when on persons are to be deleted is written down here, so that no restart forgets it."""

    def __init__(self, place: Place, store: Store, report: Callable[[Fact], None], standing: Standing) -> None:
        self._place, self._store, self._report, self.standing = place, store, report, standing
        self.at = float("-inf")
        """When it was counted last (monotonic s)."""
        self._told = False

    async def count(self, now: Instant, sight: Sight) -> None:
        """Count anew. Raises StoreError."""
        self.at = now.mono
        counts = await self._store.roster.counts(self._place, now.wall, sight)
        if counts.unmarked and not self._store.allowlist.site().fault:
            await self._store.roster.mark(self._place, now.wall, sight)
            since = min(now.wall, counts.since or now.wall) if counts.deleting else None
            counts = replace(counts, since=since)
        self.standing.counts = counts

    def grown(self, now: Instant) -> bool:
        """Whether somebody has become overdue since it was counted."""
        counts = self.standing.counts
        return counts.since is not None and now.wall - counts.since >= OVERDUE_S and not counts.overdue

    def tell(self, now: Instant) -> None:
        """Raise the alarm, once; it is over when nobody is left who should be gone."""
        counts, why = self.standing.counts, self.standing.why
        if counts.overdue and not self._told:
            age = now.wall - (counts.since or now.wall)
            detail = f"still to be deleted after {age:.0f} s" + (f": {why}" if why else "")
            self._report(Fact(Notice.ERASE_FAILED, self._place.device, detail, counts.overdue))
        self._told = counts.overdue > 0
