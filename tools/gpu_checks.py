"""Run every check that needs an NVIDIA GPU: ``nox -s gpu``, or ``python tools/gpu_checks.py``.

Builds fastbp with CUDA, runs the tests that need a GPU, looks for memory errors and races with compute-sanitizer, and
measures training steps in each precision. Each part has a time limit. The limits add up to 12 minutes; --peers adds 4.

Results go to benchmarks/results: a summary of the parts, and the measurements. The output of each part goes to
build/gpu. The exit status is 0 if all parts passed, 1 if a part failed or could not run, and 2 without a GPU.
"""

import argparse
import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("full", "tf32", "bf16")
PRIVATE_BUILD = "import sys; sys.path.insert(0, 'tests'); import private_build as p; p.build_private_extension()"


class Part(NamedTuple):
    """One command with its limit in minutes."""

    name: str
    minutes: float
    command: tuple
    environment: dict | None = None  # added to the process's own
    essential: bool = False  # the parts behind it do not run if it fails
    writes: Path | None = None  # the part fails if this file is missing afterwards


class Outcome(NamedTuple):
    """What became of a part."""

    name: str
    passed: bool
    status: str
    minutes: float
    limit: float
    output: str  # its end


def python(*arguments):
    return (sys.executable, *arguments)


def sanitized(tool, *tests):
    checker = ("compute-sanitizer", "--tool", tool, "--target-processes", "all", "--error-exitcode", "1")
    return (*checker, *python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not frameworks", *tests))


def gpu_parts(results, build_isolation=True, peers=False):
    """The parts in their order. Without build isolation the environment has all dependencies already."""
    install = (".[test,cuda13]",) if build_isolation else ("--no-build-isolation", "--no-deps", ".")
    on_gpu = {"FASTBP_TEST_DEVICE": "cuda"}
    compare = () if peers else ("--alone",)
    steps = [
        Part(
            f"steps-{precision}", 2.0 if peers else 0.7,
            python("benchmarks/cuda_steps.py", "--rounds", "20", "--precision", precision, "--json", file, *compare),
            writes=file,
        )
        for precision in PRECISIONS
        for file in [Path(f"{results}-cuda-steps-{precision}.json")]
    ]  # fmt: skip
    return [
        Part("build", 2.5, python("-m", "pip", "install", *install), {"FASTBP_CUDA": "1", "CUDAARCHS": "native"}, True),
        Part("private-extension", 1.4, python("-c", PRIVATE_BUILD)),
        Part("tests", 3.0, python("-m", "pytest", "-q", "-m", "gpu"), {"FASTBP_REQUIRE": "gpu"}),
        Part("memcheck", 1.5, sanitized("memcheck", "tests/test_networks.py"), on_gpu),
        Part("racecheck", 1.5, sanitized("racecheck", "tests/test_mlp.py"), on_gpu),
        *steps,
    ]


def end_of(log, characters=4000):
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""


def run_part(part, logs):
    """Run one part and end all its processes, at its limit at the latest."""
    log, start = logs / f"{part.name}.log", time.monotonic()
    if part.writes is not None:
        part.writes.unlink(missing_ok=True)

    def outcome(passed, status):
        minutes = (time.monotonic() - start) / 60
        return Outcome(part.name, passed, status, round(minutes, 3), part.minutes, "" if passed else end_of(log))

    with log.open("w") as output:
        try:
            process = subprocess.Popen(
                part.command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                env={**os.environ, **(part.environment or {})}, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return outcome(False, f"could not start: {error}")
        try:
            code = process.wait(timeout=60 * part.minutes)
        except subprocess.TimeoutExpired:
            return outcome(False, f"stopped at its limit of {part.minutes:g} minutes")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0:
        return outcome(False, f"failed with exit status {code}")
    if part.writes is not None and not part.writes.exists():
        return outcome(False, f"wrote no {part.writes.name}")
    return outcome(True, "passed")


def run_parts(parts, logs):
    """Run the parts in order, print a line for each, and return their outcomes."""
    logs.mkdir(parents=True, exist_ok=True)
    outcomes, missing = [], None
    for part in parts:
        if missing is not None:
            outcomes.append(Outcome(part.name, False, f"not run, because {missing} failed", 0.0, part.minutes, ""))
        else:
            outcomes.append(run_part(part, logs))
            if part.essential and not outcomes[-1].passed:
                missing = part.name
        last = outcomes[-1]
        print(f"{last.name:20}{last.minutes:6.2f} of {last.limit:4.1f} min  {last.status}", flush=True)
        if last.output:
            print(last.output, flush=True)
    return outcomes


def answer(*command):
    """What a program prints, or "" if it fails or is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main(arguments=None, make_parts=gpu_parts, ask_for_gpu=answer):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the results")
    parser.add_argument("--logs", type=Path, default=ROOT / "build" / "gpu", help="folder of the parts' output")
    parser.add_argument("--no-build-isolation", action="store_true", help="install nothing but fastbp: no network")
    parser.add_argument("--peers", action="store_true", help="compare with PyTorch and JAX, which must be installed")
    options = parser.parse_args(arguments)
    gpu = ask_for_gpu("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    if not gpu:
        print("no NVIDIA GPU: nvidia-smi is missing or finds none; nothing was run", file=sys.stderr)
        return 2
    os.environ["PATH"] += os.pathsep + "/usr/local/cuda/bin"  # nvcc and compute-sanitizer
    options.results.mkdir(parents=True, exist_ok=True)
    prefix = options.results.resolve() / datetime.date.today().isoformat()
    outcomes = run_parts(make_parts(prefix, not options.no_build_isolation, options.peers), options.logs.resolve())
    summary = {"gpu": gpu, "commit": answer("git", "describe", "--always", "--dirty") or "not known"}
    summary["parts"] = [outcome._asdict() for outcome in outcomes]
    summary["minutes"] = round(sum(outcome.minutes for outcome in outcomes), 3)
    Path(f"{prefix}-gpu-checks.json").write_text(json.dumps(summary, indent=2) + "\n")
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    print(f"{summary['minutes']:.2f} minutes; " + (f"failed: {', '.join(failed)}" if failed else "all passed"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
