"""The runner of the checks on a GPU, with stand-ins for its commands: order, limits and failures."""

import json
import os
import sys
import time

import gpu_checks
import pytest
from gpu_checks import Part
from helpers import ROOT

WITH_GPU = {"ask_for_gpu": lambda *command: "a card"}


def part(name, code, minutes=1.0, **more):
    return Part(name, minutes, (sys.executable, "-c", code), **more)


def run(tmp_path, parts, **more):
    """The exit status and the summary of a run with these parts in the place of the real ones."""
    arguments = ["--results", str(tmp_path / "results"), "--logs", str(tmp_path / "logs")]
    status = gpu_checks.main(arguments, make_parts=lambda *given: parts, **{**WITH_GPU, **more})
    (file,) = (tmp_path / "results").glob("*-gpu-checks.json")
    return status, json.loads(file.read_text())


def statuses(summary):
    return {found["name"]: found["status"] for found in summary["parts"]}


def test_parts_run_in_order_and_their_minutes_are_kept(tmp_path, capsys):
    note = "import os; open(os.environ['NOTES'], 'a').write({!r})"
    to = {"NOTES": str(tmp_path / "notes")}
    parts = [part(name, note.format(name), environment=to) for name in "abc"]
    status, summary = run(tmp_path, parts)
    assert status == 0
    assert (tmp_path / "notes").read_text() == "abc"
    assert list(statuses(summary).values()) == ["passed"] * 3
    assert summary["gpu"] == "a card"
    assert summary["minutes"] == pytest.approx(sum(found["minutes"] for found in summary["parts"]), abs=1e-9)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["a", "b", "c"]
    assert printed[3].endswith("all passed")


def test_a_failed_part_is_shown_and_the_next_ones_run(tmp_path, capsys):
    parts = [part("bad", "print('why'); raise SystemExit(3)"), part("good", "")]
    status, summary = run(tmp_path, parts)
    assert status == 1
    assert statuses(summary) == {"bad": "failed with exit status 3", "good": "passed"}
    assert summary["parts"][0]["output"] == "why\n"
    assert (tmp_path / "logs" / "bad.log").read_text() == "why\n"
    printed = capsys.readouterr().out
    assert "why" in printed
    assert printed.endswith("failed: bad\n")


def test_nothing_runs_behind_an_essential_part_that_failed(tmp_path):
    status, summary = run(tmp_path, [part("build", "raise SystemExit(1)", essential=True), part("tests", "")])
    assert status == 1
    assert statuses(summary)["tests"] == "not run, because build failed"


def test_a_program_that_is_missing_is_a_failure(tmp_path):
    status, summary = run(tmp_path, [Part("check", 1.0, ("no-such-program",))])
    assert status == 1
    assert "could not start" in statuses(summary)["check"]
    assert "no-such-program" in statuses(summary)["check"]


def test_results_that_are_missing_are_a_failure(tmp_path):
    file = tmp_path / "steps.json"
    file.write_text("of an earlier run")
    status, summary = run(tmp_path, [part("steps", "", writes=file)])
    assert status == 1
    assert statuses(summary) == {"steps": "wrote no steps.json"}


def test_a_part_and_its_processes_end_at_its_limit(tmp_path):
    """The part starts a process of its own, as compute-sanitizer and pytest do."""
    child = f"import os, time; open({str(tmp_path / 'child')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.monotonic()
    status, summary = run(tmp_path, [part("slow", parent, minutes=2 / 60), part("next", "")])
    assert time.monotonic() - start < 30
    assert status == 1
    assert statuses(summary)["slow"].startswith("stopped at its limit")
    assert statuses(summary)["next"] == "passed"
    pid = int((tmp_path / "child").read_text())
    for _ in range(100):  # the system needs a moment to end it
        try:
            with open(f"/proc/{pid}/stat") as stat:
                ended = stat.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            ended = True
        if ended:
            break
        time.sleep(0.1)
    assert ended


def test_without_a_gpu_nothing_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    parts = [part("build", f"open({str(tmp_path / 'ran')!r}, 'w')")]
    status = gpu_checks.main(["--results", str(tmp_path)], make_parts=lambda *given: parts)
    assert status == 2
    assert "no NVIDIA GPU" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("peers", [False, True])
def test_the_parts_fit_into_their_minutes_and_their_files_exist(tmp_path, peers):
    parts = gpu_checks.gpu_parts(tmp_path / "date", peers=peers)
    assert sum(one.minutes for one in parts) <= (16 if peers else 12) + 1e-9
    assert len({one.name for one in parts}) == len(parts)
    assert parts[0].environment["FASTBP_CUDA"] == "1"
    assert parts[0].essential
    assert {"FASTBP_REQUIRE": "gpu"} in [one.environment for one in parts]
    for tool in ("memcheck", "racecheck"):
        assert any(one.command[0] == "compute-sanitizer" and tool in one.command for one in parts)
    for one in parts:
        for word in map(str, one.command):
            if word.startswith(("tests/", "benchmarks/")):
                assert (ROOT / word).exists()


def test_steps_are_measured_in_each_precision(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cuda_steps

    assert set(gpu_checks.PRECISIONS) == set(cuda_steps.TOLERANCE)
    measured = [one for one in gpu_checks.gpu_parts(tmp_path / "date") if one.writes is not None]
    assert [one.command[one.command.index("--precision") + 1] for one in measured] == list(gpu_checks.PRECISIONS)
    for one in measured:
        monkeypatch.setattr(sys, "argv", ["cuda_steps.py", *map(str, one.command[2:])])
        assert cuda_steps.arguments().json == str(one.writes)
