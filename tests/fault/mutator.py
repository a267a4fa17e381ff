"""Damage of many kinds to the files of a stopped store: bits, pages, lengths, logs, files, rows, snapshots."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlcipher3.dbapi2 as sqlite

from lintel.edge.store import derive, open_database, state_key
from lintel.edge.store.connection import PAGE_SIZE
from lintel.edge.store.database import FILE

LOG = FILE + "-wal"
Damage = Callable[[Path, random.Random], None]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of damage; `again` tells patterns of one kind apart. `seals`: the damage was made with the key."""

    family: str
    name: str
    again: int
    damage: Damage
    seals: bool = False

    def __str__(self) -> str:
        return f"{self.family}/{self.name}/{self.again}"

    def strike(self, state: Path, seed: int) -> None:
        self.damage(state, random.Random(f"{seed} {self}"))


def snapshots(state: Path) -> list[Path]:
    """Snapshots, oldest first."""
    return sorted((state / "snapshots").glob("0*.db"))


def change(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(name: str, first: int = 0, last: int | None = None) -> Damage:
    """One bit somewhere in [first, last) of a file."""

    def damage(state: Path, rng: random.Random) -> None:
        data = (state / name).read_bytes()
        at = rng.randrange(first, min(last or len(data), len(data)))
        change(state / name, at, bytes([data[at] ^ 1 << rng.randrange(8)]))

    return damage


def page(fill: Callable[[bytes, random.Random, int], bytes]) -> Damage:
    """One page of the database becomes something else: `fill(file, rng, number)`."""

    def damage(state: Path, rng: random.Random) -> None:
        data = (state / FILE).read_bytes()
        number = rng.randrange(len(data) // PAGE_SIZE)
        change(state / FILE, number * PAGE_SIZE, fill(data, rng, number))

    return damage


def _other(data: bytes, rng: random.Random, number: int) -> bytes:
    at = rng.choice([n for n in range(len(data) // PAGE_SIZE) if n != number]) * PAGE_SIZE
    return data[at : at + PAGE_SIZE]


def _swap(state: Path, rng: random.Random) -> None:
    data = (state / FILE).read_bytes()
    one, two = (n * PAGE_SIZE for n in rng.sample(range(len(data) // PAGE_SIZE), 2))
    change(state / FILE, one, data[two : two + PAGE_SIZE])
    change(state / FILE, two, data[one : one + PAGE_SIZE])


def _from_snapshot(state: Path, rng: random.Random) -> None:
    data = snapshots(state)[-1].read_bytes()
    number = rng.randrange(1, min(len(data), (state / FILE).stat().st_size) // PAGE_SIZE)
    change(state / FILE, number * PAGE_SIZE, data[number * PAGE_SIZE :][:PAGE_SIZE])


def cut(name: str, size: Callable[[int], int]) -> Damage:
    def damage(state: Path, rng: random.Random) -> None:
        length = (state / name).stat().st_size
        with (state / name).open("r+b") as file:
            file.truncate(size(length))

    return damage


def longer(data: Callable[[random.Random], bytes], name: str = FILE) -> Damage:
    def damage(state: Path, rng: random.Random) -> None:
        with (state / name).open("ab") as file:
            file.write(data(rng))

    return damage


def instead(make: Callable[[Path, Path], object], *, log: bool = True) -> Damage:
    """Something else in the database's place: `make(path, state)`; `log`: its log goes too."""

    def damage(state: Path, rng: random.Random) -> None:
        (state / FILE).unlink()
        if log:
            (state / LOG).unlink()
        make(state / FILE, state)

    return damage


def foreign(path: Path, key: bytes = b"another gateway's key, 32 bytes.") -> None:
    """A good database of another gateway."""
    folder = path.with_name("elsewhere")
    folder.mkdir()
    open_database(folder / FILE, key).close()
    (folder / FILE).rename(path)
    shutil.rmtree(folder)


def _plain(path: Path, state: Path) -> None:
    conn = sqlite.connect(path)
    conn.execute("CREATE TABLE credential (key INTEGER PRIMARY KEY)")
    conn.commit()
    conn.close()


def _link(path: Path, state: Path) -> None:
    foreign(state / "elsewhere.db")
    path.symlink_to(state / "elsewhere.db")


def _foreign_log(state: Path, rng: random.Random) -> None:
    """A log that holds commits of another database."""
    other = state / "other"
    other.mkdir()
    database = open_database(other / FILE, b"another gateway's key, 32 bytes.")
    conn = database.connect()
    conn.execute("INSERT INTO state VALUES ('fault', '1')")
    shutil.copyfile(other / LOG, state / LOG)
    conn.close()
    database.close()
    shutil.rmtree(other)


def _salt(state: Path, rng: random.Random) -> None:
    change(state / LOG, 16, rng.randbytes(8))


def _index_of_noise(state: Path, rng: random.Random) -> None:
    (state / f"{FILE}-shm").write_bytes(rng.randbytes(32768))


def sql(*statements: str) -> Damage:
    """Statements by somebody who has the key."""

    def damage(state: Path, rng: random.Random) -> None:
        database = open_database(state / FILE, derive(state_key(state), "database"), check=False)
        conn = database.connect()
        conn.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            conn.execute(statement)
        conn.close()
        database.close()

    return damage


def both(*damages: Damage) -> Damage:
    def damage(state: Path, rng: random.Random) -> None:
        for one in damages:
            one(state, rng)

    return damage


def on_snapshots(count: int, how: Damage) -> Damage:
    """The newest `count` snapshots are damaged too, then the database."""

    def damage(state: Path, rng: random.Random) -> None:
        for path in snapshots(state)[-count:]:
            data = path.read_bytes()
            change(path, rng.randrange(len(data) // 2), rng.randbytes(64))
        how(state, rng)

    return damage


def _foreign_snapshot(state: Path, rng: random.Random) -> None:
    newest = snapshots(state)[-1]
    newest.unlink()
    foreign(newest)
    flip(FILE, 0, PAGE_SIZE)(state, rng)


def _future_snapshot(state: Path, rng: random.Random) -> None:
    newest = snapshots(state)[-1]
    newest.rename(newest.with_name("999999999999999.db"))
    flip(FILE, PAGE_SIZE)(state, rng)


_NOISE = {"a page of zeros": lambda rng: bytes(PAGE_SIZE), "100 zeros": lambda rng: bytes(100),
          "noise": lambda rng: rng.randbytes(3 * PAGE_SIZE), "odd noise": lambda rng: rng.randbytes(777)}  # fmt: skip

KINDS: tuple[tuple[str, int, dict[str, Damage], bool], ...] = (
    ("bit", 40, {
        "salt": flip(FILE, 0, 16), "first page": flip(FILE, 16, PAGE_SIZE), "any page": flip(FILE, PAGE_SIZE),
        "page's seal": flip(FILE, 5 * PAGE_SIZE - 48, 5 * PAGE_SIZE), "log header": flip(LOG, 0, 32),
        "log frame": flip(LOG, 32), "log checksum": flip(LOG, 48, 56), "log page": flip(LOG, 56, 56 + PAGE_SIZE),
    }, False),
    ("page", 40, {
        "zero": page(lambda d, r, n: bytes(PAGE_SIZE)), "ones": page(lambda d, r, n: b"\xff" * PAGE_SIZE),
        "noise": page(lambda d, r, n: r.randbytes(PAGE_SIZE)), "duplicate": page(_other), "swap": _swap,
        "from a snapshot": _from_snapshot, "half": page(lambda d, r, n: d[n * PAGE_SIZE :][:1024] + bytes(1024)),
    }, False),
    ("length", 25, {
        **{f"cut to {n}": cut(FILE, lambda size, n=n: n) for n in (0, 1, 99, 4095)},  # type: ignore[misc]
        "half": cut(FILE, lambda size: size // 2 // PAGE_SIZE * PAGE_SIZE),
        "odd half": cut(FILE, lambda size: size // 2 + 5),
        "a page less": cut(FILE, lambda size: size - PAGE_SIZE),
        **{f"longer by {name}": longer(data) for name, data in _NOISE.items()},
    }, False),
    ("log", 25, {
        "missing": lambda state, rng: (state / LOG).unlink(), "empty": cut(LOG, lambda size: 0),
        "of another": _foreign_log, "old salt": _salt, "cut in a frame": cut(LOG, lambda size: size // 2 + 7),
        "noise behind": longer(lambda rng: rng.randbytes(5000), LOG),
        "index of noise": _index_of_noise,
        "zeros": lambda state, rng: change(state / LOG, 0, bytes((state / LOG).stat().st_size)),
    }, False),
    ("file", 20, {
        "deleted": instead(lambda path, state: None), "deleted, log left": instead(lambda path, state: None, log=False),
        "directory": instead(lambda path, state: path.mkdir()), "link": instead(_link),
        "text": instead(lambda path, state: path.write_text("hello\n" * 1000)), "plain": instead(_plain),
        "another gateway's": instead(lambda path, state: foreign(path)),
        "another gateway's, our log": instead(lambda path, state: foreign(path), log=False),
    }, False),
    ("rows", 30, {
        "newer schema": sql("PRAGMA user_version = 99"), "table gone": sql("DROP TABLE credential"),
        "event edited": sql("UPDATE journal SET body = (SELECT body FROM journal LIMIT 1) WHERE place ="
                            " (SELECT max(place) - 3 FROM journal)"),
        "event gone": sql("DELETE FROM journal WHERE place = (SELECT max(place) - 3 FROM journal)"),
        "events swapped": sql("UPDATE journal SET place = -1 WHERE place = (SELECT max(place) - 3 FROM journal)",
                              "UPDATE journal SET place = (SELECT max(place) - 3 FROM journal) WHERE place ="
                              " (SELECT max(place) - 2 FROM journal)",
                              "UPDATE journal SET place = (SELECT max(place) - 2 FROM journal) WHERE place = -1"),
        "tail cut": sql("DELETE FROM journal WHERE place > (SELECT max(place) - 9 FROM journal)"),
        "start moved": sql("UPDATE stream SET floor = floor + 5 WHERE stream = 5"),
        "all events gone": sql("DELETE FROM journal"),
        "event put in": sql("INSERT INTO journal SELECT max(place) + 1, body, hash FROM journal"),
    }, True),
    ("snapshot", 20, {
        "newest damaged too": on_snapshots(1, flip(FILE, 16)), "both damaged": on_snapshots(2, flip(FILE, 16)),
        "both damaged, deleted": on_snapshots(2, instead(lambda path, state: None)),
        "another gateway's": _foreign_snapshot, "from the future": _future_snapshot,
    }, False),
)  # fmt: skip


def patterns(share: float = 1.0) -> Iterator[Pattern]:
    """All patterns, or an even share of every family; every kind of a family comes up before one comes again."""
    for family, count, kinds, seals in KINDS:
        names = list(kinds)
        for n in range(max(1, round(count * share))):
            name = names[n % len(names)]
            yield Pattern(family, name, n // len(names), kinds[name], seals)
