"""What a disk may hold after a power cut: recorded operations are replayed, and every state is rebuilt from them.

Two models. `ordered` (ext4-like): names are one journal, any sync makes all earlier name operations durable, a cut
keeps a prefix. `strict` (portable): a name is durable only by a sync of its directory, directories are independent.

Known limits: an unlink is durable at the next sync (ordered); data of a synced write never rots; the drive tells the
truth about flushes; no bugs of file systems; not reviewed by an author of a file system.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.fault.trace import Op, Trace

SECTOR = 512
Model = Literal["ordered", "strict"]
VARIANTS = (
    "all", "none", "none+names", "prefix", "torn last", "torn middle", "reorder", "reorder again", "cross data",
    "cross log", "size first",
)  # fmt: skip


@dataclass(slots=True)
class Content:
    """Bytes of a file: `data`, then zeros up to `size`."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0

    def copy(self) -> "Content":
        return Content(bytearray(self.data), self.size)

    def write(self, offset: int, data: bytes) -> None:
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        del self.data[size:]
        self.size = size

    def apply(self, op: Op) -> None:
        if op.kind == "write":
            self.write(op.offset, op.data)
        elif op.kind == "size":
            self.resize(op.offset)
        else:
            self.size = max(self.size, op.offset)


@dataclass(slots=True)
class Inode:
    """What is on the disk, and the operations that may be lost: (their number, the operation)."""

    durable: Content = field(default_factory=Content)
    pending: list[tuple[int, Op]] = field(default_factory=list)


Files = dict[str, Content]
"""Path -> content."""


@dataclass(frozen=True, slots=True)
class State:
    """One state the disk could have: after operation `at` (its number), in one variant; `acks` were sent before."""

    at: int
    variant: str
    acks: int
    files: Files

    def key(self) -> bytes:
        """Equal for states that hold the same files and promises."""
        digest = hashlib.blake2b(self.acks.to_bytes(4, "big"), digest_size=16)
        for path, content in sorted(self.files.items()):
            digest.update(f"{path}\0{content.size}\0".encode())
            digest.update(content.data.rstrip(b"\0") if content.size > 1 << 20 else content.data)
        return digest.digest()

    def put(self, root: str, directory: Path) -> None:
        """Write the files below a fresh directory; zeros at the end stay holes."""
        for path, content in self.files.items():
            target = directory / os.path.relpath(path, root)
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, content.data)
            os.ftruncate(fd, content.size)
            os.close(fd)


class Disk:
    """The disk while the record is replayed. `apply` one operation after the other, `states` at any point."""

    def __init__(self, trace: Trace, model: Model) -> None:
        self.model = model
        self.inodes: dict[int, Inode] = {}
        self.names: dict[str, int] = {}
        self.pending: list[tuple[int, Op]] = []  # name operations
        self.acks = 0
        self.done = 0
        for inode, (path, data) in enumerate(trace.before, 1):
            self.inodes[inode] = Inode(Content(bytearray(data.rstrip(b"\0")), len(data)))
            self.names[path] = inode

    def apply(self, op: Op) -> None:
        number, self.done = self.done, self.done + 1
        if op.kind == "ack":
            self.acks += 1
        elif op.kind in ("write", "size", "grow"):
            self.inodes[op.inode].pending.append((number, op))
        elif op.kind in ("create", "rename", "link", "unlink", "mkdir"):
            if op.kind == "create":
                self.inodes[op.inode] = Inode()
            self.pending.append((number, op))
        elif op.kind == "lost":  # the kernel may drop what a failed sync did not write, and call it clean
            inode = self.inodes.get(op.inode, Inode())
            inode.pending = [(n, p) for n, p in inode.pending if n >= op.began]
        else:
            if op.kind == "sync":
                self._sync_data(self.inodes[op.inode], op.began)
            if self.model == "ordered" or op.kind == "names":
                self._sync_names(op.path if self.model == "strict" else None, op.began)

    def _sync_data(self, inode: Inode, began: int) -> None:
        for number, op in inode.pending:
            if number < began:
                inode.durable.apply(op)
        inode.pending = [(n, op) for n, op in inode.pending if n >= began]

    def _sync_names(self, directory: str | None, began: int) -> None:
        kept = []
        for number, op in self.pending:
            if number < began and directory in (None, op.folder):
                _rename(self.names, op)
            else:
                kept.append((number, op))
        self.pending = kept

    # states

    def state(self, variant: str, rng: random.Random) -> State | None:
        """The state of one variant right after the last operation; None where the variant says nothing new."""
        names = self._names(variant, rng)
        busy = [i for i in sorted(set(names.values())) if self.inodes[i].pending]
        if not busy and variant not in ("all", "none", "none+names", "prefix"):
            return None
        data = {path: _follow(path) for path in names}
        torn = rng.choice(busy) if busy else 0
        files: Files = {}
        for path, number in names.items():
            inode = self.inodes[number]
            content = inode.durable.copy()
            for op in _kept(inode.pending, variant, rng, log=data[path], torn=number == torn):
                content.apply(op)
            if variant == "size first":
                content.size = max([content.size, *(op.offset + len(op.data) for _, op in inode.pending)])
            files[path] = content
        return State(self.done, variant, self.acks, files)

    def _names(self, variant: str, rng: random.Random) -> dict[str, int]:
        names = dict(self.names)
        if variant == "none":
            return names
        everything = variant in ("all", "none+names", "size first") or not self.pending
        if self.model == "ordered":
            cut = len(self.pending) if everything else rng.randint(0, len(self.pending))
            kept = self.pending[:cut]
        else:
            folders = sorted({op.folder for _, op in self.pending})
            kept = []
            for folder in folders:
                mine = [p for p in self.pending if p[1].folder == folder]
                kept += mine if everything else mine[: rng.randint(0, len(mine))]
        for _, op in sorted(kept, key=lambda p: p[0]):
            _rename(names, op)
        return names


