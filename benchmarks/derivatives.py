"""What derivatives cost: a gradient beside a forward pass, a Hessian product and example norms beside a gradient.

And how a gradient's time grows with the number of weights, beside finite differences: the lecture's reason for the
backward pass. Answers are checked first; ratios are medians of paired rounds. Exit status 1 where one is wrong or a
limit is missed: 2.9 gradients for a Hessian product, 1.15 for `example_grad_norm`, an exponent of 1.1.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import environment

# widths, rows, hidden activation
PROBLEMS = (
    ((64, 100, 10), 200, "relu"),
    ((784, 128, 10), 32, "relu"),
    ((784, 256, 256, 10), 128, "relu"),
    ((784, 256, 256, 10), 512, "tanh"),
    ((32, 64, 64, 64, 64, 16), 8192, "tanh"),
)
LIMITS = {"hvp_per_gradient": 2.9, "norms_per_gradient": 1.15}
WIDTHS = (64, 128, 256, 512, 1024, 2048)  # of two hidden layers: 10^4 to 10^7 weights
GROWING_ROWS = 64
MOST_DIFFERENCES = 40_000  # parameters, by finite differences
EXPONENT = 1.1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="default: fastbp.get_num_threads()")
    parser.add_argument("--rounds", type=int, default=60, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE", help="the gradient's time over the number of weights")
    return parser.parse_args()


def seconds(call, least=2e-3):
    """Of one call, from as many as take `least` seconds."""
    calls, spent = 0, 0.0
    start = time.perf_counter()
    while spent < least:
        call()
        calls += 1
        spent = time.perf_counter() - start
    return spent / calls


def data(sizes, rows):
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], rows)


def check(sizes, activation):
    """The Hessian product against differences of gradients, norms against gradients of single rows; in float64."""
    import numpy as np

    import fastbp as fb

    net = fb.MLP(sizes, loss="cross_entropy", activation=activation, seed=0, dtype="float64")
    X, y = data(sizes, 20)
    v = np.random.default_rng(1).standard_normal(net.params.size)
    product, p, h = net.hvp(X, y, v), net.params.copy(), 1e-7
    ends = []
    for sign in (1, -1):
        net.params = p + sign * h * v
        ends.append(net.value_and_grad(X, y)[1])
    difference = (ends[0] - ends[1]) / (2 * h)
    assert np.linalg.norm(product - difference) < 1e-5 * np.linalg.norm(product), "the Hessian product is wrong"
    net.params = p
    norms = net.backward(X, y, returns=("example_grad_norm", "grad")).example_grad_norm
    own = [np.linalg.norm(net.value_and_grad(X[n : n + 1], y[n : n + 1])[1]) for n in range(20)]
    np.testing.assert_allclose(norms, own, rtol=1e-10)


def ratios(sizes, rows, activation, rounds):
    import numpy as np

    import fastbp as fb

    net = fb.MLP(sizes, loss="cross_entropy", activation=activation, seed=0)
    X, y = data(sizes, rows)
    v, out = np.ones_like(net.params), np.empty_like(net.params)
    calls = {
        "forward": lambda: net.forward(X),
        "gradient": lambda: net.value_and_grad(X, y, out=out),
        "hvp": lambda: net.hvp(X, y, v, out=out),
        "norms": lambda: net.backward(X, y, returns=("grad", "example_grad_norm")),
    }
    times = np.array([[seconds(call) for call in calls.values()] for _ in range(rounds)])
    t = dict(zip(calls, times.T, strict=True))
    found = {"gradient_us": t["gradient"] * 1e6, "gradient_per_forward": t["gradient"] / t["forward"]}
    found |= {"hvp_per_gradient": t["hvp"] / t["gradient"], "norms_per_gradient": t["norms"] / t["gradient"]}
    return {name: float(np.median(values)) for name, values in found.items()}


def growth(rounds):
    """Seconds of a gradient over P, its fitted exponent, and of P finite differences where P is not too large."""
    import numpy as np

    import fastbp as fb

    counts, gradients, differences = [], [], []
    for width in WIDTHS:
        net = fb.MLP((width, width, width, 10), loss="cross_entropy", activation="tanh", seed=0)
        X, y = data(net.layer_sizes, GROWING_ROWS)
        out = np.empty_like(net.params)
        counts.append(int(net.params.size))
        call = lambda net=net, X=X, y=y, out=out: net.value_and_grad(X, y, out=out)  # noqa: E731
        gradients.append(float(np.median([seconds(call) for _ in range(rounds)])))
        if net.params.size <= MOST_DIFFERENCES:
            start = time.perf_counter()
            for i in range(net.params.size):
                kept = net.params[i]
                net.params[i] = kept + np.float32(1e-3)
                net.value(X, y)
                net.params[i] = kept
            differences.append(time.perf_counter() - start)
    exponent = float(np.polyfit(np.log(counts), np.log(gradients), 1)[0])
    return {"weights": counts, "gradient_s": gradients, "differences_s": differences, "exponent": exponent}


def plot(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = pyplot.subplots(figsize=(5.4, 4), layout="constrained")[1]
    weights = found["weights"]
    axes.loglog(weights, found["gradient_s"], "o-", label=f"backward pass: exponent {found['exponent']:.2f}")
    axes.loglog(weights[: len(found["differences_s"])], found["differences_s"], "s-", label="finite differences")
    axes.set(xlabel="weights", ylabel="seconds for one gradient")
    axes.legend()
    axes.figure.savefig(path, dpi=120)


def main():
    options = arguments()
    threads, facts = environment.start(options.threads)
    print(f"{threads} threads, {options.rounds} rounds; ratios are medians")
    missed, problems = [], []
    print(f"{'widths, rows, activation':44}{'gradient us':>12}{'/ forward':>11}{'hvp':>7}{'norms':>7}")
    for sizes, rows, activation in PROBLEMS:
        check(sizes, activation)
        found = ratios(sizes, rows, activation, options.rounds)
        name = f"{'-'.join(map(str, sizes))}, {rows}, {activation}"
        print(f"{name:44}{found['gradient_us']:12.1f}{found['gradient_per_forward']:11.2f}", end="")
        print(f"{found['hvp_per_gradient']:7.2f}{found['norms_per_gradient']:7.2f}")
        problems.append({"problem": name, **found})
        missed += [f"{name}: {key} {found[key]:.2f}" for key, limit in LIMITS.items() if found[key] > limit]
    grown = growth(max(options.rounds // 4, 5))
    print(f"a gradient's time over {grown['weights'][0]:,} to {grown['weights'][-1]:,} weights: ", end="")
    print(f"exponent {grown['exponent']:.3f}, at most {EXPONENT}")
    if grown["exponent"] > EXPONENT:
        missed.append("exponent")
    facts["load_after"] = environment.load()
    if options.json:
        result = {"environment": facts, "problems": problems, "growth": grown}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    if options.plot:
        plot(grown, options.plot)
    print("\n".join(f"missed: {line}" for line in missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
