"""Processes that compute problems: fastbp reads its environment once, so each environment has a process of its own.

Requests and answers are pickles over the process's standard streams. An answer that does not come within `PATIENCE`
seconds ends the process, and is a failure.
"""

import os
import pickle
import select
import struct
import subprocess
import sys
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 120.0
LENGTH = struct.Struct("<q")
FASTBP_VARIABLES = ("FASTBP_BLAS", "FASTBP_ISA", "FASTBP_TEAM", "FASTBP_NUM_THREADS", "FASTBP_TEST_DEVICE")


class WorkerError(Exception):
    """A way raised, died or did not answer; the text says how."""


class Worker:
    """One process, started when it is first asked."""

    def __init__(self, environment):
        self.environment, self.process = environment, None

    def ask(self, problem, ways):
        """Send a request. `answer` must be called before the next one."""
        if self.process is None:
            self.process = self._started()
        text = pickle.dumps((problem, ways))
        try:
            self.process.stdin.write(LENGTH.pack(len(text)) + text)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` says how the process ended

    def answer(self):
        """{way's name: results, or the text of an exception}."""
        (size,) = LENGTH.unpack(self._read(LENGTH.size))
        return pickle.loads(self._read(size))

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def _started(self):
        kept = {name: value for name, value in os.environ.items() if name not in FASTBP_VARIABLES}
        kept["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [kept.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "differential.workers"]
        environment = {**kept, "OPENBLAS_NUM_THREADS": "1", **dict(self.environment)}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def _read(self, size):
        parts, stream = [], self.process.stdout.fileno()
        while size > 0:
            ready, _, _ = select.select([stream], [], [], PATIENCE)
            part = os.read(stream, min(size, 1 << 20)) if ready else b""
            if not part:
                code = self.process.poll() if not ready else self.process.wait()
                self.close()
                how = f"ended with {code}" if ready else f"gave no answer in {PATIENCE:g} s"
                raise WorkerError(f"the process with {dict(self.environment)} {how}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Workers:
    """A process for each environment of the ways."""

    def __init__(self):
        self.by_environment = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.by_environment.values():
            worker.close()

    def answers(self, problem, ways):
        """{way's name: results or text} of all ways; the processes work at the same time."""
        groups = {}
        for way in ways:
            groups.setdefault(way.environment, []).append(way)
        for environment, group in groups.items():
            worker = self.by_environment.setdefault(environment, Worker(environment))
            worker.ask(problem, group)
        found, failures = {}, {}
        for environment, group in groups.items():
            try:
                found |= self.by_environment[environment].answer()
            except WorkerError as error:
                failures |= {way.name: str(error) for way in group}
        return found | failures


def serve():
    """Answer requests until the standard input ends."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while header := source.read(LENGTH.size):
        problem, ways = pickle.loads(source.read(LENGTH.unpack(header)[0]))
        answer = {}
        for way in ways:
            try:
                answer[way.name] = way.compute(problem)
            except Exception:
                answer[way.name] = traceback.format_exc()
        text = pickle.dumps(answer)
        target.write(LENGTH.pack(len(text)) + text)
        target.flush()


if __name__ == "__main__":
    serve()
