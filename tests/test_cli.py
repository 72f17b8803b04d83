"""The command line, each command in a process of its own, and the bundled data."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import require

import fastbp as fb
from fastbp._bench import PROBLEMS, Problem, check_answers, interleaved, threads_held
from fastbp._data import load_digits, stratified_split


def run(*arguments, cwd=None, **environment):
    """A finished `python -m fastbp`, with its output as text."""
    return subprocess.run(
        [sys.executable, "-m", "fastbp", *arguments],
        capture_output=True, text=True, timeout=300, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"fastbp {fb.__version__}\n")


def test_info():
    done = run("info")
    assert done.returncode == 0
    assert fb.__version__ in done.stdout
    facts = json.loads(run("info", "--json").stdout)
    assert facts == fb.show_config("dicts")


def test_check():
    done = run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert "nets agree with the NumPy reference" in done.stdout


def test_demo(tmp_path):
    done = run("demo", "--out", str(tmp_path / "new"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"ok +test accuracy: ([\d.]+)", done.stdout)[1]) >= 0.96
    assert len(re.findall("^ok ", done.stdout, re.MULTILINE)) == 3
    assert re.search(r"fastbp [\d.]+ s, NumPy [\d.]+ s, ratio [\d.]+", done.stdout)


@pytest.mark.frameworks
def test_demo_draws_into_the_current_folder(tmp_path):
    require("matplotlib")
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (picture,) = tmp_path.iterdir()
    assert picture.name == "fastbp-demo.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture.resolve()) in done.stdout


def test_demo_fails_where_a_check_fails(tmp_path, monkeypatch, capsys):
    from fastbp import _demo, cli

    monkeypatch.setattr(_demo, "LEAST_ACCURACY", 1.01)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert re.search("^FAILED +test accuracy", capsys.readouterr().out, re.MULTILINE)


def test_bench(tmp_path):
    file = tmp_path / "bench.json"
    done = run("bench", "--rounds", "2", "--problems", "2", "--json", str(file), FASTBP_NUM_THREADS="3")
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(file.read_text())
    assert {"threads", "isa", "blas", "numpy", "cpu"} <= written["conditions"].keys()
    assert written["conditions"]["threads"] == 1  # of the times, whatever the process may use
    assert re.search("^threads +1$", done.stdout, re.MULTILINE)
    assert [tuple(entry["widths"]) for entry in written["problems"]] == [p.widths for p in PROBLEMS[:2]]
    for entry in written["problems"]:
        assert entry["rounds"] == 2
        assert min(entry["fastbp"], entry["numpy"], entry["ratio"]) > 0
        assert f"{entry['ratio']:.2f}" in done.stdout


def test_bench_times_no_wrong_answer(tmp_path, monkeypatch, capsys):
    from fastbp import _bench, cli

    monkeypatch.setattr(_bench, "TOLERANCE", -1.0)
    monkeypatch.setattr(_bench, "measure", pytest.fail)
    assert cli.main(["bench", "--problems", "1"]) == 1
    assert "FAILED, not timed" in capsys.readouterr().out


def test_check_finds_a_wrong_reference(monkeypatch, capsys):
    from fastbp import cli, reference

    g, _ = reference.ACTIVATIONS["tanh"]
    monkeypatch.setitem(reference.ACTIVATIONS, "tanh", (g, lambda s, x, a: 1.0 - x))
    assert cli.main(["check"]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
    assert wrong
    assert all("tanh" in line for line in wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("train",),
        ("--no-such-option",),
        ("demo", "--out"),
        ("bench", "--rounds", "0"),
        ("bench", "--problems", "x"),
        ("bench", "--json", "no-such-folder/bench.json"),
        ("info", "--cmakedir"),
        ("--cmakedir", "--libs"),
        ("--cmakedir", "info"),
    ],
)
def test_usage_errors(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: fastbp" in done.stderr


def test_demo_refuses_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    done = run("demo", "--out", str(tmp_path / "file"))
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_settings_that_cannot_be_had_are_told():
    done = run("info", FASTBP_BLAS="no-such-blas")
    assert done.returncode == 2
    assert done.stderr.startswith("fastbp: FASTBP_BLAS is 'no-such-blas'")


def test_cmakedir():
    done = run("--cmakedir")
    assert done.returncode == 0
    folder = Path(done.stdout.strip())
    assert str(folder) == fb.get_cmake_dir()
    assert folder.is_dir()


def test_pkgconfigdir():
    done = run("--pkgconfigdir")
    assert done.returncode == 0
    assert Path(done.stdout.strip()).parts[-2:] == ("lib", "pkgconfig")


def test_compiler_and_linker_flags():
    assert run("--includes").stdout.startswith("-I")
    libs = run("--libs").stdout
    assert libs.startswith("-L")
    assert libs.endswith("-lfastbp\n")


def test_load_digits():
    X, y = load_digits()
    assert (X.shape, X.dtype, X.min(), X.max()) == ((1797, 64), np.uint8, 0, 16)
    assert (y.shape, y.dtype) == ((1797,), np.int64)
    # The counts of each digit in the UCI test part.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert X[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_stratified_split():
    y = np.repeat([3, 7, 9], [100, 50, 10])[np.random.default_rng(0).permutation(160)]
    first, second = stratified_split(y, 0.2, seed=4)
    assert sorted([*first, *second]) == list(range(160))
    assert np.all(np.diff(first) > 0)
    assert np.all(np.diff(second) > 0)
    assert [int(np.sum(y[second] == name)) for name in (3, 7, 9)] == [20, 10, 2]
    again, other = stratified_split(y, 0.2, seed=4)[1], stratified_split(y, 0.2, seed=5)[1]
    assert np.array_equal(second, again)
    assert not np.array_equal(second, other)


def test_stratified_split_takes_names_and_all_or_nothing():
    assert [len(part) for part in stratified_split(["a", "b", "a"], 0.0, seed=0)] == [3, 0]
    assert [len(part) for part in stratified_split(["a", "b", "a"], 1.0, seed=0)] == [0, 3]
    with pytest.raises(ValueError, match="fraction"):
        stratified_split([0, 1], 1.5, seed=0)


def test_interleaved_turns_the_order_round():
    calls = []
    seconds = interleaved([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert "".join(calls) == "abbaab"
    assert seconds.shape == (3, 2)
    assert np.all(seconds >= 0)


def test_flops_of_a_step():
    # Products of 2 x 3 and 3 x 4: forward 6 + 12, weight gradients 6 + 12, delta of the hidden layer 12.
    assert Problem((2, 3, 4), 5).flops == 2 * 5 * (18 + 18 + 12)


@pytest.mark.parametrize("problem", PROBLEMS[:4], ids=lambda problem: problem.name)
def test_answers_of_the_problems(problem):
    with threads_held():
        assert all(error < 2e-6 for error in check_answers(problem).values())


def test_output_that_nobody_reads():
    """As in `fastbp info | head -0`: no traceback, neither from the command nor from the end of the interpreter."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fastbp", "info"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastbp", "info"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("fastbp: [Errno 28] No space left on device\n")
    assert "Traceback" not in done.stderr
