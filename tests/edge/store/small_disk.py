"""Code that runs in a mount namespace of its own with a small disk, which fills up or turns read-only."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

NAMESPACES = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def inside(body: str, size: str) -> str:
    """Run code in a private mount namespace with a small disk at $D; returns what it printed."""
    code = "import asyncio, os, subprocess, sys, time\nfrom pathlib import Path\n" + textwrap.dedent(
        """
        from lintel.edge.errors import StoreError
        from lintel.edge.model import Stream
        from lintel.edge.store import CountedUse
        from lintel.edge.store.verify import verify
        from tests.edge.store.helpers import card, digest, event, opened
        D = Path(sys.argv[1])
        """
    ) + textwrap.dedent(body)  # fmt: skip
    script = f'mkdir -p "$1" && mount -t tmpfs -o size={size} tmpfs "$1" && exec {sys.executable} -c "$2" "$1"'
    mount = Path(os.environ.get("TMPDIR", "/tmp")) / f"lintel-small-{os.getpid()}"
    mount.mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(mount), code], capture_output=True, text=True, check=False
    )
    mount.rmdir()
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


READ_ONLY = """
def mount(*how):
    subprocess.run(["mount", *how, str(D)], check=True)

class ReadOnly:
    # What a kernel does that turns a failing disk read-only under open files (it refuses to on request): the mount is
    # read-only to everybody who looks or opens, and writing to files that were open before answers EROFS.
    CALLS = "write,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate"

    def __init__(self, refuse):
        mount("--bind", str(D))
        mount("-o", "remount,bind,ro")
        paths = [w for f in D.iterdir() for w in ("-P", str(f))]
        inject = ["-e", "trace=" + self.CALLS, "-e", f"inject={self.CALLS}:error=EROFS"]
        command = ["strace", "-f", "-o", "/dev/null", "-p", str(os.getpid()), *paths, *inject]
        self.strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True) if refuse else None
        if self.strace:
            said = self.strace.stderr.readline()
            assert "attached" in said, said

    def end(self):
        if self.strace:
            self.strace.terminate()
            self.strace.wait()
        subprocess.run(["umount", "-l", str(D)], check=True)

async def prepare():
    store = opened(D)
    await store.allowlist.apply_import([card(1, use_limit=9)], at=1.0, replace=False)
    await store.journal.append(event(1), now=True)
    return store

async def attempt(store):
    "What an event and a counted use come to, and whether residents are known meanwhile."
    found = store.allowlist.find(digest(1)) is not None
    words = [bool(os.statvfs(D).f_flag & os.ST_RDONLY), found]
    for act in (lambda: store.journal.append(event(2), now=True),
                lambda: store.allowlist.consume(CountedUse(digest(1)), event(3), event(4))):
        try:
            await act()
            words.append("done")
        except StoreError as e:
            words.append(e.word)
    return words

async def recovered(store):
    begun = time.monotonic()
    while store.writer.fault and time.monotonic() - begun < 6:
        await asyncio.sleep(0.1)
    won = await store.allowlist.consume(CountedUse(digest(1)), event(5), event(6))
    people = [r.event.person for r in store.journal.export(Stream.ACCESS)]
    ok = verify(store.database).ok
    uses = store.allowlist.find(digest(1)).uses
    await store.close()
    return [won, uses, ok, ",".join(people)]
"""
