"""Record the storage system calls of a real run, and read the record strictly: what is not understood stops the test.

`record` runs a program under strace; `read` turns the log into operations on one state directory, in the order in
which they ended. The program acknowledges by writing `ACK <kind> <id>` lines to descriptor 9, so the order of
acknowledgements and writes is known. The `-shm` file is written through a memory map and rebuilt by SQLite: left out.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fault.syntax import Call, TraceError, calls, decoded, descriptor, paths

ROOT = Path(__file__).parents[2]
ACK_FD, ACK_FILE = 9, "LINTEL_FAULT_ACKS"
STRING_BYTES = 8 << 20
CALLS = (
    "openat,open,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,syncfs,sync,"
    "msync,ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,"
    "mkdir,mkdirat,rmdir,copy_file_range,sendfile,splice,close,dup,dup2,dup3,fcntl,lseek,mmap,io_uring_setup,fork,vfork"
)


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that happened to the state directory.

    `began`: how many operations had ended when this one began; a sync covers only those.
    kind: create, write, size, grow, sync, lost (a sync that failed), names (a directory's sync), rename, link, unlink,
    mkdir, ack.
    """

    kind: str
    began: int
    inode: int = 0
    path: str = ""
    to: str = ""
    offset: int = 0
    data: bytes = b""

    @property
    def folder(self) -> str:
        """Where the name stands that this operation changes."""
        return str(Path(self.to or self.path).parent)


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded run. `before`: the files that were there, as (path, content); inode n is the n-th of them."""

    ops: list[Op]
    acks: list[str]
    before: list[tuple[str, bytes]]
    root: str


def strace() -> str:
    """The program; raises TraceError with what to do when it is missing or may not trace."""
    program = shutil.which("strace")
    if program is None:
        raise TraceError("strace is not installed: apt-get install strace")
    probe = subprocess.run(
        [program, "-qq", "-e", "trace=exit_group", "/bin/true"], capture_output=True, text=True, check=False
    )
    if probe.returncode or "exit_group" not in probe.stderr:
        raise TraceError(f"strace may not trace here (ptrace is forbidden?): {probe.stderr.strip()[:200]}")
    return program


def command(module: str, *args: str) -> list[str]:
    """How a module of these tests is run: the interpreter itself, no wrapper, so that strace sees the real calls."""
    return [sys.executable, "-m", f"tests.fault.{module}", *args]


def record(module: str, *args: str, state: Path, log: Path, inject: Sequence[str] = (), timeout: float = 60.0) -> Trace:
    """Run `module` under strace (`inject`: more words for it) and read what it did. Raises TraceError when it fails."""
    acks = log.with_suffix(".acks")
    there = sorted(p for p in state.rglob("*") if p.is_file() and not p.name.endswith("-shm"))
    before = [(str(p), p.read_bytes()) for p in there]
    words = [strace(), "-f", "--seccomp-bpf", "-qq", "-xx", "-y", "-s", str(STRING_BYTES), "-o", str(log)]
    done = run([*words, "-e", f"trace={CALLS}", *inject, *command(module, *args)], acks, timeout)
    if done.returncode:
        raise TraceError(f"the recorded run ended with {done.returncode}: {done.stderr[-2000:]}")
    ops = read(log, state, before)
    return Trace(ops, [op.path for op in ops if op.kind == "ack"], before, str(state))


def run(words: list[str], acks: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command whose descriptor 9 is a file for its acknowledgements."""
    acks.write_bytes(b"")
    return subprocess.run(
        words, env={**os.environ, ACK_FILE: str(acks)}, cwd=ROOT, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip


@dataclass(slots=True)
class _File:
    inode: int  # 0: a directory
    path: str
    flags: str
    at: int = 0


class _Reader:
    """Follows names and descriptors of the one traced process, and emits operations."""

    def __init__(self, state: Path, before: list[tuple[str, bytes]]) -> None:
        self.root = str(state)
        self.names = {path: n for n, (path, _) in enumerate(before, 1)}
        self.sizes = {n: len(data) for n, (_, data) in enumerate(before, 1)}
        self.fds: dict[int, _File] = {}
        self.ops: list[Op] = []
        self.at: list[int] = []  # at[n]: operations that had ended when n calls had
        self.began = 0
        self.handlers: dict[str, Callable[[Call], None]] = {
            "openat": self.open, "write": self.write, "pwrite64": self.pwrite, "fsync": self.sync,
            "fdatasync": self.sync, "ftruncate": self.truncate, "fallocate": self.fallocate, "close": self.close,
            "rename": self.rename, "unlink": self.unlink, "link": self.link, "mkdir": self.mkdir, "lseek": self.lseek,
            "fcntl": self.fcntl,
        }  # fmt: skip

    def watched(self, path: str) -> bool:
        return (path == self.root or path.startswith(self.root + "/")) and not path.endswith("-shm")

    def emit(self, kind: str, **fields: object) -> None:
        self.ops.append(Op(kind, self.began, **fields))  # type: ignore[arg-type]

    def feed(self, call: Call) -> None:
        self.at.append(len(self.ops))
        self.began = self.at[call.began]
        if call.result < 0 and call.name in ("fsync", "fdatasync") and (file := self.file(call)) is not None:
            self.emit("lost", inode=file.inode, path=file.path)
        if call.result < 0 and call.name != "close":
            return
        if call.name in ("io_uring_setup", "fork", "vfork", "sync"):
            raise TraceError(f"{call.name} is not in the model")
        if call.name == "mmap":
            self.mmap(call)
        elif call.name in self.handlers:
            self.handlers[call.name](call)
        elif any(self.watched(p) for p in paths(call)):
            raise TraceError(f"{call.name} on the state directory is not in the model: {call.args[:1]}")

    def path(self, name: str, base: str = "") -> str:
        path = os.fsdecode(decoded(name))
        return os.path.normpath(path if path.startswith("/") else f"{base}/{path}")

    def file(self, call: Call) -> _File | None:
        """The watched file that a call is about, checked against what strace says its name is."""
        fd, shown = descriptor(call.args[0])
        file = self.fds.get(fd)
        if file is None:
            if self.watched(shown):
                raise TraceError(f"{call.name} on {shown}, opened out of sight")
            return None
        if file.inode and self.names.get(shown) not in (file.inode, None):
            raise TraceError(f"{call.name}: descriptor {fd} should be {file.path}, it is {shown}")
        return file

    def open(self, call: Call) -> None:
        _, base = descriptor(call.args[0])
        path, flags = self.path(call.args[1], base), call.args[2]
        self.fds.pop(call.result, None)
        if not self.watched(path):
            return
        if "O_TMPFILE" in flags or "O_SYNC" in flags or "O_DSYNC" in flags:
            raise TraceError(f"{flags} is not in the model")
        if "O_DIRECTORY" in flags or path == self.root or Path(path).is_dir():
            self.fds[call.result] = _File(0, path, flags)
            return
        inode = self.names.get(path)
        if inode is None:
            if "O_CREAT" not in flags:
                raise TraceError(f"{path} was made out of sight")
            inode = len(self.sizes) + 1
            self.names[path], self.sizes[inode] = inode, 0
            self.emit("create", inode=inode, path=path)
        elif "O_TRUNC" in flags and self.sizes[inode]:
            self.sizes[inode] = 0
            self.emit("size", inode=inode, offset=0)
        self.fds[call.result] = _File(inode, path, flags)

    def close(self, call: Call) -> None:
        self.fds.pop(descriptor(call.args[0])[0], None)

    def data(self, call: Call, file: _File, offset: int) -> None:
        data = decoded(call.args[1])
        if len(data) != int(call.args[2]):
            raise TraceError(f"{call.name}: {len(data)} bytes in the log, {call.args[2]} were written")
        data = data[: call.result]
        self.sizes[file.inode] = max(self.sizes[file.inode], offset + len(data))
        self.emit("write", inode=file.inode, path=file.path, offset=offset, data=data)

    def write(self, call: Call) -> None:
        if descriptor(call.args[0])[0] == ACK_FD:
            for line in decoded(call.args[1]).decode().splitlines():
                if not line.startswith("ACK "):
                    raise TraceError(f"not an acknowledgement: {line}")
                self.emit("ack", path=line[4:])
        elif (file := self.file(call)) is not None:
            if "O_RDWR" in file.flags and "O_APPEND" not in file.flags:
                raise TraceError(f"write() to {file.path}: reads may have moved its offset")
            offset = self.sizes[file.inode] if "O_APPEND" in file.flags else file.at
            self.data(call, file, offset)
            file.at = offset + call.result

    def pwrite(self, call: Call) -> None:
        if (file := self.file(call)) is not None:
            self.data(call, file, int(call.args[3]))

    def lseek(self, call: Call) -> None:
        if (file := self.file(call)) is not None:
            file.at = call.result

    def fcntl(self, call: Call) -> None:
        if call.args[1].startswith("F_DUPFD") and self.file(call) is not None:
            raise TraceError("a duplicated descriptor of a state file is not in the model")

    def sync(self, call: Call) -> None:
        if (file := self.file(call)) is not None:
            self.emit("sync" if file.inode else "names", inode=file.inode, path=file.path)

    def truncate(self, call: Call) -> None:
        if (file := self.file(call)) is not None:
            self.sizes[file.inode] = int(call.args[1])
            self.emit("size", inode=file.inode, path=file.path, offset=int(call.args[1]))

    def fallocate(self, call: Call) -> None:
        if (file := self.file(call)) is not None:
            if call.args[1] != "0":
                raise TraceError(f"fallocate mode {call.args[1]} is not in the model")
            end = int(call.args[2]) + int(call.args[3])
            self.sizes[file.inode] = max(self.sizes[file.inode], end)
            self.emit("grow", inode=file.inode, path=file.path, offset=end)

    def rename(self, call: Call) -> None:
        old, new = self.path(call.args[0]), self.path(call.args[1])
        if self.watched(old) != self.watched(new):
            raise TraceError("a rename into or out of the state directory is not in the model")
        if self.watched(old):
            self.names[new] = self.names.pop(old)
            self.emit("rename", path=old, to=new)

    def link(self, call: Call) -> None:
        old, new = self.path(call.args[0]), self.path(call.args[1])
        if self.watched(new):
            self.names[new] = self.names[old]
            self.emit("link", inode=self.names[old], path=new)

    def unlink(self, call: Call) -> None:
        path = self.path(call.args[0])
        if self.watched(path):
            del self.names[path]
            self.emit("unlink", path=path)

    def mkdir(self, call: Call) -> None:
        path = self.path(call.args[0])
        if self.watched(path) and path != self.root:
            self.emit("mkdir", path=path)

    def mmap(self, call: Call) -> None:
        if call.args[4].startswith("-1") or "MAP_SHARED" not in call.args[3] or "PROT_WRITE" not in call.args[2]:
            return
        if self.watched(descriptor(call.args[4])[1]):
            raise TraceError(f"{descriptor(call.args[4])[1]} is written through a memory map")


def read(log: Path, state: Path, before: list[tuple[str, bytes]] | None = None) -> list[Op]:
    """The operations of a log on the state directory, whose path must be absolute and resolved."""
    reader = _Reader(state, before or [])
    for call in calls(log):
        reader.feed(call)
    return reader.ops
