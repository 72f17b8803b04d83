"""Reproduce a mismatch: the command that repeats it, and a separate program for results of an MLP."""

import numpy as np

MOST_NUMBERS = 400  # of arrays that are printed


def literal(array):
    if array is None:
        return "None"
    numbers = np.array2string(array, separator=", ", threshold=10**6, max_line_width=10**6, floatmode="unique")
    return f"np.array({' '.join(numbers.split())}, dtype={array.dtype.str!r})"


def program(way, problem):
    """The text that a mismatch ends with."""
    command = f"PYTHONPATH=tests python -m differential.run --ways '{way.name}' --problem \"{problem!r}\""
    lines = ["To repeat it:", command]
    if way.function.startswith("mlp:"):
        lines += ["or by itself:", *mlp_program(way, problem)]
    return "\n".join(lines)


def mlp_program(way, problem):
    data, options = problem.data(), dict(way.options)
    loss = {"huber": f"fb.Huber({problem.loss[1]})", "pinball": f"fb.Pinball({problem.loss[1]})"}
    lines = [f"# environment: {dict(way.environment)}, options of this way: {options}"]
    arrays = {"params": data.params, "X": data.X_given, "y": data.y, "c": data.c, "v": data.v, "u": data.u}
    if sum(array.size for array in arrays.values() if array is not None) > MOST_NUMBERS:
        lines += ["from differential.problems import *", f"data = {problem!r}.data()"]
        lines += [f"{name} = data.{'X_given' if name == 'X' else name}" for name in arrays]
    else:
        lines += ["from numpy import inf, nan", *(f"{name} = {literal(array)}" for name, array in arrays.items())]
        lines.append(f"# X was {problem.x_form} in memory")
    return [
        "import numpy as np, fastbp as fb", *lines,
        f"fb.set_num_threads({options.get('threads', 1)})",
        f"net = fb.MLP({problem.sizes}, loss={loss.get(problem.loss[0], repr(problem.loss[0]))}, "
        f"activation={[g if g[1] else g[0] for g in problem.hidden]}, "
        f"output_activation={problem.output if problem.output[1] else problem.output[0]!r}, dtype={problem.dtype!r}, "
        f"device={options.get('device', 'cpu')!r}, l2={problem.l2}, l1={problem.l1}, "
        f"deterministic={problem.deterministic})",
        "net.params = params",
        f"print(net.backward(X, y, c, reduction={problem.reduction!r}))",
    ]  # fmt: skip
