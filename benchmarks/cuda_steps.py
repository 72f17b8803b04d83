"""A training step (forward, loss, backward, SGD) on a GPU: fastbp beside PyTorch (eager, compiled, CUDA graph) and JAX.

Relu, cross entropy with class numbers, plain SGD; the data set lies on the device, a step takes the next mini-batch of
it. The answers first: parameters after four steps beside fastbp's own on the CPU in float64. Times over whole passes
through the data, in interleaved rounds, in turns of who is first; a ratio is the median of the rounds' own ratios to
fastbp. The products of a step alone, by torch.mm, are the ceiling. Exit status 1 where an answer is wrong, 2 where a
peer or a GPU is missing.
"""

import argparse
import contextlib
import gc
import json
import subprocess
import sys
import time
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import environment
import numpy as np

CASES = {
    "784-256-256-10, 128": ((784, 256, 256, 10), 128, 64),
    "784-256-256-10, 8192": ((784, 256, 256, 10), 8192, 16),
    "32-64x4-16, 2^18": ((32, 64, 64, 64, 64, 16), 1 << 18, 4),
    "1024-4096-4096-1000, 4096": ((1024, 4096, 4096, 1000), 4096, 8),
}
OURS, EAGER, COMPILED, GRAPHS, JAX = "fastbp", "PyTorch, eager", "PyTorch, compiled", "PyTorch, CUDA graph", "JAX, jit"
PEERS = (EAGER, COMPILED, GRAPHS, JAX)
TOLERANCE = {"full": 1e-4, "tf32": 1e-2, "bf16": 5e-2}  # of the parameters' change, norm for norm
CHECKED_STEPS, RATE = 4, 0.05


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--precision", choices=TOLERANCE, default="full", help="of everybody's products")
    parser.add_argument("--alone", action="store_true", help="fastbp without peers and ceiling: a check, no comparison")
    parser.add_argument("--cases", default="0,1,2,3", help="numbers of the problems")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


class Fastbp:
    """`fit` over the data set, which is brought to the device once."""

    def __init__(self, sizes, start, X, y, batch, precision):
        import fastbp as fb

        asked = None if precision == "full" else precision
        self.net = fb.MLP(sizes, loss="cross_entropy", device="cuda", precision=asked)
        self.net.params = start
        self.X, self.y, self.batch = fb.to_device(X, "cuda"), fb.to_device(y, "cuda"), batch
        self.optimizer = fb.SGD(lr=RATE)

    def run(self, rows=None):
        self.net.fit(
            self.X[:rows], self.y[:rows], optimizer=self.optimizer, batch_size=self.batch, epochs=1, shuffle=False,
            progress=False,
        )  # fmt: skip

    def params(self):
        return self.net.params.numpy()


class PyTorch:
    """nn.Sequential and torch.optim.SGD; `way` says what becomes of a step."""

    def __init__(self, way, sizes, start, X, y, batch, precision):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self.autocast = (
            torch.autocast("cuda", dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        )
        layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.net = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.ReLU())][:-1]).cuda()
        self.layers, self.batch = layers, batch
        self.X, self.y = torch.from_numpy(X).cuda(), torch.from_numpy(y).cuda()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=RATE, fused=True)
        self.step = torch.compile(self.plain_step) if way == COMPILED else self.plain_step
        if way == GRAPHS:
            self.capture(torch)
        self.load(torch, start)

    def load(self, torch, start):
        at = 0
        with torch.no_grad():
            for layer in self.layers:
                rows, cols = layer.weight.shape[::-1]
                layer.weight.copy_(torch.from_numpy(start[at : at + rows * cols].reshape(rows, cols).T.copy()))
                layer.bias.copy_(torch.from_numpy(start[at + rows * cols : at + (rows + 1) * cols]))
                at += (rows + 1) * cols

    def plain_step(self, X, y):
        from torch.nn.functional import cross_entropy

        self.optimizer.zero_grad()
        with self.autocast:
            loss = cross_entropy(self.net(X), y)
        loss.backward()
        self.optimizer.step()

    def capture(self, torch):
        X, y = self.X[: self.batch].clone(), self.y[: self.batch].clone()
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                self.plain_step(X, y)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.plain_step(X, y)

        def replay(rows, labels):
            X.copy_(rows)
            y.copy_(labels)
            graph.replay()

        self.step = replay

    def run(self, rows=None):
        import torch

        for begin in range(0, rows or len(self.X), self.batch):
            self.step(self.X[begin : begin + self.batch], self.y[begin : begin + self.batch])
        torch.cuda.synchronize()

    def params(self):
        parts = [part for layer in self.layers for part in (layer.weight.T, layer.bias)]
        return np.concatenate([part.detach().cpu().numpy().ravel() for part in parts])