def _follow(path: str) -> bool:
    """Whether a file is a log that another file follows."""
    return path.endswith(("-wal", "-journal"))


def _rename(names: dict[str, int], op: Op) -> None:
    if op.kind in ("create", "link"):
        names[op.path] = op.inode
    elif op.kind == "rename" and op.path in names:
        names[op.to] = names.pop(op.path)
    elif op.kind == "unlink":
        names.pop(op.path, None)


def _kept(pending: list[tuple[int, Op]], variant: str, rng: random.Random, *, log: bool, torn: bool) -> list[Op]:
    """Which of one file's pending operations reached the disk."""
    ops = [op for _, op in pending]
    if not ops or variant == "all":
        return ops
    if variant in ("none", "none+names", "size first") or variant == ("cross data" if log else "cross log"):
        return []
    if variant in ("cross data", "cross log"):
        return ops
    if variant == "prefix":
        return ops[: rng.randint(0, len(ops))]
    if variant.startswith("reorder"):
        return [op for op in ops if rng.random() < 0.5]
    if not torn:
        return ops
    at = len(ops) - 1 if variant == "torn last" else rng.randrange(len(ops))
    op = ops[at]
    if op.kind != "write":
        return ops[:at]
    before, after = ops[:at], ops[at + 1 :] if variant == "torn middle" else []
    if variant == "torn last" or len(op.data) <= SECTOR:
        cut = rng.randrange(1, len(op.data)) if 1 < len(op.data) < SECTOR else len(op.data) // SECTOR * SECTOR
        cut = cut if len(op.data) < SECTOR else rng.randrange(0, max(1, cut), SECTOR)
        return [*before, _part(op, 0, cut), *after]
    sectors = [n for n in range(0, len(op.data), SECTOR) if rng.random() < 0.5]
    return [*before, *(_part(op, n, n + SECTOR) for n in sectors), *after]


def _part(op: Op, start: int, end: int) -> Op:
    return Op("write", op.began, op.inode, op.path, offset=op.offset + start, data=op.data[start:end])


def states(trace: Trace, model: Model, seed: int, wanted: Callable[[int, str], bool] | None = None) -> Iterator[State]:
    """Every state of a trace, equal ones once, the same for the same seed; `wanted(at, variant)` picks some."""
    disk, seen = Disk(trace, model), set[bytes]()
    for op in [None, *trace.ops]:
        if op is not None:
            disk.apply(op)
        for variant in VARIANTS:
            if wanted is not None and not wanted(disk.done, variant):
                continue
            state = disk.state(variant, random.Random(f"{seed} {model} {disk.done} {variant}"))
            if state is not None and (key := state.key()) not in seen:
                seen.add(key)
                yield state
