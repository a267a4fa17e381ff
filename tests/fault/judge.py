"""Judges one state of a disk with the daemon's own opening routine: what was promised must be there.

As a process it reads a JSON line {"dir", "acks", "kind", "twice", "uses"} for each state and answers with
{"problems": [...]}.
"""

import asyncio
import hashlib
import json
import logging
import sys
import traceback
from pathlib import Path

from lintel.edge.model import Status, Stream
from lintel.edge.store import CountedUse, PassUse, Store, state_key, state_lock
from lintel.edge.store.verify import verify
from tests.fault import plan

TABLES = (
    "credential", "person", "visitor_pass", "site_item", "tombstone", "use_count", "pass_step", "lockdown", "journal",
)  # fmt: skip


def dump(store: Store) -> str:
    """A digest of everything that is stored about people and events."""
    digest = hashlib.blake2b()
    for table in TABLES:
        for row in store.database.reader.execute(f"SELECT * FROM {table}"):
            digest.update(repr(row).encode())
    return digest.hexdigest()


def problems(store: Store, acks: list[list[str]], uses: int) -> list[str]:
    """What is wrong with an opened store, given what was acknowledged before."""
    found = [f"notice {notice}: {detail}" for notice, detail in store.notices]
    given: dict[str, set[str]] = {}
    for kind, name in acks:
        given.setdefault(kind, set()).add(name)
    stored = set[str]()
    for row in (row for stream in Stream for row in store.journal.export(stream)):
        event = row.event
        kind, number, *word = event.id.split("_", 2)
        if event != (plan.event(int(number)) if kind == "evt" else plan.outcome(int(number), *word)):
            found.append(f"{event.id} is not what was written")
        if row.epoch != 1:
            found.append(f"{event.id} stands in epoch {row.epoch}: a tail was lost")
        if event.id in stored:
            found.append(f"{event.id} is stored twice")
        stored.add(event.id)
    found += [f"acknowledged event {n} is lost" for n in given.get("event", ()) if f"evt_{int(n):05d}" not in stored]
    report = verify(store.database)
    found += [f"journal: {b.stream} {b.epoch}/{b.seq} {b.what}" for b in report.breaks]
    return found + _uses(store, given, stored) + _list(store, given, uses)


def _uses(store: Store, given: dict[str, set[str]], stored: set[str]) -> list[str]:
    found = []
    for n in map(int, given.get("order", ())):
        if f"use_{n:05d}_granted" not in stored:
            found.append(f"the door was ordered open for use {n}, and its event is lost")
        right = plan.use(n)
        if isinstance(right, PassUse):
            row = store.allowlist.visitor_pass(right.pass_id)
            if row is None or row.uses != 1:
                found.append(f"the door was ordered open for pass {n}, and the use is lost")
        elif isinstance(right, CountedUse) and "checkpoint" in given:
            held = store.allowlist.find(right.digest)
            if held is None or held.uses != 1:
                found.append(f"the door was ordered open for credential {n}, and the use is lost")
    if "twice" in given:
        found.append("a one-time right was granted twice")
    return found


def _list(store: Store, given: dict[str, set[str]], uses: int) -> list[str]:
    """The list is exactly one of its versions, not older than the newest acknowledged one."""
    found = []
    site = store.allowlist.site()
    newest = max(map(int, given.get("checkpoint", {"0"})))
    if site.fault:
        found.append("the list is called lost")
    if site.seq < newest:
        found.append(f"checkpoint {newest} was acknowledged, {site.seq} is stored")
    rows = store.database.reader.execute("SELECT id, status, rev FROM credential").fetchall()
    held = {name: (str(tuple(Status)[status]), rev) for name, status, rev in rows}
    if held != plan.listed(site.seq, uses):
        found.append(f"the list is not version {site.seq}")
    if site.seq > 1 and site.blocks != {"per_blocked": plan.T0 + site.seq}:
        found.append(f"the block is not that of version {site.seq}")
    found += [f"lockdown {n} is lost" for n in given.get("lockdown", ()) if f"g{n}" not in site.lockdown]
    return found


async def _present(store: Store, acks: list[list[str]]) -> list[str]:
    """Show the newest one-time rights again: the answer must be no."""
    orders = list(dict.fromkeys(int(name) for kind, name in acks if kind == "order"))[-3:]
    again = [
        store.allowlist.consume(plan.use(n), plan.outcome(n, "again"), plan.outcome(n, plan.refusal(n))) for n in orders
    ]
    won = await asyncio.gather(*again)
    return [f"use {n} was granted again after the cut" for n, yes in zip(orders, won, strict=True) if yes]


async def judge(state: Path, acks: list[list[str]], uses: int, *, twice: bool) -> list[str]:
    """Open with the daemon's routine, if asked twice; everything found wrong."""
    with state_lock(state):
        key = state_key(state)
        store = Store.open(state, key)
        try:
            await store.writer.submit(lambda conn: None, now=True)  # what the ring kept has come back
            found, first = problems(store, acks, uses), dump(store) if twice else ""
            if not twice:
                return found + await _present(store, acks)
        finally:
            await store.close()
        store = Store.open(state, key)
        try:
            if store.notices:
                found.append(f"the second start says {store.notices}")
            if dump(store) != first:
                found.append("the second start holds something else than the first")
            found += await _present(store, acks)
        finally:
            await store.close()
    return found


async def recovered(state: Path) -> list[str]:
    """Judge a store that was cut while it recovered from damage: there is a list, or it is called lost."""
    with state_lock(state):
        store = Store.open(state, state_key(state))
        try:
            lost, count = store.allowlist.site().fault, store.allowlist.count()
            await store.journal.append(plan.event(0), now=True)
        finally:
            await store.close()
    found = [] if lost or count else ["an empty list is presented as if it were the real one"]
    if not list((state / "damaged").glob("0*.db")) and not store.notices:
        found.append("the damaged file is not kept, and nobody said that it is damaged")
    return found


def floor(state: Path, acks: list[list[str]]) -> list[str]:
    """Judge the replaced file: whole, and not older than what was acknowledged."""
    newest = max([int(name) for kind, name in acks if kind == "floor"], default=0)
    path = state / "floor"
    if not path.exists():
        return ["the file is lost"] if newest else []
    words = path.read_text("utf-8", "replace").split()
    if len(words) != 3 or words[0] != words[2]:
        return ["the file is unreadable"]
    return ["the file is old"] if int(words[0]) < newest else []


def main() -> None:
    logging.disable()
    for line in sys.stdin:
        task = json.loads(line)
        state, given, uses = Path(task["dir"]), [ack.split(" ", 1) for ack in task["acks"]], task["uses"]
        try:
            if task["kind"] == "file":
                wrong = floor(state, given)
            elif task["kind"] == "recovery":
                wrong = asyncio.run(recovered(state))
            else:
                wrong = asyncio.run(judge(state, given, uses, twice=task["twice"]))
        except Exception as error:  # noqa: BLE001  whatever the product raises is a verdict
            wrong = [f"{type(error).__name__}: {error}", traceback.format_exc()]
        print(json.dumps({"problems": wrong}), flush=True)


if __name__ == "__main__":
    main()
