"""The harness itself: the log is read strictly, and the model of the disk keeps and loses what it should."""

import random
from pathlib import Path

import pytest

from tests.fault.disk import Disk, states
from tests.fault.syntax import TraceError
from tests.fault.trace import Op, Trace, read

ROOT = Path("/state")


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def opened(path: str, fd: int, flags: str = "O_RDWR|O_CREAT") -> str:
    return f'7 openat(AT_FDCWD<{hexed("/")}>, "{hexed(path)}", {flags}, 0600) = {fd}<{hexed(path)}>'


def pwrite(path: str, fd: int, data: str, offset: int = 0, thread: int = 7) -> str:
    return f'{thread} pwrite64({fd}<{hexed(path)}>, "{hexed(data)}", {len(data)}, {offset}) = {len(data)}'


def log(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "log"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_calls_become_operations(tmp_path: Path) -> None:
    ops = read(
        log(
            tmp_path,
            opened("/state/a", 3),
            pwrite("/state/a", 3, "hello", 10),
            f"7 fsync(3<{hexed('/state/a')}>) = 0",
            f'7 write(9<{hexed("/acks")}>, "{hexed("ACK event 1" + chr(10))}", 12) = 12',
            f'7 rename("{hexed("/state/a")}", "{hexed("/state/b")}") = 0',
            f"7 close(3<{hexed('/state/b')}>) = 0",
            f'7 openat(AT_FDCWD<{hexed("/")}>, "{hexed("/state/none")}", O_RDONLY) = -1 ENOENT (No such file)',
        ),
        ROOT,
    )
    assert [op.kind for op in ops] == ["create", "write", "sync", "ack", "rename"]
    assert (ops[1].offset, ops[1].data, ops[3].path, ops[4].to) == (10, b"hello", "event 1", "/state/b")


def test_a_sync_covers_only_what_had_ended_when_it_began(tmp_path: Path) -> None:
    """Two threads: the write ends while the sync runs, so the sync says nothing about it."""
    ops = read(
        log(
            tmp_path,
            opened("/state/a", 3),
            pwrite("/state/a", 3, "old"),
            f"7 fsync(3<{hexed('/state/a')}> <unfinished ...>",
            pwrite("/state/a", 3, "new", thread=8),
            "7 <... fsync resumed>) = 0",
        ),
        ROOT,
    )
    disk = Disk(Trace(ops, [], [], "/state"), "ordered")
    for op in ops:
        disk.apply(op)
    kept = disk.state("none+names", random.Random(1))
    assert kept is not None
    assert bytes(kept.files["/state/a"].data) == b"old"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"7 pwritev(3<{hexed('/state/a')}>, [], 1, 0) = 5", "not in the model"),
        ("7 io_uring_setup(8, {}) = 5", "not in the model"),
        (f'7 pwrite64(3<{hexed("/state/a")}>, "{hexed("cut")}"..., 500, 0) = 500', "cut or missing"),
        (f'7 pwrite64(3<{hexed("/state/a")}>, "{hexed("cut")}", 500, 0) = 500', "bytes in the log"),
        (f"7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{hexed('/state/a')}>, 0) = 0x7f", "memory map"),
        (f"7 fsync(5<{hexed('/state/b')}>) = 0", "out of sight"),
        (f"7 fallocate(3<{hexed('/state/a')}>, FALLOC_FL_PUNCH_HOLE, 0, 10) = 0", "not in the model"),
        (f'7 rename("{hexed("/state/a")}", "{hexed("/tmp/a")}") = 0', "out of the state directory"),
        ("something else", "no line of strace"),
        (f"7 fsync(3<{hexed('/state/a')}> <unfinished ...>", "never ended"),
    ],
)
def test_what_is_not_understood_stops(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(TraceError, match=why):
        read(log(tmp_path, opened("/state/a", 3), line), ROOT)


def replaced(*, sync_file: bool, sync_directory: bool) -> Trace:
    """A file `a` (content "old") is replaced by way of `new`."""
    ops = [Op("create", 0, 2, "/state/new"), Op("write", 1, 2, "/state/new", data=b"fresh")]
    ops += [Op("sync", 2, 2, "/state/new")] if sync_file else []
    ops += [Op("rename", len(ops), path="/state/new", to="/state/a")]
    ops += [Op("names", len(ops), path="/state")] if sync_directory else []
    ops += [Op("ack", len(ops), path="done")]
    return Trace(ops, ["done"], [("/state/a", b"old")], "/state")


@pytest.mark.parametrize("model", ["ordered", "strict"])
def test_only_both_syncs_keep_a_replaced_file(model: str) -> None:
    """Content of `a` after the acknowledgement, in every state: only new; new or old; or even empty."""
    seen = {}
    for syncs in ((True, True), (True, False), (False, False)):
        trace = replaced(sync_file=syncs[0], sync_directory=syncs[1])
        after = [s for s in states(trace, model, 1) if s.acks]  # type: ignore[arg-type]
        seen[syncs] = {bytes(s.files["/state/a"].data) for s in after}
    assert seen[True, True] == {b"fresh"}
    assert seen[True, False] == {b"fresh", b"old"}
    assert {b"fresh", b"old", b""} <= seen[False, False]


def test_equal_states_come_once_and_the_seed_decides() -> None:
    trace = replaced(sync_file=False, sync_directory=False)
    keys = [s.key() for s in states(trace, "ordered", 3)]
    assert len(keys) == len(set(keys))
    assert keys == [s.key() for s in states(trace, "ordered", 3)]
