"""The trainers of examples/embedding: built as their README says from the installed package only, and Python's bits."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, SANITIZE, plain_environment, run

import fastbp as fb

PACKAGE = Path(fb._core.__file__).parent
EXAMPLE = ROOT / "examples" / "embedding"
DRIVERS = ROOT / "tests" / "cpp" / "embedding"
CMAKE_LINES, PKG_CONFIG_LINES = re.findall("```bash\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
ROWS, SIZES, BATCH, EPOCHS = 256, (2, 16, 2), 32, 20

pytestmark = [
    pytest.mark.skipif(
        not (PACKAGE / "lib" / "libfastbp.so").exists(), reason="a development tree: libfastbp.so is not installed"
    ),
    pytest.mark.skipif(bool(SANITIZE), reason="the sanitizer of the whole suite is in the way of other programs"),
]
needs_pkg_config = pytest.mark.skipif(shutil.which("pkg-config") is None, reason="there is no pkg-config")


def shell(lines, folder):
    """Runs lines of the README where the trainers lie, with this Python as `python`."""
    environment = plain_environment()
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment["PATH"]])
    done = subprocess.run(["bash", "-euc", lines], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def by_cmake(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cmake")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    shell(CMAKE_LINES, folder)
    return folder / "build"


@pytest.fixture(scope="module")
def by_pkg_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pkg-config")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    shell(PKG_CONFIG_LINES, folder)
    return folder


def flags(package=PACKAGE):
    """What pkg-config says of a package, wherever it lies."""
    environment = {**os.environ, "PKG_CONFIG_PATH": str(package / "lib" / "pkgconfig")}
    asked = ["pkg-config", "--cflags", "--libs", "fastbp"]
    return subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.split()


def said_by(program, *arguments):
    """Everything a trainer prints: lists of numbers by name."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        found.setdefault(name, []).extend(map(float.fromhex, numbers))
    return found


def number(i):
    """The trainers' formula, modulo 2^32."""
    i = (np.asarray(i, np.uint32) + np.uint32(1)) * np.uint32(2654435761)
    i = (i ^ (i >> np.uint32(15))) * np.uint32(2246822519)
    return (i >> np.uint32(22)) / 512 - 1


def scene(dtype):
    net = fb.MLP(SIZES, loss="cross_entropy", activation="tanh", dtype=dtype, deterministic=True)
    X = number(np.arange(ROWS * SIZES[0])).reshape(ROWS, SIZES[0]).astype(dtype)
    net.params = number(ROWS * SIZES[0] + np.arange(net.params.size)) / 2
    return net, X, (X[:, 0] * X[:, 1] > 0).astype(int)


def as_trainer_c(dtype):
    """What trainer.c does: fit."""
    net, X, y = scene(dtype)
    first = net.value_and_grad(X, y)[1]
    history = net.fit(X, y, optimizer=fb.Adam(lr=0.05), batch_size=BATCH, epochs=EPOCHS, shuffle=False)
    value, grad = net.value_and_grad(X, y)
    return {"first_grad": first, "loss": history.loss, "value": [value], "grad": grad, "params": net.params}


