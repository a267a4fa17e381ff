"""Recognition is apart: the gateway's own process loads nothing of it, also where it is installed."""

import subprocess
import sys

import pytest

GATEWAY = ["daemon", "cli.gateway", "drivers.camera", "drivers.serial_qr", "drivers.mqtt_terminal"]
HEAVY = "print([m for m in ('numpy', 'cv2', 'zxingcpp', 'lintel.edge.recognition') if m in sys.modules])"


def loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{HEAVY}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_gateway_loads_no_numpy_and_no_opencv():
    assert loaded("\n".join(f"import lintel.edge.{m}" for m in GATEWAY)) == "[]"


def test_control_a_library_of_the_store_would_load_numpy():
    assert loaded("import sqlite_utils") == "['numpy']"


def test_what_the_store_needs_of_it_works_and_numpy_can_be_loaded_later():
    assert loaded("from lintel.edge.store.bare import sqlite_utils\nsqlite_utils.Database(memory=True)") == "[]"
    assert loaded("import lintel.edge.store.bare\nimport numpy\nnumpy.zeros(1)") == "['numpy']"


@pytest.mark.parametrize("given", [b"", b"\0\0\0\x03{}}", b"\xff\xff\xff\xff"])
def test_the_worker_started_by_hand_says_what_it_is(given):
    command = [sys.executable, "-m", "lintel.edge.recognition.worker"]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"driver of a camera" in done.stderr
    assert b"Traceback" not in done.stderr
