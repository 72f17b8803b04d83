"""Contenders that take turns in every round, each after an untimed run as long as its timed one."""

import gc
import time


def measure(calls, rounds, round_seconds):
    """Seconds of one call (rounds, contenders): the mean over as many as take about `round_seconds`."""
    import numpy as np

    found = np.empty((rounds, len(calls)))
    counts = [max(1, round(round_seconds / min(seconds(call, 1) for _ in range(20)))) for call in calls]
    gc.collect()
    gc.disable()
    try:
        for i, row in enumerate(found):
            for k in range(len(calls))[:: 1 if i % 2 == 0 else -1]:
                seconds(calls[k], counts[k])
                row[k] = seconds(calls[k], counts[k]) / counts[k]
    finally:
        gc.enable()
    return found


def seconds(call, count):
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start
