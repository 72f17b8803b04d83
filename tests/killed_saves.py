"""Processes that save a model are killed, and the file is looked at; a program, for pytest itself had better not fork.

``killed_saves.py FOLDER calls`` kills at every system call of a save, ``killed_saves.py FOLDER random COUNT`` at random
times; both print what they found as JSON.
"""

import ctypes
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

import fastbp as fb

PTRACE_TRACEME, PTRACE_SYSCALL = 0, 24
LIBC = ctypes.CDLL(None, use_errno=True)
SIZES = (40, 200, 10)


def generation(g):
    """A net whose parameters are all g, and its state."""
    net = fb.MLP(SIZES, init="zeros")
    net.params[...] = g
    return net, fb.SGD(momentum=0.9).init(net.params, seed=g)


def save(g, path):
    net, state = generation(g)
    fb.save(net, path, state=state)


def saved(path):
    """The generation that the file holds, all of it."""
    net, state = fb.load(path, with_state=True)
    assert np.unique(net.params).tolist() == [state.seed]
    return state.seed


def ptrace(request, pid):
    if LIBC.ptrace(request, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def child(job):
    pid = os.fork()
    if pid == 0:
        try:
            job()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def left_behind(path):
    """Whether there was a temporary file; removed."""
    found = [other for other in path.parent.iterdir() if other != path]
    for other in found:
        other.unlink()
    return len(found) > 0


def kill_at_every_call(path):
    """Before and after each system call; what the file held then, and whether the temporary file was there."""
    held, temporaries = [], []

    def job():
        ptrace(PTRACE_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        save(2, path)

    while True:
        save(1, path)
        pid = child(job)
        _, status = os.waitpid(pid, 0)
        for _ in range(len(held)):
            if os.WIFSTOPPED(status):
                ptrace(PTRACE_SYSCALL, pid)
                _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            ended = os.waitstatus_to_exitcode(status)
            return {"ended": ended, "saved": saved(path), "held": held, "temporaries": temporaries}
        kill(pid)
        held.append(saved(path))
        temporaries.append(left_behind(path))


def kill_at_random(path, wanted):
    """Of a process that saves one generation after the other, and says through a pipe which are done."""
    rng = random.Random(0)
    save(1, path)
    last, counted, before = 1, 0, 0
    for _ in range(20 * wanted):  # most kills hit a save
        if counted == wanted:
            break
        done, says = os.pipe()

        def job(first=last + 1, says=says):
            for g in range(first, first + 10**6):
                save(g, path)
                os.write(says, b".")

        pid = child(job)
        os.close(says)
        time.sleep(rng.uniform(0, 0.02))
        kill(pid)
        with os.fdopen(done, "rb") as pipe:
            confirmed = last + len(pipe.read())
        last = saved(path)
        assert last in (confirmed, confirmed + 1), (last, confirmed)
        if left_behind(path):
            counted += 1
            before += last == confirmed
    return {"counted": counted, "old": before, "saves": last}


if __name__ == "__main__":
    file = Path(sys.argv[1]) / "net.safetensors"
    print(json.dumps(kill_at_every_call(file) if sys.argv[2] == "calls" else kill_at_random(file, int(sys.argv[3]))))