class Jax:
    """One jitted step."""

    def __init__(self, sizes, start, X, y, batch, precision):
        import jax
        from jax import numpy as jnp

        names = {"full": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
        jax.config.update("jax_default_matmul_precision", names[precision])
        self.batch, self.X, self.y = batch, jnp.asarray(X), jnp.asarray(y)
        at, self.values = 0, []
        for a, b in pairwise(sizes):
            w = start[at : at + a * b].reshape(a, b)
            self.values.append((jnp.asarray(w), jnp.asarray(start[at + a * b : at + (a + 1) * b])))
            at += (a + 1) * b

        def loss(values, X, y):
            for w, b in values[:-1]:
                X = jax.nn.relu(X @ w + b)
            scores = jax.nn.log_softmax(X @ values[-1][0] + values[-1][1])
            return -jnp.mean(jnp.take_along_axis(scores, y[:, None], axis=1))

        @jax.jit
        def step(values, X, y, begin):
            rows, labels = (jax.lax.dynamic_slice_in_dim(array, begin, batch) for array in (X, y))
            return jax.tree.map(lambda p, g: p - RATE * g, values, jax.grad(loss)(values, rows, labels))

        self.step = step

    def run(self, rows=None):
        for begin in range(0, rows or len(self.X), self.batch):
            self.values = self.step(self.values, self.X, self.y, begin)
        self.values[-1][-1].block_until_ready()

    def params(self):
        return np.concatenate([np.asarray(part).ravel() for layer in self.values for part in layer])


def training(kind, *given):
    if kind == OURS:
        return Fastbp(*given)
    return Jax(*given) if kind == JAX else PyTorch(kind, *given)


def products_seconds(sizes, batch, precision, repetitions=20):
    """Of the products of a step by torch.mm: three a layer, less the first layer's input gradient."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    pairs = []
    for k, (a, b) in enumerate(pairwise(sizes)):
        x, w, delta = (torch.randn(shape, device="cuda", dtype=dtype) for shape in ((batch, a), (a, b), (batch, b)))
        pairs += [(x, w), (x.T, delta)] + ([(delta, w.T)] if k else [])
    found = []
    for _ in range(repetitions + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for left, right in pairs:
            torch.mm(left, right)
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


def truth(sizes, start, X, y, batch):
    import fastbp as fb

    net = fb.MLP(sizes, loss="cross_entropy", dtype="float64")
    net.params = start
    net.fit(X, y, optimizer=fb.SGD(lr=RATE), batch_size=batch, epochs=1, shuffle=False, progress=False)
    return net.params


def result(name, precision, kinds, rounds):
    import fastbp as fb

    sizes, batch, steps = CASES[name]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch * steps, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], len(X))
    start = fb.MLP(sizes, loss="cross_entropy", seed=0).params
    trainings = [training(kind, sizes, start, X, y, batch, precision) for kind in kinds]
    rows = CHECKED_STEPS * batch
    expected = truth(sizes, start, X[:rows], y[:rows], batch)
    for one in trainings:
        one.run(rows)
    change = np.linalg.norm(expected - start)
    errors = [float(np.linalg.norm(one.params() - expected) / change) for one in trainings]
    found = {"problem": name, "precision": precision, "errors": dict(zip(kinds, errors, strict=True))}
    found["right"] = all(error <= TOLERANCE[precision] for error in errors)
    if found["right"]:
        times = measure(trainings, rounds) / steps
        ratios = times / times[:, :1]
        found["seconds"] = dict(zip(kinds, np.median(times, axis=0).tolist(), strict=True))
        found["ratios"] = dict(zip(kinds, np.median(ratios, axis=0).tolist(), strict=True))
        if len(kinds) > 1:
            found["products_seconds"] = products_seconds(sizes, batch, precision)
    return found


def measure(trainings, rounds):
    """Seconds (rounds, trainings) of one pass through the data each."""
    found = np.empty((rounds, len(trainings)))
    for one in trainings:
        one.run()
    gc.collect()
    for i, row in enumerate(found):
        for k in range(len(trainings))[:: 1 if i % 2 == 0 else -1]:
            start = time.perf_counter()
            trainings[k].run()
            row[k] = time.perf_counter() - start
    return found


def peers_without_gpu():
    """Of the peers, which would compute on the processor and look slow; "" where none would."""
    import jax
    import torch

    found = {"PyTorch": torch.cuda.is_available(), "JAX": jax.default_backend() == "gpu"}
    blind = [name for name, sees in found.items() if not sees]
    return f"{' and '.join(blind)} see no GPU: installed without CUDA?" if blind else ""


def gpu():
    """What a result depends on beside the processor: the card with its driver and limits, and NVIDIA's libraries."""
    asked = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.mem"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader", "--id=0"]
    try:
        card = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(", ")
    except (OSError, subprocess.CalledProcessError) as error:
        card = [f"not known: {error}"]
    names = (distribution.metadata["Name"] for distribution in metadata.distributions())
    libraries = {name: metadata.version(name) for name in names if name and name.startswith(("nvidia-", "jax-cuda"))}
    return {"gpu": dict(zip(asked.split(","), card, strict=False)), "gpu_libraries": libraries}


def show(found):
    print(f"\n{found['problem']}, {found['precision']}")
    if not found["right"]:
        print(f"  WRONG, not timed: {found['errors']}")
        return
    for kind, seconds in found["seconds"].items():
        print(f"  {kind:20}{seconds * 1e6:12.1f} us{found['ratios'][kind]:8.2f}", flush=True)
    if "products_seconds" in found:
        share = found["products_seconds"] / found["seconds"][OURS]
        print(f"  {'products alone':20}{found['products_seconds'] * 1e6:12.1f} us{share:8.2f}")


def main():
    options = arguments()
    if absent := environment.missing([] if options.alone else ["torch", "jax"]):
        print(f"to be installed first: {', '.join(absent)}", file=sys.stderr)
        return 2
    import fastbp as fb

    if missing := fb.cuda.why_not() or ("" if options.alone else peers_without_gpu()):
        print(missing, file=sys.stderr)
        return 2
    facts = environment.environment(fb.get_num_threads()) | gpu()
    environment.print_environment(facts)
    found = []
    for number in map(int, options.cases.split(",")):
        kinds = [OURS] if options.alone else [OURS, *PEERS]
        found.append(result(list(CASES)[number], options.precision, kinds, options.rounds))
        show(found[-1])
    if options.json:
        Path(options.json).write_text(json.dumps({"environment": facts, "steps": found}, indent=2) + "\n")
    return 0 if all(entry["right"] for entry in found) else 1


if __name__ == "__main__":
    sys.exit(main())
