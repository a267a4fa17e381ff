"""The gateway on a whole box of its own: systemd, the kernel's GPIO lines, the real Bluetooth stack.

What these tests need is built once into the cache, as root; see `build.py` and decision 014.
"""

import json

import pytest

from tests.guest import build, machine

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.fixture(scope="session")
def box():
    try:
        return build.box()
    except build.Unbuilt as error:
        pytest.fail(f"no guest: {error}", pytrace=False)


def passed(result, least):
    """How many tests passed in the guest; a failure shows what pytest said there."""
    assert result.rc == 0, str(result)
    last = result.output.strip().splitlines()[-1]
    number = int(last.split(" passed")[0].split()[-1])
    assert "skipped" not in last, str(result)
    assert "deselected" not in last, str(result)
    assert number >= least, str(result)
    print("\n".join(line for line in result.output.splitlines() if " ms" in line or "passed" in line))


def test_the_box_boots_and_systemd_is_content(box):
    result = machine.run(box, "systemctl is-system-running --wait; uname -r; cat /proc/uptime\n")
    assert result.rc == 0, str(result)
    state, kernel, uptime = result.output.splitlines()
    assert state == "running"
    assert kernel.endswith("-lintel")
    print(f"booted and off again in {result.seconds:.1f} s, up {uptime.split()[0]} s")


def test_a_script_that_fails_hangs_or_kills_the_guest_is_told_from_one_that_works(box):
    """The control of all the others."""
    assert machine.run(box, "exit 7\n").rc == 7
    assert machine.run(box, "sleep 600\n", limit=8.0).rc is None
    assert machine.run(box, "echo c >/proc/sysrq-trigger; sleep 60\n", limit=30.0).rc is None
    with pytest.raises(AssertionError):
        passed(machine.tests(box, "test_no_such_file.py", limit=60.0), 1)


def test_a_boot_leaves_no_trace_on_the_disk(box):
    assert machine.run(box, "echo mine >/etc/trace; cat /etc/trace\n").output == "mine\n"
    assert machine.run(box, "ls /etc/trace 2>&1 || true\n").output.endswith("No such file or directory\n")


def test_the_package_runs_in_the_guest_with_its_own_python(box):
    ask = "import json, sys, lintel, lintel.edge.profiles as p, sqlcipher3, bleak, gpiod;"
    tell = "print(json.dumps([sys.version_info[:2], lintel.__file__, len(p.builtin()), gpiod.api_version]))"
    result = machine.run(box, f"cd /\npython3 -c '{ask} {tell}'\npython3 -m lintel --help >/dev/null\n")
    assert result.rc == 0, str(result)
    version, where, profiles, _ = json.loads(result.output)
    assert version == [3, 11]
    assert where == "/clone/src/lintel/__init__.py"
    assert profiles >= 25


def test_gpio_lines_of_the_kernel(box):
    passed(machine.tests(box, "test_gpio.py", limit=300.0), 12)


def test_bluetooth_locks_through_the_real_stack(box):
    passed(machine.tests(box, "test_ble.py", limit=600.0), 9)


def test_the_service_on_a_real_systemd(box):
    passed(machine.tests(box, "test_service.py", limit=300.0), 8)
