"""What follows from a terminal's answers: over every mixture of answers, silence, late commands, wipes, power cuts."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.persons import Listed, State, Told, Verdict
from lintel.edge.roster import rules
from lintel.edge.roster.loud import QUIET_S
from lintel.edge.roster.rules import NEVER, after_drop, after_put, settle, wait
from lintel.edge.store.roster import Entry, Turn, Wanted


def wanted(key=1, held=False, tries=0):
    return Wanted(key, f"p{key}", "", None, None, 7, None, held, tries)


def test_retries_grow_and_stay_within_their_class():
    waits = [wait(Verdict.RETRY_LATER, n) for n in range(1, 12)]
    assert waits[:4] == [30, 60, 120, 240]
    assert waits[-1] == 3600
    assert wait(Verdict.PHOTO_BAD, 1) == NEVER
    assert wait(Verdict.STORE_FULL, 1) == 600
    assert wait(Verdict.BUG, 1) == 3600
    assert wait(Verdict.BUG, 10**9) == 6 * 3600


def test_a_bad_photo_is_not_tried_again_by_time():
    turn = after_put(wanted(), Told("p1", Verdict.PHOTO_BAD, "468"), 1000.0, lists=True)
    assert (turn.state, turn.why, turn.code, turn.due) == (State.FAILED, "photo_bad", "468", NEVER)


def test_only_who_no_command_ever_left_for_is_surely_not_there():
    """A terminal that says no, or whose yes is lost, may have stored the person all the same."""
    for verdict in set(Verdict) - {Verdict.UNKNOWN}:
        assert after_put(wanted(), Told("p1", verdict), 1000.0, lists=True).held
    assert not after_put(wanted(), Told("p1", Verdict.BUG, left=False), 1000.0, lists=True).held
    assert after_put(wanted(held=True), Told("p1", Verdict.BUG, left=False), 1000.0, lists=True).held


def test_tries_of_a_deletion_are_those_of_the_deletion():
    told = Told("p1", Verdict.RETRY_LATER)
    assert after_drop(Entry(1, "p1", State.FAILED, held=True, tries=9), told, 0.0, lists=True).tries == 1
    assert after_drop(Entry(1, "p1", State.DELETING, held=True, tries=9), told, 0.0, lists=True).tries == 10


def test_without_a_list_a_deletion_is_repeated_when_what_was_not_answered_can_not_come_any_more():
    entry, done = Entry(1, "p1", State.DELETING, held=True, tries=1), Told("p1", Verdict.DONE)
    assert after_drop(entry, done, 1000.0, lists=False).gone
    again = after_drop(entry, done, 1000.0, lists=False, loud=1040.0)
    assert (again.gone, again.state, again.due, again.tries) == (False, State.DELETING, 1040.0, 0)


def test_silence_is_no_answer():
    silent = Told("p1", Verdict.UNKNOWN)
    assert after_put(wanted(), silent, 1000.0, lists=True) is None, "the row stays sent, the read-back decides"
    blind = after_put(wanted(), silent, 1000.0, lists=False)
    assert (blind.state, blind.held, blind.due) == (State.FAILED, True, 1030.0)


def test_who_is_never_answered_for_is_sent_once_more_at_once_and_then_ever_more_seldom():
    def after(tries, *, held, there):
        row = Entry(1, "p1", State.SENT, held=held, tries=tries)
        listed = Listed(frozenset({"p1"} if there else ()))
        return settle([row], listed, {}, loud=(), until=1000.0, now=1000.0).turns[0]

    for held, there in ((False, False), (True, False), (True, True)):
        first = after(0, held=held, there=there)
        assert (first.state, first.tries, first.held) == (State.PENDING, 1, there)
        late = [after(n, held=held, there=there) for n in range(1, 12)]
        assert {(t.state, t.why, t.code) for t in late} == {(State.FAILED, "retry_later", "timeout")}
        assert [t.tries for t in late] == list(range(2, 13))
        assert [t.due - 1000 for t in late[:3]] == [30, 60, 120]
        assert late[-1].due - 1000 == 3600
    assert after(5, held=False, there=True).state is State.STORED, "the list shows that it came"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_with_a_list_no_answer_alone_makes_anybody_gone(verdict):
    entry = Entry(1, "p1", State.STORED, held=True, tries=0)
    assert not after_drop(entry, Told("p1", verdict), 1000.0, lists=True).gone
    assert after_drop(entry, Told("p1", verdict), 1000.0, lists=False).gone is (verdict is Verdict.DONE)
    assert not after_drop(entry, None, 1000.0, lists=False).gone


class World:
    """A gateway's rows and a terminal, with commands that may still take effect up to a minute after their silence."""

    def __init__(self, rng, rules_settle=settle):
        self.rng, self.settle = rng, rules_settle
        self.rows: dict[int, Entry] = {}
        self.terminal: dict[int, int] = {}  # key -> version
        self.version = dict.fromkeys(range(4), 1)  # what is wanted; 0: nobody
        self.sent: dict[int, int] = {}  # row -> version that was sent last
        self.late: list[tuple[float, dict[int, int]]] = []
        self.now, self.loud = 0.0, {}
        self.sure = True  # no wipe since the last read-back

    def note(self, turns):
        for turn in turns:
            if turn.gone:
                self.rows.pop(turn.key, None)
            else:
                self.rows[turn.key] = Entry(turn.key, f"p{turn.key}", turn.state, turn.held, turn.tries)

    def put(self):
        sent = {r.key for r in self.rows.values() if r.state is State.SENT}  # they wait for a read-back
        keys = [k for k, v in self.version.items() if v and not self._stored(k) and k not in sent]
        for k in keys:
            row = self.rows.get(k)
            held = row is not None and (row.held or row.state in (State.SENT, State.DELETING))
            self.rows[k] = Entry(k, f"p{k}", State.SENT, held, 0)  # durable before it leaves
            self.sent[k] = self.version[k]
        command = {k: self.version[k] for k in keys}
        fate = self.rng.choice(["answered", "lost before", "lost after", "late", "cut", "refused", "refused after"])
        if fate in ("answered", "lost after", "cut", "refused after"):
            self._in_order()
            self.terminal |= command
        if fate == "late":
            self.late.append((self.now + self.rng.uniform(1, QUIET_S - 1), command))
        if fate == "cut":
            self.restart()
        elif fate == "answered":
            self.note([after_put(self._wanted(k), Told(f"p{k}", Verdict.DONE), self.now, lists=True) for k in keys])
        elif fate.startswith("refused"):
            told = Told("", Verdict.RETRY_LATER)
            self.note([after_put(self._wanted(k), told, self.now, lists=True) for k in keys])
        else:
            self.loud |= dict.fromkeys(keys, self.now + QUIET_S)

    def _in_order(self):
        """Of two commands that store somebody the terminal works off the first one first."""
        for _, command in self.late:
            self.terminal |= command
        self.late.clear()

    def _wanted(self, k):
        return replace(wanted(k), held=self.rows[k].held)

    def _stored(self, k):
        row = self.rows.get(k)
        return row is not None and row.state is State.STORED and self.sent.get(k) == self.version[k]

    def drop(self):
        rows = [r for r in self.rows.values() if not self.version[r.key]]
        never = [r for r in rows if r.state in (State.PENDING, State.FAILED) and not r.held]
        self.note([Turn(r.key, gone=True) for r in never])
        rows = [r for r in rows if r not in never]
        fate = self.rng.choice(["answered", "lies", "lost before", "lost after"])
        if fate in ("answered", "lost after"):  # and a command that is late may still come after it
            for r in rows:
                self.terminal.pop(r.key, None)
        verdict = Verdict.DONE if fate in ("answered", "lies") else Verdict.UNKNOWN
        self.note([after_drop(r, Told(r.name, verdict), self.now, lists=True) for r in rows])

    def read(self):
        ids = frozenset(f"p{k}" for k in self.terminal)
        ours = {f"p{k}": k for k in range(4)}
        loud = {k for k, until in self.loud.items() if until > self.now}
        until, rows = self.now + QUIET_S, list(self.rows.values())
        settled = self.settle(rows, Listed(ids), ours, loud=loud, until=until, now=self.now)
        self.note(settled.turns)
        for key, _ in settled.found:
            self.rows[key] = Entry(key, f"p{key}", State.PENDING, held=True, tries=0)
            self.sent.pop(key, None)
        self.sure = True

    def wipe(self):
        self.terminal.clear()
        self.sure = False

    def change(self):
        k = self.rng.randrange(4)
        self.version[k] = self.rng.choice([0, self.version[k] + 1])

    def restart(self):
        """A power cut of the gateway: rows are what is left; what was sent may be at work for a minute."""
        keys = (r.key for r in self.rows.values() if r.state is not State.STORED)
        self.loud |= dict.fromkeys(keys, self.now + QUIET_S)

    def tick(self):
        self.now += self.rng.choice([0.5, 20, 90])
        for at, command in [x for x in self.late if x[0] <= self.now]:
            self.terminal |= command
            self.late.remove((at, command))

    def check(self):
        untracked = {k for k in self.terminal if k not in self.rows}
        assert not untracked, "somebody of ours is there and nobody would ever delete them"
        if self.sure:
            stored = {k for k in self.rows if self._stored(k)}
            assert all(self.terminal.get(k) == self.version[k] for k in stored), "stored, it is said, and is not there"

    def converge(self):
        class Kind(random.Random):
            def choice(self, options):
                return options[0]

        self.now += 2 * QUIET_S
        self.tick()
        self.rng = Kind()
        for _ in range(3):
            self.now += 2 * QUIET_S
            self.read()
            self.drop()
            self.read()
            self.put()
        assert self.terminal == {k: v for k, v in self.version.items() if v}
        assert set(self.rows) == set(self.terminal)


