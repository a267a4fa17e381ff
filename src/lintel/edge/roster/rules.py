"""What follows from what a terminal said: for one person, and for a whole list that was read back. Pure.

A person is *stored* when the terminal confirmed it or a read-back shows somebody who was not there before the command.
A person is *gone* when the terminal confirmed that, or a read-back no longer shows it, and no command is under way that
could still put it back: that of a person whose last command was not answered may take effect after a deletion that was.
Whatever is in doubt is sent again or deleted again: both do no harm.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lintel.edge.persons import Listed, State, Told, Verdict
from lintel.edge.store.roster import Entry, Turn, Wanted

FIRST_WAIT: Final = {Verdict.RETRY_LATER: 30.0, Verdict.STORE_FULL: 600.0, Verdict.BUG: 3600.0}
"""Seconds until the first retry, doubling with each; a bad photo waits for another photo."""
LONGEST_WAIT: Final = {Verdict.RETRY_LATER: 3600.0, Verdict.STORE_FULL: 3600.0, Verdict.BUG: 6 * 3600.0}
NEVER: Final = 9e12
ERASE_WAIT, LONGEST_ERASE_WAIT = 10.0, 600.0
"""Seconds until a deletion that is not confirmed is tried again: F2 of the abuse cases gives it a minute."""
_HELD: Final = True


def wait(verdict: Verdict, tries: int) -> float:
    """Seconds until the next try after so many failed ones (1 or more)."""
    first = FIRST_WAIT.get(verdict)
    return NEVER if first is None else min(LONGEST_WAIT[verdict], first * 2.0 ** min(tries - 1, 20))


def after_put(person: Wanted, told: Told, now: float, *, lists: bool) -> Turn | None:
    """What to note when a terminal was told to store a person; None: nothing, the read-back decides."""
    if told.verdict is Verdict.DONE:
        return Turn(person.key, State.STORED, held=True)
    tries = person.tries + 1
    if told.verdict is Verdict.UNKNOWN:
        if lists:
            return None
        due = now + wait(Verdict.RETRY_LATER, tries)
        return Turn(person.key, State.FAILED, _HELD, Verdict.RETRY_LATER, "timeout", told.text, tries, due)
    due = min(NEVER, now + wait(told.verdict, tries))
    return Turn(person.key, State.FAILED, person.held or told.left, told.verdict, told.code, told.text, tries, due)


def after_drop(entry: Entry, told: Told | None, now: float, *, lists: bool, loud: float | None = None) -> Turn:
    """What to note when a terminal was told to delete a person. With a list, gone is only what a read-back lacks.

    `loud`: until when a command may be at work that puts the person there, Unix seconds; None: there is none.
    """
    if told is not None and told.verdict is Verdict.DONE and not lists:
        return Turn(entry.key, gone=True) if loud is None else _again(entry.key, loud)
    tries = entry.tries + 1 if entry.state is State.DELETING else 1
    due = now + min(LONGEST_ERASE_WAIT, ERASE_WAIT * 2.0 ** min(tries - 1, 20))
    code, said = (told.code, told.text) if told is not None else ("", "")
    return Turn(entry.key, State.DELETING, _HELD, Verdict.RETRY_LATER, code, said, tries, due)


def _again(key: int, due: float) -> Turn:
    """Deleted, and to be deleted once more when nothing is at work any more."""
    return Turn(key, State.DELETING, _HELD, Verdict.RETRY_LATER, due=due)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a read-back tells: rows to change, persons of ours that had no row, strangers, and how many are gone."""

    turns: list[Turn]
    found: list[tuple[int, str]]
    foreign: list[str]
    erased: int = 0
    lost: int = 0


def _unanswered(row: Entry, now: float, *, held: bool) -> Turn:
    """Sent, no answer, and the list does not show that it was stored: once more at once, then ever more seldom."""
    tries = row.tries + 1
    if tries == 1:
        return Turn(row.key, held=held, tries=tries)
    due = now + wait(Verdict.RETRY_LATER, tries - 1)
    return Turn(row.key, State.FAILED, held, Verdict.RETRY_LATER, "timeout", "no answer came", tries, due)


def settle(
    rows: Iterable[Entry],
    listed: Listed,
    ours: Mapping[str, int],
    *,
    loud: Collection[int],
    until: float,
    now: float,
) -> Settled:
    """Compare a list that was read back with the rows about it.

    `ours`: keys of faces of the allowlist by their ids. `loud`: keys of the persons whom a command may still put there,
    `until` Unix seconds at most. `now`: Unix seconds.
    """
    turns: list[Turn] = []
    known: set[str] = set()
    erased = lost = 0
    for row in rows:
        known.add(row.name)
        there = row.name in listed.ids
        held = there or (row.held and row.key in loud)
        match row.state:
            case State.STORED if not there:
                turns.append(Turn(row.key))
                lost += 1
            case State.SENT if there and not row.held:
                turns.append(Turn(row.key, State.STORED, held=True))
            case State.SENT:
                turns.append(_unanswered(row, now, held=there or row.key in loud))
            case State.DELETING if not there and row.key in loud:
                turns.append(_again(row.key, until))
            case State.DELETING if not there:
                turns.append(Turn(row.key, gone=True))
                erased += 1
            case State.FAILED if there and not row.held:
                turns.append(Turn(row.key, held=True))  # somebody else put it there: sent once more, else deleted
            case State.PENDING if held != row.held:
                turns.append(Turn(row.key, held=held, tries=row.tries))
            case _:
                pass
    unknown = sorted(listed.ids - known)
    found = [(ours[name], name) for name in unknown if name in ours]
    return Settled(turns, found, [name for name in unknown if name not in ours], erased, lost)
