"""The rules of conftest.py hold: each is tried on a small suite that breaks it."""

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    shutil.copy(CONFTEST, pytester.path / "conftest.py")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # what is tried is conftest.py alone, and quickly
    return pytester


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test(): pytest.skip('no broker here')",
        "import pytest\n@pytest.mark.skip(reason='later')\ndef test(): pass",
        "import pytest\npytest.importorskip('no_such_module')\ndef test(): pass",
    ],
)
def test_a_skip_fails_in_ci_only(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    suite.makepyfile(text)
    here = suite.runpytest_subprocess("-p", "no:cacheprovider")
    assert here.parseoutcomes().get("skipped") == 1
    monkeypatch.setenv("CI", "true")
    ci = suite.runpytest_subprocess("-p", "no:cacheprovider")
    assert ci.ret != 0
    assert "skipped" not in ci.parseoutcomes()


def test_an_expected_failure_is_no_skip(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.makepyfile("import pytest\n@pytest.mark.xfail(strict=True)\ndef test(): assert False")
    suite.runpytest_subprocess().assert_outcomes(xfailed=1)


CHILD = """
import subprocess
kept = []
def test(): kept.append(subprocess.Popen(["sleep", "9"]))
def teardown_module(): kept[0].kill(); kept[0].wait()
"""
THREAD = """
import threading
stop = threading.Event()
def test(): threading.Thread(target=stop.wait).start()
def teardown_module(): stop.set()
"""


@pytest.mark.parametrize("leak", [CHILD, THREAD], ids=["child", "thread"])
def test_what_is_left_running_fails_the_test(suite: pytest.Pytester, leak: str) -> None:
    conftest = suite.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("GRACE = 3.0", "GRACE = 0.1"))
    suite.makepyfile(leak)
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*left running: *")


def test_long_campaigns_run_when_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.long\ndef test_long(): pass\ndef test_plain(): pass")
    suite.runpytest_subprocess().assert_outcomes(passed=1, deselected=1)
    suite.runpytest_subprocess("--long").assert_outcomes(passed=2)


def test_a_campaign_that_selects_nothing_is_no_option(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test(): pass")
    assert suite.runpytest_subprocess("--fault").ret == pytest.ExitCode.USAGE_ERROR
