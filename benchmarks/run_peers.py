"""fastbp beside NumPy, PyTorch, JAX and scikit-learn: a training step of six nets, an epoch of MNIST with three.

Exit status 1 where an answer is wrong (that case is not timed), 2 where a peer or the data are missing.
"""

import argparse
import os
import sys

import environment


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="for all alike; default: fastbp.get_num_threads()")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most; default: 200, fewer for long steps")
    parser.add_argument("--parts", default="steps,epochs", help="of steps,epochs; epochs need FASTBP_MNIST")
    parser.add_argument("--problems", default="1,2,3,4,5,6", help="which of the six to take steps of")
    parser.add_argument("--peers", help='some only, as in "NumPy;JAX, scan"; the others need not be installed')
    parser.add_argument("--self", action="store_true", dest="itself", help="fastbp with itself; expected: 0.98 to 1.02")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--chart", metavar="FILE", help="PNG")
    return parser.parse_args()


def chosen_peers(options, parser_error):
    """Those to run, and those left out because torch.compile finds no compiler."""
    import peers

    names = list(peers.PEERS)
    if options.itself:
        return ["fastbp", "fastbp"], []
    if options.peers:
        names = ["fastbp", *(name.strip() for name in options.peers.split(";"))]
        if unknown := set(names) - set(peers.PEERS):
            parser_error(f"unknown: {', '.join(unknown)}; known are {'; '.join(peers.PEERS)}")
    left_out = [name for name in names if name == "PyTorch, compiled" and peers.compiler() is None]
    return [name for name in names if name not in left_out], left_out


def refuse(text):
    print(text, file=sys.stderr)
    raise SystemExit(2)


def require(options, names):
    import peers

    modules = {module for name in names for module in peers.NEEDS[name]} | {"numpy", "threadpoolctl"}
    modules |= {"matplotlib"} if options.chart else set()
    if absent := environment.missing(sorted(modules)):
        refuse(f"to be installed first: {', '.join(absent)}")
    if "epochs" in options.parts and not os.environ.get("FASTBP_MNIST"):
        refuse("FASTBP_MNIST is not set: the path of mnist.npz (or leave epochs out: --parts steps)")


def run(options, names, left_out, threads):
    """The results of all cases, and whether all answers were right."""
    import report
    import rounds

    results, all_right = [], True
    for case in cases(options):
        compared = [*names, rounds.ADAM] if case.shuffled and not options.itself else names
        found = rounds.errors(case, dict.fromkeys(compared))
        wrong = {name: error for name, error in found.items() if not rounds.right(error)}
        if wrong:
            all_right = False
            for name, error in wrong.items():
                facts = ", ".join(f"{key} {value:.2g}" for key, value in error.items())
                print(f"\n{case.name}: {name} DISAGREES with the reference, not timed; relative errors: {facts}")
            continue
        ceiling = None if options.itself else environment.Ceiling(threads)
        seconds = rounds.measure(case, compared, options.rounds, ceiling and ceiling.sample)
        if ceiling is None:
            print_itself(case, seconds[:, 1] / seconds[:, 0])
            continue
        result = {
            "name": case.name, "kind": case.kind, "widths": case.problem.widths, "batch": case.problem.batch,
            "steps": case.steps, "rounds": len(seconds), "left_out": left_out, "errors": found,
            "ceiling": ceiling.gflops(),
            "times": rounds.summary(compared, seconds), "load": environment.load(),
        }  # fmt: skip
        result["best"], result["best_step_by_step"] = report.best(result), report.best(result, at_once=False)
        per = case.steps if case.kind == "step" else 1
        result["gflops"] = case.gigaflops / (result["times"]["fastbp"]["seconds"] * per)
        result["of_ceiling"] = {count: result["gflops"] / speed for count, speed in result["ceiling"].items()}
        report.print_result(result)
        results.append(result)
    return results, all_right


def cases(options):
    import rounds

    if "steps" in options.parts:
        yield from rounds.step_cases([int(number) - 1 for number in options.problems.split(",")])
    if "epochs" in options.parts:
        yield from rounds.epoch_cases(os.environ["FASTBP_MNIST"])


def print_itself(case, ratios):
    import numpy as np

    low, middle, high = np.percentile(ratios, (25, 50, 75))
    remark = "" if 0.98 <= middle <= 1.02 else "   outside 0.98 to 1.02: the machine is too busy"
    print(f"{case.name:44}{middle:7.3f} ({low:.3f} to {high:.3f}), {len(ratios)} rounds{remark}", flush=True)


def main():
    options = arguments()
    names, left_out = chosen_peers(options, refuse)
    require(options, names)
    threads = options.threads or environment.default_threads()
    environment.hold_processors(threads)

    import report

    import fastbp

    fastbp.set_num_threads(threads)
    load(names, threads)
    facts = environment.environment(threads)
    facts["ceiling"] = "float32 product of 2048 x 2048 matrices by NumPy's BLAS"
    environment.print_environment(facts)
    with environment.blas_limits(threads):
        results, all_right = run(options, names, left_out, threads)
    facts["load_after"] = environment.load()
    if results:
        report.print_summary(results)
    print(f"\nload average {facts['load_before']} before, {facts['load_after']} after")
    if options.json:
        report.write_json(options.json, facts, results)
    if options.chart and results:
        report.draw(options.chart, facts, results)
    return 0 if all_right else 1


def load(names, threads):
    """Import the peers, so that their BLAS is there to be held."""
    import peers

    for name in names:
        peers.module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


if __name__ == "__main__":
    sys.exit(main())
