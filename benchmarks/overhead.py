"""What Python adds: to a call from C (value_and_grad, a 2-4-1 net, one row), and to `import numpy`.

The bare call is bare_call.c, compiled (CC, or cc) against the installed package. Exit status 1 where the answers differ
or a target is missed: 3 us, 60 ms, and 9 MB for the wheel, if one is given.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environment

CALLS, PYTHON_CALLS, ROUNDS, IMPORTS = 1_000_000, 20_000, 10, 20
LIMITS = {"call_us": 3.0, "import_ms": 60.0, "wheel_mb": 9.0}
PARAMETERS = 17


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="default: fastbp.get_num_threads()")
    parser.add_argument("--wheel", help="its size is told too")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def compiled(folder):
    """The path of the program."""
    import fastbp
    from fastbp._paths import get_library_dir

    program, library = str(Path(folder) / "bare_call"), get_library_dir()
    command = [*shlex.split(os.environ.get("CC", "cc")), "-O2", "-I", fastbp.get_include()]
    command += [str(Path(__file__).with_name("bare_call.c")), "-o", program]
    subprocess.run([*command, "-L", library, "-lfastbp", f"-Wl,-rpath,{library}"], check=True)
    return program


def python_call():
    """Functions that call as a user does, without and with an array for the gradient."""
    import numpy as np

    import fastbp

    net = fastbp.MLP((2, 4, 1), loss="squared_error", activation="tanh", init="zeros")
    net.params[:] = (np.arange(PARAMETERS) - 8) / 8
    X, y = np.array([[0.5, -1.0]], np.float32), np.array([[0.25]], np.float32)
    out = np.empty(PARAMETERS, np.float32)
    return lambda: net.value_and_grad(X, y), lambda: net.value_and_grad(X, y, out=out)


def microseconds(call):
    start = time.perf_counter()
    for _ in range(PYTHON_CALLS):
        call()
    return (time.perf_counter() - start) / PYTHON_CALLS * 1e6


def calls(program):
    """Medians in microseconds: from C, from Python, from Python with `out`; in rounds."""
    import numpy as np

    new, into, rows = *python_call(), []
    value, grad = new()
    for _ in range(ROUNDS):
        done = subprocess.run([program, str(CALLS // ROUNDS)], capture_output=True, text=True, check=True)
        nanoseconds, *answer = map(float, done.stdout.split())
        np.testing.assert_allclose([value, *grad], answer, rtol=1e-6)
        rows.append((nanoseconds / 1e3, microseconds(new), microseconds(into)))
    return [float(median) for median in np.median(rows, axis=0)]


def imports():
    """Milliseconds that a fresh interpreter takes: with `import numpy`, with `import fastbp`; medians, in turns."""
    seconds = {"numpy": [], "fastbp": []}
    for _ in range(IMPORTS):
        for name, found in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            found.append(time.perf_counter() - start)
    return [statistics.median(found) * 1e3 for found in seconds.values()]


def main():
    options = arguments()
    _, facts = environment.start(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        bare, new, into = calls(compiled(folder))
    numpy, ours = imports()
    found = {"bare_us": bare, "python_us": new, "python_with_out_us": into, "call_us": new - bare}
    found |= {"import_numpy_ms": numpy, "import_fastbp_ms": ours, "import_ms": ours - numpy}
    if options.wheel:
        found["wheel_mb"] = Path(options.wheel).stat().st_size / 1e6
    facts["load_after"] = environment.load()
    environment.print_environment(facts)
    print()
    for name, number in found.items():
        limit = f"   at most {LIMITS[name]:g}" if name in LIMITS else ""
        print(f"{name:20}{number:10.3f}{limit}")
    if options.json:
        Path(options.json).write_text(json.dumps({"environment": facts, "overhead": found}, indent=2) + "\n")
    return 0 if all(found[name] <= limit for name, limit in LIMITS.items() if name in found) else 1


if __name__ == "__main__":
    sys.exit(main())
