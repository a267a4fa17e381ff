"""What holds after every test: the global invariants G1, G2, G3, G5 and G7, in one place.

G6 (persist, then acknowledge) can not be seen from outside at a single moment; the kill loop proves it.
"""

import asyncio
import base64
import json
import os
import urllib.parse
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from lintel.edge.model import Reason

from .people import DOORS, PASSWORD

ORDER_LIFE = 3.2
"""An order is void 3 s after its decision, and a decision is dated before its order."""
ALLOWED = {"credentials/mqtt"}
"""Files of the state directory in which a secret may stand: where the operator put it."""


@dataclass(frozen=True)
class Vitals:
    pid: int
    fds: int
    rss: int


def vitals(pid):
    fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Vitals(pid, fds, rss)


async def come_back(before, limit=30.0):
    """G5: descriptors and memory are within 10 % of before within 10 s; a busy machine has three times as long."""
    for _ in range(int(limit / 0.1)):
        now = vitals(before.pid)
        if abs(now.fds - before.fds) <= max(1, before.fds * 0.1) and now.rss <= before.rss * 1.1:
            return now
        await asyncio.sleep(0.1)
    raise AssertionError(f"after {limit:.0f} s still {vitals(before.pid)}, before {before}")


async def finish(site, before=None, *, presentations=None, secrets=(), uncounted=0):
    """Check the running site, stop it, check what it left. Returns the decisions of the journal.

    `presentations`: how many there were where not only the site's own methods presented; -1: not known, a flood was
    folded. `uncounted`: orders at the locks whose decision a crash may have lost.
    """
    pid = site.pid
    if before is not None:
        assert pid == before.pid, "G1: the daemon was restarted"
        print(before, await come_back(before))
    orders = {door: await site.orders(door) for door in DOORS} if site.devices is not None else {}
    seen = told(pid)
    seen += [json.dumps(await site.ask(w)).encode() for w in ("status", "metrics")]
    assert await site.stop() == 0
    events = site.journal()
    decisions = [e for e in events if e.type == "access.decision"]
    granted_only(orders, decisions, uncounted)
    one_row_each(decisions, site.presented if presentations is None else presentations)
    secrets = [PASSWORD, "CANARY-name", *(p.code for p in site.people), *secrets]
    seen += [json.dumps([asdict(e) for e in events]).encode(), json.dumps(site.feed).encode(), site.log().encode()]
    assert leaks(secrets, [*state_files(site.where), *((f"output {n}", data) for n, data in enumerate(seen))]) == []
    return decisions


def told(pid):
    """What a process tells everybody on the machine."""
    return [Path(f"/proc/{pid}/{n}").read_bytes() for n in ("cmdline", "environ")]


def granted_only(orders, decisions, uncounted=0):
    """G2: every order at a lock follows, within its life, a granted decision of that door that has no other order."""
    for door, times in orders.items():
        free = sorted(e.mono for e in decisions if e.door == door and e.result == "open")
        for at in sorted(times):
            cause = next((m for m in free if m <= at <= m + ORDER_LIFE), None)
            if cause is None and uncounted:
                uncounted -= 1
                continue
            assert cause is not None, f"G2: {door} was opened at {at}, granted at {free}"
            free.remove(cause)


def one_row_each(decisions, presentations):
    """G3: one row with one word per presentation."""
    twice = [i for i, n in Counter(e.id for e in decisions).items() if n > 1]
    assert not twice, f"G3: {len(twice)} rows twice"
    records = [(e.device, e.record) for e in decisions if e.record]
    assert len(records) == len(set(records)), "G3: a record of a device twice"
    assert {e.reason for e in decisions} <= set(Reason)
    assert all((e.result == "open") == (e.reason == "granted") for e in decisions)
    if presentations >= 0:
        assert len(decisions) == presentations, f"G3: {presentations} presentations, {len(decisions)} rows"


def state_files(state):
    for path in Path(state).rglob("*"):
        if path.is_file() and str(path.relative_to(state)) not in ALLOWED:
            yield str(path), path.read_bytes()


def leaks(secrets, places):
    """G7: (place, form) of every secret found: raw, hex, base64 in its three alignments, URL-encoded, reversed, cut."""
    found = []
    for name, data in places:
        for secret in secrets:
            found += [(name, form) for form, needle in forms(secret).items() if needle in data]
    return found


def forms(secret):
    raw = secret.encode()
    coded = {
        "raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(),
        "url": urllib.parse.quote(secret, safe="").encode(), "json": json.dumps(secret)[1:-1].encode(),
        "reversed": raw[::-1], "cut": raw[4:16],
    }  # fmt: skip
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw)
        coded[f"base64+{shift}"] = text[(0, 2, 3)[shift] : -4]
    return coded
