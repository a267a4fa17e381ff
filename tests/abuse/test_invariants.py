"""Invariants and rows without a home: payment is no fact, nothing runs a text, no decision without a list."""

import ast
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from lintel.edge import gate, model, policy, witness
from lintel.edge.model import Credential, Door, Method, Reading
from lintel.edge.policy import Facts
from tests.edge.rig import run, visitor

EDGE = Path(model.__file__).parent
MONEY = ("arrear", "bill", "debt", "due", "fee", "invoice", "money", "overdue", "paid", "pay", "rent")
RUNS_TEXT = {"eval", "exec", "compile", "system", "popen", "create_subprocess_shell", "__import__"}
SQL_WITH_NAMES = {  # the only texts for the database that are put together, each from the program's own names
    "recovery.py": "rows of every table are copied from a snapshot",
    "connection.py": "pragmas take no bound parameters",
    "apply.py": "pragmas take no bound parameters",
    "migrations.py": "pragmas take no bound parameters",
    "roster.py": "as many groups as a door has, each a bound parameter",
}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            yield name, node


def put_together(tree):
    """Calls that hand the database a text which is not a plain literal or constant."""
    return [
        node
        for name, node in calls(tree)
        if name in ("execute", "executemany", "executescript") and node.args
        and isinstance(node.args[0], ast.JoinedStr | ast.BinOp | ast.Call)
    ]  # fmt: skip


def runs(tree):
    shell = [n for _, n in calls(tree) if any(k.arg == "shell" for k in n.keywords)]
    return shell + [n for name, n in calls(tree) if name in RUNS_TEXT and not _is_method_of_re(n)]


def _is_method_of_re(node):
    return isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "re"


def test_a1_nothing_in_the_gateway_runs_a_text_or_puts_one_into_sql():
    for path in EDGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert runs(tree) == [], path
        if path.name not in SQL_WITH_NAMES:
            assert [ast.unparse(n) for n in put_together(tree)] == [], path


@pytest.mark.parametrize(
    "text", ["eval(x)", "os.system(x)", "subprocess.run(x, shell=True)", "asyncio.create_subprocess_shell(x)"]
)
def test_a1_control_what_runs_a_text_is_seen(text):
    assert runs(ast.parse(text))


@pytest.mark.parametrize(
    "text",
    ['c.execute(f"SELECT {x}")', 'c.execute("SELECT " + x)', 'c.execute("S {}".format(x))', 'c.execute("%s" % x)'],
)
def test_a1_control_sql_put_together_is_seen(text):
    assert put_together(ast.parse(text))


def about_money(names):
    return [n for n in names if any(word in n.lower().split("_") or n.lower().startswith(word) for word in MONEY)]


def test_g13_payment_is_no_input_of_a_decision():
    for kind in (Facts, Credential, Door, Reading):
        assert about_money(f.name for f in fields(kind)) == [], kind
    for module in (policy, witness, gate):
        tree = ast.parse(Path(module.__file__).read_text("utf-8"))
        names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        names += [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
        names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert about_money(names) == [], module
    assert about_money(["arrears", "days_overdue", "billing", "paid"]) == ["arrears", "days_overdue", "billing", "paid"]


@pytest.mark.parametrize("loss", ["gone", "noise", "half"])
def test_e3_without_a_readable_list_nobody_is_let_in_and_the_word_says_why(tmp_path, loss):
    async def before(rig):
        await rig.allow("alice")
        assert await rig.present("alice") == "granted"

    async def after(rig):
        for value, method in (("alice", Method.QR), ("mallory", Method.CARD), (visitor(), Method.PASS)):
            assert await rig.present(value, method=method) == "storage_fault"
        assert rig.lock.orders == []
        assert "db_damaged" in [n for n, _ in rig.store.notices]

    run(before, tmp_path)
    database = tmp_path / "lintel.db"
    whole = database.read_bytes()
    for path in tmp_path.iterdir():
        if path.name.startswith("lintel.db"):
            path.unlink()
    shutil.rmtree(tmp_path / "snapshots")
    if loss == "noise":
        database.write_bytes(bytes(len(whole)))
    elif loss == "half":
        database.write_bytes(whole[: len(whole) // 2])
    damaged = database.read_bytes() if database.exists() else b""
    run(after, tmp_path)
    if loss != "gone":
        assert damaged in [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()], "kept aside, never wiped"
