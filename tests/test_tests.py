"""Rules for the tests themselves: independent data, required tests, assertions. Each rule finds planted violations."""

import ast
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import skips
from helpers import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
GENERATORS = {"default_rng", "Generator", "RandomState", "Random", "SystemRandom"}
STATELESS = GENERATORS | {"SeedSequence", "BitGenerator", "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"}


def every(path):
    return pytest.mark.parametrize("path", path, ids=lambda path: str(path.relative_to(ROOT / "tests")))


def name_of(node):
    """The dotted name of an expression, or an empty string."""
    if isinstance(node, ast.Attribute) and name_of(node.value):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def evaluated_on_import(node):
    """The nodes that run when the module is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for part in (*child.decorator_list, child.args):
                yield part
                yield from evaluated_on_import(part)
        elif not isinstance(child, ast.Lambda):
            yield from evaluated_on_import(child)


def kept_generators(text):
    """Lines that keep a random generator for several tests; ``default_rng(0).normal(size=3)`` keeps none."""
    nodes = list(evaluated_on_import(ast.parse(text)))
    used_up = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    return [
        node.lineno
        for node in nodes
        if isinstance(node, ast.Call) and name_of(node.func).split(".")[-1] in GENERATORS and id(node) not in used_up
    ]


def global_generators(text):
    """Lines that draw from a generator that belongs to the process."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and name_of(node.func).rpartition(".")[0] in ("np.random", "numpy.random", "random")
        and name_of(node.func).split(".")[-1] not in STATELESS
    ]


@every(FILES)
def test_data_do_not_depend_on_the_order_of_tests(path):
    cure = "use the fixture rng, or a generator made in the function that uses it"
    assert kept_generators(path.read_text()) == [], cure
    assert global_generators(path.read_text()) == [], cure


@pytest.mark.parametrize(
    "line",
    [
        "RNG = np.random.default_rng(0)",
        "a, b = 1, default_rng()",
        "if 1:\n    r = np.random.RandomState(1)",
        "class Data:\n    rng = random.Random(0)",
        "def numbers(rng=np.random.default_rng(0)): pass",
        "X = sample(rng=default_rng(0))",
        "@given(default_rng(0))\ndef f(): pass",
        "RNG = Generator(PCG64(0))",
    ],
)
def test_kept_generators_are_found(line):
    assert len(kept_generators(line)) == 1


@pytest.mark.parametrize("line", ["np.random.seed(0)", "def f():\n    return np.random.normal()", "random.shuffle(a)"])
def test_global_generators_are_found(line):
    assert len(global_generators(line)) == 1


def test_generators_of_one_test_are_allowed():
    text = "X = np.random.default_rng(0).normal()\ndef test():\n    rng = np.random.default_rng(0)\n    rng.normal()"
    assert kept_generators(text) == global_generators(text) == []


MISSING = "from helpers import require; require('a_package_that_is_missing')"
MARKED = "import pytest; pytestmark = pytest.mark.frameworks"
SKIPPING = {  # text of a file: what becomes of it when FASTBP_REQUIRE is empty, unmarked, frameworks
    f"def test():\n    {MISSING}": ("skipped", "failure", "skipped"),
    f"{MARKED}\ndef test():\n    {MISSING}": ("skipped", "skipped", "failure"),
    f"import pytest\n@pytest.mark.gpu\ndef test():\n    {MISSING}": ("skipped", "skipped", "skipped"),
    f"{MISSING}\ndef test(): pass": ("skipped", "error", "skipped"),
    f"{MARKED}\n{MISSING}\ndef test(): pass": ("skipped", "skipped", "error"),
    "import pytest\n@pytest.mark.skip(reason='later')\ndef test(): pass": ("skipped", "error", "skipped"),
    "import pytest\n@pytest.mark.skip(reason='is about this very process')\ndef test(): pass": ("skipped",) * 3,
    "import pytest\n@pytest.mark.parametrize('k', [])\ndef test(k): pass": ("error",) * 3,
    "def test(): pass": ("passed",) * 3,
}


@pytest.mark.parametrize("setting", ["", "unmarked", "frameworks"])
def test_a_required_test_that_is_skipped_fails(tmp_path, setting):
    for k, text in enumerate(SKIPPING):
        (tmp_path / f"test_{k}.py").write_text(text)
    environment = {**os.environ, "FASTBP_REQUIRE": setting, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "--continue-on-collection-errors"]
    options = ["-c", ROOT / "pyproject.toml", f"--rootdir={tmp_path}", f"--junitxml={tmp_path / 'found.xml'}"]
    subprocess.run([*command, *options, tmp_path], capture_output=True, env=environment)
    found = {}
    for case in ElementTree.parse(tmp_path / "found.xml").iter("testcase"):
        name = case.get("classname") or case.get("name")
        found[name] = next((child.tag for child in case), "passed")
    column = ["", "unmarked", "frameworks"].index(setting)
    assert found == {f"test_{k}": outcomes[column] for k, outcomes in enumerate(SKIPPING.values())}


CLOCKS = {"time.time", "time.monotonic", "time.perf_counter", "time.process_time", "time.thread_time"}


def cannot_fail(node):
    always_true = (ast.GeneratorExp, ast.Lambda, ast.Tuple, ast.List, ast.Dict, ast.JoinedStr)
    return isinstance(node, ast.Assert) and isinstance(node.test, always_true)


def reads_a_clock(node):
    return isinstance(node, ast.Call) and name_of(node.func) in CLOCKS


def idle_checks(text):
    """Lines of assertions that cannot fail, and of clocks: a limit on measured time fails on a busy machine alone."""
    return [node.lineno for node in ast.walk(ast.parse(text)) if cannot_fail(node) or reads_a_clock(node)]


@every(FILES)
def test_assertions_can_fail_and_measure_no_time(path):
    text = path.read_text()
    if path.parent.name == "differential" and path.name == "run.py":  # searches for a given time, and limits none
        assert not [node for node in ast.walk(ast.parse(text)) if cannot_fail(node)]
        return
    # test_fit.py moves the clock that fit reads; test_gpu_checks.py waits until a command ends at its limit.
    allowed = {"test_fit.py": 1, "test_gpu_checks.py": 2}.get(path.name, 0)
    assert len(idle_checks(text)) == allowed


@pytest.mark.parametrize("line", ["assert (x for x in a)", "assert lambda: x", "assert (x, 'text')", "t = time.time()"])
def test_idle_checks_are_found(line):
    assert len(idle_checks(line)) == 1


def test_unknown_groups_are_refused():
    assert skips.required("all") == {"unmarked", "frameworks"}
    with pytest.raises(ValueError, match="FASTBP_REQUIRE is 'al', expected all or names of"):
        skips.required("al")


def test_only_helpers_skip_at_run_time():
    """Tests import optional packages with `require`, which distinguishes a missing package from a broken one."""
    for path in FILES:
        assert "importorskip(" not in path.read_text() or path.name == "test_tests.py", path.name
