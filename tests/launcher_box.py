"""A clone in a directory of its own, with stand-ins for what `./lintel` calls."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pip
import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(sys.executable).resolve()

UV = """#!/bin/sh
echo "$*" >> {log}
{extra}
case "$1 $*" in
    venv*)
        for place; do :; done
        exec {python} -I -m venv --without-pip "$place"
        ;;
    *" -e "*)
        printf '#!/bin/sh\\nprintf "[%%s]" "$@"\\n' > {clone}/.venv/bin/lintel
        chmod +x {clone}/.venv/bin/lintel
        ;;
esac
"""


class Box:
    """A machine with a clone of this project and only the programs that are put into its PATH."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clone = home / "some clone"
        self.bin = home / "bin"
        self.log = home / "uv.log"
        self.environment = {"HOME": str(home), "LANG": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
        self.bin.mkdir()
        for name in ("cat", "chmod", "cksum", "flock", "readlink", "sh", "sleep"):
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.clone.mkdir()
        for name in ("lintel", "pyproject.toml", "constraints.txt", "constraints-peers.txt"):
            shutil.copy2(ROOT / name, self.clone / name)
        shutil.copytree(ROOT / "scripts", self.clone / "scripts")

    def program(self, name: str, text: str) -> None:
        """Put a program into PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, name: str = "python3") -> None:
        """Put this interpreter into PATH."""
        self.program(name, f'#!/bin/sh\nexec {PYTHON} "$@"\n')

    def uv(self, extra: str = "") -> None:
        """Put the stand-in for uv into PATH; `extra` is run in each of its calls."""
        clone = str(self.clone).replace(" ", "\\ ")
        self.program("uv", UV.format(log=self.log, python=PYTHON, clone=clone, extra=extra))

    def environment_with_pip(self) -> None:
        """Make `.venv` with the pip that the tests run with: faster than to unpack Python's own."""
        venv = self.clone / ".venv"
        subprocess.run([PYTHON, "-I", "-m", "venv", "--without-pip", venv], check=True)
        next(venv.glob("lib/python3*/site-packages")).joinpath("pip").symlink_to(Path(pip.__file__).parent)
        (venv / "bin/pip").touch()

    def calls(self) -> int:
        """How often uv was called so far."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def begin(self, *words: str, program: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start the launcher from a directory that is not the clone."""
        return subprocess.Popen(
            [str(program or self.clone / "lintel"), *words],
            cwd="/",
            env={"PATH": str(self.bin)} | self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, program: Path | None = None, **environment: str) -> tuple[int, str, str]:
        """Run the launcher: exit status, output, messages."""
        process = self.begin(*words, program=program, **environment)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)