STEPS = st.lists(st.sampled_from(["put", "drop", "read", "wipe", "change", "restart", "tick"]), max_size=40)


def walk(steps, seed, **options):
    world = World(random.Random(seed), **options)
    for step in steps:
        getattr(world, step)()
        world.check()
    world.converge()


@settings(max_examples=400, deadline=None)
@given(STEPS, st.integers(0, 2**32))
def test_nobody_is_forgotten_on_a_terminal_and_stored_is_true_and_it_converges(steps, seed):
    walk(steps, seed)


def found_wrong(**options):
    for seed in range(3000):
        rng = random.Random(seed)
        steps = rng.choices(["put", "drop", "read", "wipe", "change", "tick"], k=30)
        try:
            walk(steps, seed, **options)
        except AssertionError:
            return True
    return False


def test_control_believing_an_absence_while_a_command_is_at_work_forgets_somebody():
    def hasty(rows, listed, ours, *, loud, until, now):
        return settle(rows, listed, {}, loud=(), until=until, now=now)

    assert found_wrong(rules_settle=hasty)
    assert not found_wrong()


def test_control_taking_a_refusal_for_an_absence_forgets_somebody(monkeypatch):
    true = after_put

    def credulous(person, told, now, *, lists):
        turn = true(person, told, now, lists=lists)
        return turn if turn is None or turn.state is not State.FAILED else replace(turn, held=person.held)

    monkeypatch.setitem(World.put.__globals__, "after_put", credulous)
    assert found_wrong()


def test_control_believing_that_a_deletion_comes_after_every_earlier_command_forgets_somebody():
    def in_order(rows, listed, ours, *, loud, until, now):
        answered = {r.key for r in rows if r.state is State.DELETING}
        return settle(rows, listed, {}, loud=set(loud) - answered, until=until, now=now)

    assert found_wrong(rules_settle=in_order)


def test_control_believing_the_terminals_word_about_a_deletion_forgets_somebody(monkeypatch):
    monkeypatch.setattr(
        rules, "after_drop", lambda r, told, now, *, lists: Turn(r.key, gone=told.verdict is Verdict.DONE)
    )
    monkeypatch.setitem(World.drop.__globals__, "after_drop", rules.after_drop)
    assert found_wrong()
