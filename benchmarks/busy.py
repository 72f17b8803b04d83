"""What two or more threads cost if another program, or another library's threads, use the processors.

`threads.py --beside MODE` runs it. Each case trains for about 10 ms, after or beside one of these:

none    nothing
spin    a process that uses one processor all the time
numpy, torch, jax
        a product on the library's own threads, which go on spinning for a while or sleep
"""

import contextlib
import subprocess
import sys
import time

MODES = ("none", "spin", "numpy", "torch", "jax")
NETS = (((64, 100, 10), 200), ((784, 128, 10), 32), ((784, 256, 256, 10), 128))
ROWS, SIDE = 20_000, 600


def product_of(mode):
    """Return a function that uses the threads of the mode's library."""
    if mode == "numpy":
        import numpy as np

        matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE))
        return lambda: matrix @ matrix
    if mode == "torch":
        import torch

        tensor = torch.randn(SIDE, SIDE)
        return lambda: tensor @ tensor
    if mode == "jax":
        import jax
        import jax.numpy as jnp

        array = jnp.ones((SIDE, SIDE))
        return lambda: jax.block_until_ready(array @ array)
    return lambda: None


@contextlib.contextmanager
def company(mode):
    """Run the mode's other program; yield the function to call before each measured call."""
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if mode == "spin" else None
    try:
        yield product_of(mode)
    finally:
        if spinner is not None:
            spinner.kill()
            spinner.wait()


def training(widths, batch):
    """Return a function that trains for one epoch, and the number of its steps."""
    import numpy as np

    import fastbp as fb

    rng = np.random.default_rng(0)
    steps = ROWS // batch
    X, y = rng.standard_normal((steps * batch, widths[0])).astype("f"), rng.integers(0, widths[-1], steps * batch)
    net = fb.MLP(widths, loss="cross_entropy", seed=0)
    state = fb.SGD(lr=0.01).init(net.params)
    return lambda: net.fit(X, y, state=state, batch_size=batch, epochs=1, shuffle=False, progress=False), steps


def seconds_of(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(mode, threads, rounds):
    """Yield (name, microseconds of a step with one thread, the same with `threads`) for each net."""
    import numpy as np

    import fastbp as fb

    with company(mode) as before:
        for widths, batch in NETS:
            (alone, steps), (team, _) = training(widths, batch), training(widths, batch)
            seconds = np.empty((rounds + 1, 2))
            for row in seconds:
                for k, (train, n) in enumerate(((alone, 1), (team, threads))):
                    before()
                    with fb.set_num_threads(n):
                        row[k] = seconds_of(train)
            one, more = np.median(seconds[1:], axis=0) / steps * 1e6
            yield f"step {'-'.join(map(str, widths))} b{batch} beside {mode}", one, more
