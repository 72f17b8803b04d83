"""Memory of a full-batch gradient over rows in a memory map: its peak above the start, the map's own pages left out.

1,000,000 x 784 float32 rows (3.1 GB on disk, in a temporary folder: see --folder), 784-128-10, cross entropy. Linux
only: anonymous and shared memory are sampled from /proc/self/status every millisecond; pages of the map are of a file
and in neither. Exit status 1 where the peak is 64 MB or more above the start, or the gradient wrong.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import environment

COLUMNS, CLASSES, CHUNK = 784, 10, 20_000
LIMIT_MB, TOLERANCE = 64, 1e-4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, metavar="N", help="default: fastbp.get_num_threads()")
    parser.add_argument("--folder", help="where to make the map; default: the system's for temporary files")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


class Peak:
    """The most memory in use while in the block, and at its start, in bytes."""

    def __enter__(self):
        self.start = self.most = in_use()
        self.samples, self._end = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._end.wait(1e-3):
            self.most = max(self.most, in_use())
            self.samples += 1

    def __exit__(self, *error):
        self.most = max(self.most, in_use())
        self._end.set()
        self._thread.join()


def in_use():
    """RssAnon + RssShmem of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) * 1024


def make(path, rows):
    """The rows, written in parts so that making them takes no memory either."""
    import numpy as np

    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for first in range(0, rows, CHUNK):
            rng.random((min(CHUNK, rows - first), COLUMNS), dtype=np.float32).tofile(file)
    X = np.memmap(path, dtype=np.float32, mode="r", shape=(rows, COLUMNS))
    return X, rng.integers(0, CLASSES, rows)


def distance(net, X, y, value, grad):
    """How far value and gradient are off the reference, which goes over the rows in parts; relative."""
    import numpy as np

    from fastbp import reference

    w, b = reference.views(net.params, net.layer_sizes)
    true_value, true = 0.0, np.zeros(grad.shape)
    for first in range(0, len(X), CHUNK):
        rows = slice(first, first + CHUNK)
        part, *grads = reference.value_and_grad(w, b, X[rows], y[rows], net.activations, net.loss, reduction="sum")
        true_value += part / len(X)
        true += reference.flatten(*grads) / len(X)
    return float(np.max([abs(value - true_value) / true_value, np.linalg.norm(grad - true) / np.linalg.norm(true)]))


def main():
    options = arguments()
    threads, facts = environment.start(options.threads)
    import fastbp

    net = fastbp.MLP((COLUMNS, 128, CLASSES), loss="cross_entropy", activation="relu", seed=0)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        X, y = make(Path(folder) / "rows.float32", options.rows)
        with Peak() as peak:
            start = time.perf_counter()
            value, grad = net.value_and_grad(X, y)
            seconds = time.perf_counter() - start
        error = distance(net, X, y, value, grad)
    more = (peak.most - peak.start) / 2**20
    facts["load_after"] = environment.load()
    environment.print_environment(facts)
    print(
        f"\n{options.rows:,} x {COLUMNS} float32 rows, {threads} thread(s): {seconds:.2f} s, relative error {error:.1e}"
    )
    print(f"start {peak.start / 2**20:.1f} MB, peak {more:.1f} MB above (limit {LIMIT_MB}), {peak.samples} samples")
    if options.json:
        found = {"rows": options.rows, "seconds": seconds, "error": error, "peak_mb": more, "samples": peak.samples}
        Path(options.json).write_text(json.dumps({"environment": facts, "memory": found}, indent=2) + "\n")
    return 0 if more < LIMIT_MB and error <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
