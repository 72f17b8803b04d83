"""The problems of `fastbp bench`, for any benchmark that compares on them; run it to print them."""

from itertools import pairwise

from fastbp._bench import PROBLEMS, Problem, interleaved, threads_held

__all__ = ["PROBLEMS", "Problem", "interleaved", "threads_held"]


def parameter_count(problem: Problem) -> int:
    return sum((rows + 1) * cols for rows, cols in pairwise(problem.widths))


if __name__ == "__main__":
    print(f"{'problem':36}{'parameters':>12}{'Mflop a step':>14}")
    for problem in PROBLEMS:
        print(f"{problem.name:36}{parameter_count(problem):12,}{problem.flops / 1e6:14,.2f}")