def as_trainer_cpp(dtype):
    """What trainer.cpp does: a loop of its own."""
    net, X, y = scene(dtype)
    first, order = net.value_and_grad(X, y)[1], np.arange(ROWS) * 37 % ROWS
    state, losses = fb.SGD(lr=0.1, momentum=0.9).init(net.params), []
    for _ in range(EPOCHS):
        total = 0.0
        for rows in order.reshape(-1, BATCH):
            value, grad = net.value_and_grad(X[rows], y[rows])
            state.update(net.params, grad)
            total += value
        losses.append(total / (ROWS // BATCH))
    value, grad = net.value_and_grad(X, y)
    return {
        "first_grad": first, "loss": losses, "value": [value], "grad": grad, "hvp": net.hvp(X, y, grad),
        "params": net.params,
    }  # fmt: skip


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_array_equal(found[name], np.asarray(numbers, "f8"), err_msg=name)
    assert found["loss"][-1] < 0.3 * found["loss"][0]  # and it has learned


def test_by_cmake(by_cmake):
    assert_same_bits(said_by(by_cmake / "trainer_c"), as_trainer_c("float32"))
    assert_same_bits(said_by(by_cmake / "trainer_cpp"), as_trainer_cpp("float32"))
    assert_same_bits(said_by(by_cmake / "trainer_cpp", "double"), as_trainer_cpp("float64"))


@needs_pkg_config
def test_by_pkg_config(by_pkg_config):
    assert_same_bits(said_by(by_pkg_config / "trainer_c"), as_trainer_c("float32"))
    assert_same_bits(said_by(by_pkg_config / "trainer_c_double"), as_trainer_c("float64"))
    assert_same_bits(said_by(by_pkg_config / "trainer_cpp", "double"), as_trainer_cpp("float64"))


def test_an_error_is_told_by_its_status(by_cmake):
    for program in ("trainer_c", "trainer_cpp"):
        environment = {**os.environ, "FASTBP_BLAS": "mkl2"}
        done = subprocess.run([by_cmake / program], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("fastbp: status 1: FASTBP_BLAS is 'mkl2', expected")


@needs_pkg_config
def test_a_moved_package_is_found_where_it_is(tmp_path):
    moved = tmp_path / "elsewhere"
    for part in ("lib", "include"):
        shutil.copytree(PACKAGE / part, moved / part)
    run("cc", "-std=c99", EXAMPLE / "trainer.c", *flags(moved), "-o", tmp_path / "trainer")
    assert re.search(rf"libfastbp\.so => {re.escape(str(moved))}/", run("ldd", tmp_path / "trainer"))
    assert said_by(tmp_path / "trainer")["loss"] == as_trainer_c("float32")["loss"]


@needs_pkg_config
@pytest.mark.parametrize(
    "compiler, source, expected",
    [("cc", "trainer.c", as_trainer_c), ("c++", "trainer.cpp", as_trainer_cpp)],
)
def test_under_the_address_sanitizer(compiler, source, expected, tmp_path):
    program = tmp_path / "trainer"
    sanitize = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    run(compiler, *sanitize, EXAMPLE / source, *flags(), "-o", program)
    assert "__asan_init" in run("nm", program)
    assert_same_bits(said_by(program), expected("float32"))


@pytest.fixture
def counted(tmp_path):
    """Builds a source with the counter of allocations and gives what it said: (stdout, [(call, allocations)])."""
    wrapped = ("net_create", "evaluate", "run_epoch", "update")
    wrap = "-Wl," + ",".join(f"--wrap=fastbp_{name}" for name in wrapped)
    counter, program = tmp_path / "counter.o", tmp_path / "program"

    def build_and_run(compiler, source, *options):
        run("cc", "-std=c11", "-c", DRIVERS / "count_allocations.c", *flags(), "-o", counter)
        run(compiler, *options, source, counter, wrap, *flags(), "-o", program)
        done = subprocess.run([program], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        lines = (line.split() for line in done.stderr.splitlines())
        return done.stdout, [(name, int(count)) for name, count in lines]

    return build_and_run


@needs_pkg_config
def test_nothing_is_allocated_after_the_first_calls(counted):
    """By nobody in the process: neither the library nor the trainers.

    The last call of trainer.c is not looked at: it is the first that computes a gradient of all rows.
    """
    first_calls = {
        ("cc", "trainer.c"): (["net_create", "evaluate", "run_epoch"], -1),
        ("c++", "trainer.cpp"): (["net_create", "evaluate", "evaluate", "update"], None),
    }
    for (compiler, source), (first, end) in first_calls.items():
        _, calls = counted(compiler, EXAMPLE / source)
        assert [name for name, _ in calls[: len(first)]] == first
        assert calls[0][1] > 0  # the counter sees what there is
        steady = {count for _, count in calls[len(first) - 1 : end]}
        assert len(calls) > len(first) + EPOCHS - 1
        assert len(steady) == 1, f"{source}: {sorted(steady)}"


@needs_pkg_config
def test_every_call_of_the_cpp_header(counted):
    said, _ = counted("c++", DRIVERS / "every_call.cpp", "-std=c++17")
    first, then = map(int, re.fullmatch(r"(\d+) allocations, then (\d+)\n", said).groups())
    assert first > 0
    assert then == 0
