"""More threads beside one: a step of the six nets, and steps and single gradients of 1, 8 and 32 rows.

Exit status 1 if the threads are more than 5 % slower than one. Both alternate in every round; a ratio is the median of
the rounds' own ratios. With --beside MODE another program or library uses the processors (busy.py lists the modes). The
limit is then 10 %, and a ratio is that of the medians.
"""

import argparse
import json
import time

import busy
import environment

FEW_ROWS, CALLS = (1, 8, 32), 100
WIDTHS = ((64, 100, 10), (784, 128, 10), (784, 256, 256, 10))
ROUND_SECONDS, MOST_STEPS, SETTLE_SECONDS, SLOWER, SLOWER_BESIDE = 0.02, 2000, 0.003, 1.05, 1.10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, metavar="N", help="default: fastbp.get_num_threads()")
    parser.add_argument("--rounds", type=int, default=60, metavar="N")
    parser.add_argument("--beside", choices=busy.MODES)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def cases():
    """(name, function that works for about a round, by how many its time is to be divided)."""
    from fastbp._bench import PROBLEMS, Problem

    for problem in (*PROBLEMS, *(Problem(widths, rows) for widths in WIDTHS for rows in FEW_ROWS)):
        yield steps_of(problem)
    for widths in WIDTHS:
        for rows in FEW_ROWS:
            yield calls_of(Problem(widths, rows))


def steps_of(problem):
    from peers import fastbp_library

    batch, start = problem.batch, problem.net().params
    X, y = problem.data(4 * batch)
    probe = fastbp_library.prepare(problem.widths, start, X, y, batch, 0.01)
    seconds = min(seconds_of(probe.epoch) for _ in range(5)) / 4
    steps = max(1, min(MOST_STEPS, int(ROUND_SECONDS / seconds)))
    training = fastbp_library.prepare(problem.widths, start, *problem.data(steps * batch), batch, 0.01)
    return f"step {problem.name}", training.epoch, steps


def calls_of(problem):
    net = problem.net()
    X, y = problem.data(problem.batch)

    def calls():
        for _ in range(CALLS):
            net.value_and_grad(X, y)

    return f"value_and_grad {problem.name}", calls, CALLS


def seconds_of(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(function, threads, rounds):
    """Seconds (rounds, 2): with one thread and with `threads`."""
    import numpy as np

    import fastbp

    seconds = np.empty((rounds, 2))
    for i, row in enumerate(seconds):
        for k in (0, 1) if i % 2 == 0 else (1, 0):
            with fastbp.set_num_threads((1, threads)[k]):
                time.sleep(SETTLE_SECONDS)
                function()  # not timed: wakes the threads, and brings each its numbers
                row[k] = seconds_of(function)
    return seconds


def results_alone(threads, rounds):
    """Yield a result for each case on an idle machine."""
    import numpy as np

    for name, function, count in cases():
        enough = max(5, min(rounds, int(rounds * 5 * ROUND_SECONDS / seconds_of(function))))
        seconds = measure(function, threads, enough) / count
        one, more = np.median(seconds, axis=0)
        ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
        yield {"name": name, "one_us": one * 1e6, "more_us": more * 1e6, "ratio": ratio, "rounds": enough}


def results_beside(mode, threads, rounds):
    """Yield a result for each net beside another program or library."""
    for name, one, more in busy.measure(mode, threads, rounds):
        yield {"name": name, "one_us": one, "more_us": more, "ratio": more / one, "rounds": rounds}


def main():
    options = arguments()
    threads, facts = environment.start(options.threads)
    environment.print_environment(facts)
    print(f"\n{'':44}{'1 thread, us':>14}{f'{threads} threads':>12}{'ratio':>8}")
    slower = SLOWER_BESIDE if options.beside else SLOWER
    if options.beside:
        measured = results_beside(options.beside, threads, options.rounds)
    else:
        measured = results_alone(threads, options.rounds)
    results = []
    for result in measured:
        results.append(result)
        mark = "  slower" if result["ratio"] > slower else ""
        line = f"{result['name']:44}{result['one_us']:14.1f}{result['more_us']:12.1f}{result['ratio']:8.2f}{mark}"
        print(line, flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"environment": facts, "load_after": environment.load(), "results": results}, file, indent=1)
    raise SystemExit(any(result["ratio"] > slower for result in results))


if __name__ == "__main__":
    main()
