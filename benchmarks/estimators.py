"""fastbp.sklearn beside scikit-learn's own MLP: cross-validated scores, and seconds in fit, on five small data sets.

Both get the same folds, seeds and parameters, scikit-learn's defaults but for the solver, and standardised features;
who fits first alternates from fold to fold. Scores are compared by seed, in points: accuracy or R2 times 100.
Exit status 1 where a mean difference is over 2 standard errors and over 0.5 points, or where all fits together are less
than 5 times as fast.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import environment

DATA = {"digits": "C", "breast_cancer": "C", "iris": "C", "wine": "C", "diabetes": "R"}
POINTS, ERRORS, SPEED = 0.5, 2, 5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="for both; default: fastbp.get_num_threads()")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--solver", default="adam", choices=["adam", "sgd", "lbfgs"])
    parser.add_argument("--data", default=",".join(DATA), help="some of them, as in iris,wine")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def classes(kind):
    """scikit-learn's estimator and ours."""
    import sklearn.neural_network

    import fastbp.sklearn

    name = {"C": "MLPClassifier", "R": "MLPRegressor"}[kind]
    return getattr(sklearn.neural_network, name), getattr(fastbp.sklearn, name)


def folds(kind, X, y, count, seed):
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = (StratifiedKFold if kind == "C" else KFold)(count, shuffle=True, random_state=seed)
    return splitter.split(X, y)


def compare(name, options):
    """Scores (seeds, 2), means over the folds, and seconds in all fits (2,): scikit-learn's and ours."""
    import numpy as np
    import sklearn.datasets
    from sklearn.preprocessing import StandardScaler

    kind = DATA[name]
    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    scores, seconds = np.zeros((options.seeds, 2)), np.zeros(2)
    for seed in range(options.seeds):
        for fold, (train, test) in enumerate(folds(kind, X, y, options.folds, seed)):
            scaler = StandardScaler().fit(X[train])
            inputs, held_back = scaler.transform(X[train]), scaler.transform(X[test])
            models = [cls(solver=options.solver, random_state=seed) for cls in classes(kind)]
            for who in (0, 1) if fold % 2 else (1, 0):
                start = time.perf_counter()
                models[who].fit(inputs, y[train])
                seconds[who] += time.perf_counter() - start
                scores[seed, who] += 100 * models[who].score(held_back, y[test]) / options.folds
    return scores, seconds


def result(name, scores, seconds):
    import numpy as np

    differences = scores[:, 1] - scores[:, 0]
    error = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("nan")
    found = {
        "data": name, "scores": scores.mean(axis=0).tolist(), "difference": float(differences.mean()), "error": error,
        "seconds": seconds.tolist(), "times_faster": float(seconds[0] / seconds[1]),
    }  # fmt: skip
    found["agrees"] = abs(found["difference"]) <= max(POINTS, ERRORS * error if error == error else 0)
    return found


def show(found):
    theirs, ours = found["seconds"]
    remark = "" if found["agrees"] else "   DISAGREES"
    print(
        f"{found['data']:14}{found['scores'][0]:9.2f}{found['scores'][1]:9.2f}{found['difference']:+9.3f} "
        f"({found['error']:.3f}){theirs:10.2f}{ours:9.2f}{found['times_faster']:8.1f}{remark}",
        flush=True,
    )


def main():
    options = arguments()
    if absent := environment.missing(["sklearn", "threadpoolctl"]):
        print(f"to be installed first: {', '.join(absent)}", file=sys.stderr)
        return 2
    threads, facts = environment.start(options.threads)
    environment.print_environment(facts)
    warnings.simplefilter("ignore")  # fits end with max_iter
    print(f"\n{'':14}{'score':>9}{'ours':>9}{'difference (its error)':>18}{'seconds':>8}{'ours':>9}{'faster':>8}")
    found = []
    with environment.blas_limits(threads):
        for name in options.data.split(","):
            found.append(result(name, *compare(name, options)))
            show(found[-1])
    theirs, ours = (sum(entry["seconds"][who] for entry in found) for who in (0, 1))
    print(f"all fits, {options.solver}: {theirs:.1f} s and {ours:.1f} s, {theirs / ours:.1f} times as fast")
    facts["load_after"] = environment.load()
    if options.json:
        text = json.dumps({"environment": facts, "solver": options.solver, "estimators": found}, indent=2)
        Path(options.json).write_text(text + "\n")
    return 0 if all(entry["agrees"] for entry in found) and theirs / ours >= SPEED else 1


if __name__ == "__main__":
    sys.exit(main())
