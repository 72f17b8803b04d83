"""fastbp.jax beside the same net in jax.numpy: `value_and_grad` under `jit`, on small problems of `fastbp bench`.

Both have the same loss, written in JAX. The answers are checked first; all take turns in every round, each call waited
for, and each part runs as long before it is timed, so that threads have settled as they do in a training run; in
brackets how many times as fast as jax.numpy, the median of the rounds' own ratios. Exit status 1 where an answer is
wrong.
"""

import argparse
import json
import sys
from pathlib import Path

import environment
import turns

ROUND_SECONDS, TOLERANCE = 0.08, 1e-4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="for both alike; default: fastbp.get_num_threads()")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--problems", default="1,2,3,4", help="some of the six")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def plain(params, x):
    import jax

    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def contenders(problem):
    """Calls without arguments, by name: the mean cross entropy and its gradient."""
    import jax
    import jax.numpy as jnp

    import fastbp.jax

    X, y = map(jnp.asarray, problem.data(problem.batch))
    net = problem.net()
    params = [{"w": jnp.asarray(w), "b": jnp.asarray(b)} for w, b in zip(net.weights, net.biases, strict=True)]
    ways = dict.fromkeys((fastbp.jax.backend(), "callback"))
    nets = {"jax.numpy": plain} | {way: fastbp.jax.mlp(problem.widths, backend=way)[1] for way in ways}

    def call(apply):
        def loss(params, x, y):
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(apply(params, x)), y[:, None], 1))

        step = jax.jit(jax.value_and_grad(loss))
        return lambda: jax.block_until_ready(step(params, X, y))

    return {name: call(apply) for name, apply in nets.items()}


def right(problem, call):
    """Against fastbp itself in float64."""
    import numpy as np

    import fastbp

    net, (X, y) = problem.net(), problem.data(problem.batch)
    exact = fastbp.MLP(problem.widths, loss="cross_entropy", activation="relu", dtype="float64")
    exact.params = net.params
    value, grad = exact.value_and_grad(X, y)
    found, layers = call()
    flat = np.concatenate([np.ravel(layer[name]) for layer in layers for name in ("w", "b")])
    return abs(found - value) <= TOLERANCE * value and np.linalg.norm(flat - grad) <= TOLERANCE * np.linalg.norm(grad)


def main():
    options = arguments()
    if absent := environment.missing(["jax"]):
        print(f"to be installed first: {', '.join(absent)}", file=sys.stderr)
        return 2
    _, facts = environment.start(options.threads)
    import numpy as np
    from problems import PROBLEMS

    environment.print_environment(facts)
    results, all_right = [], True
    for problem in (PROBLEMS[int(number) - 1] for number in options.problems.split(",")):
        calls = contenders(problem)
        wrong = [name for name, call in calls.items() if not right(problem, call)]
        all_right = all_right and not wrong
        found = turns.measure(list(calls.values()), options.rounds, ROUND_SECONDS)
        speeds = np.median(found[:, :1] / found, axis=0).tolist()
        times = dict(zip(calls, zip(np.median(found, axis=0).tolist(), speeds, strict=True), strict=True))
        text = ", ".join(f"{name} {1e6 * t:.1f} us ({speed:.2f})" for name, (t, speed) in times.items())
        print(f"{problem.name}: {text}{f'   WRONG: {wrong}' if wrong else ''}", flush=True)
        results.append({"problem": problem.name, "wrong": wrong, "seconds_and_speed": times})
    facts["load_after"] = environment.load()
    if options.json:
        Path(options.json).write_text(json.dumps({"environment": facts, "results": results}, indent=2) + "\n")
    return 0 if all_right else 1


if __name__ == "__main__":
    sys.exit(main())
