"""A training step (forward, loss, backward, SGD) with fastbp.torch.MLP beside nn.Sequential, in PyTorch.

Relu, cross entropy with class numbers, float32, plain SGD of torch.optim. The answers first: parameters after four
steps agree to 1e-5. Times in interleaved rounds, in turns of who is first; each part of a round runs as long before it
is timed, so that threads have settled as they do in a training run. A ratio is the median of the rounds' own ratios to
nn.Sequential. Exit status 1 where an answer is wrong, or where a step of one of the first two problems is slower than
that.
"""

import argparse
import json
import sys
from pathlib import Path

import environment
import turns

CHECKED_STEPS, TOLERANCE, RATE = 4, 1e-5, 0.01
ROUND_SECONDS, SMALL = 0.08, 2
EAGER, COMPILED, OURS, FUSED = "nn.Sequential", "compiled", "fastbp", "fastbp, loss"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="for both; default: fastbp.get_num_threads()")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--problems", default="1,2,3,4,5,6", help="some of the six")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which needs a C++ compiler")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def sequential(sizes):
    from torch import nn

    layers = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def training(kind, sizes, X, y):
    """A model from the same seed as all others, and a function that makes one step."""
    import torch
    from torch.nn.functional import cross_entropy

    from fastbp.torch import MLP

    torch.manual_seed(0)
    model = MLP(sizes) if kind in (OURS, FUSED) else sequential(sizes)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    value = (
        torch.compile(lambda: cross_entropy(model(X), y)) if kind == COMPILED else lambda: cross_entropy(model(X), y)
    )

    def step():
        optimizer.zero_grad()
        value().backward()
        optimizer.step()

    def fused_step():
        optimizer.zero_grad()
        model.loss(X, y)
        optimizer.step()

    return model, fused_step if kind == FUSED else step


def data(sizes, batch):
    import torch

    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, sizes[0], generator=generator), torch.randint(sizes[-1], (batch,), generator=generator)


def error(found, expected):
    """Of all parameters, norm for norm: single units may cross the kink of relu on one side alone."""
    import torch

    p, q = (torch.nn.utils.parameters_to_vector(model.parameters()).detach() for model in (found, expected))
    return float((p - q).norm() / q.norm())


def result(sizes, batch, kinds, rounds):
    import numpy as np

    X, y = data(sizes, batch)
    models, steps = zip(*(training(kind, sizes, X, y) for kind in kinds), strict=True)
    for step in steps:
        for _ in range(CHECKED_STEPS):
            step()
    errors = {kind: error(model, models[0]) for kind, model in zip(kinds, models, strict=True)}
    right = all(error <= TOLERANCE for error in errors.values())
    found = {"widths": sizes, "batch": batch, "errors": errors, "right": right}
    if found["right"]:
        times = turns.measure(steps, rounds, ROUND_SECONDS)
        ratios = times / times[:, :1]
        found["times"] = {
            kind: {
                "seconds": float(np.median(times[:, k])),
                "ratio": float(np.median(ratios[:, k])),
                "quartiles": np.percentile(ratios[:, k], (25, 75)).tolist(),
            }
            for k, kind in enumerate(kinds)
        }
    return found


def show(found):
    print(f"\n{'-'.join(map(str, found['widths']))}, batch {found['batch']}")
    if not found["right"]:
        print(f"  WRONG, not timed: {found['errors']}")
        return
    for kind, entry in found["times"].items():
        low, high = entry["quartiles"]
        print(
            f"  {kind:16}{entry['seconds'] * 1e6:10.1f} us{entry['ratio']:8.2f}   {low:.2f} .. {high:.2f}", flush=True
        )


def main():
    options = arguments()
    if absent := environment.missing(["torch"]):
        print(f"to be installed first: {', '.join(absent)}", file=sys.stderr)
        return 2
    threads, facts = environment.start(options.threads)
    import torch
    from problems import PROBLEMS

    torch.set_num_threads(threads)
    environment.print_environment(facts)
    kinds = [EAGER, *([] if options.no_compile else [COMPILED]), OURS, FUSED]
    found = []
    for problem in (PROBLEMS[int(number) - 1] for number in options.problems.split(",")):
        found.append(result(problem.widths, problem.batch, kinds, options.rounds))
        show(found[-1])
    facts["load_after"] = environment.load()
    if options.json:
        Path(options.json).write_text(json.dumps({"environment": facts, "steps": found}, indent=2) + "\n")
    if not all(entry["right"] for entry in found):
        return 1
    small = [entry for entry in found if entry["widths"] in [problem.widths for problem in PROBLEMS[:SMALL]]]
    slower = [entry for entry in small for kind in (OURS, FUSED) if entry["times"][kind]["ratio"] > 1]
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
