"""What a benchmark's numbers hold for, and the same processors and threads for everything that is compared.

Nothing but the standard library is imported here at import time: `hold_processors` must come before NumPy.
"""

import datetime
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

CEILING_SIZE = 2048
PACKAGES = {"fastbp": "fastbp", "numpy": "numpy", "torch": "torch", "jax": "jax", "sklearn": "scikit-learn"}
PACKAGES |= {"threadpoolctl": "threadpoolctl", "matplotlib": "matplotlib"}


def missing(modules):
    """The distributions to install, of those that the modules named come from."""
    return [PACKAGES[name] for name in modules if importlib.util.find_spec(name) is None]


def default_threads():
    """fastbp.get_num_threads(), asked in a process of its own: NumPy is not to be imported here yet."""
    code = "import fastbp; print(fastbp.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def hold_processors(threads):
    """Keep this process, and the thread pools that it is going to start, on `threads` of its processors.

    To be called before NumPy, PyTorch or JAX is imported. JAX has no other way: the size of XLA's pool is the number
    of processors that the process may run on when JAX makes its first array.
    """
    if "numpy" in sys.modules:
        raise RuntimeError("hold_processors must come before NumPy is imported")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTBP_NUM_THREADS"):
        os.environ[name] = str(threads)
    # OpenBLAS's helpers spin on for 2^28 cycles after a product, 0.1 s, into the time of whoever comes next.
    # 2^24 is 7 ms: more than any gap within a step (NumPy loses 0 to 3 %), and less than the silence between
    # parts of a round.
    os.environ["OPENBLAS_THREAD_TIMEOUT"] = "24"


def blas_limits(threads):
    """A context: the BLAS of NumPy and SciPy held to `threads`. fastbp's own is not: fastbp's threads call it."""
    from threadpoolctl import ThreadpoolController

    import fastbp

    own = str(Path(fastbp.__file__).parent)
    controller = ThreadpoolController()
    others = [c.filepath for c in controller.lib_controllers if c.user_api == "blas" and not c.filepath.startswith(own)]
    return controller.select(filepath=others).limit(limits=threads)


class Ceiling:
    """NumPy's float32 product of 2048 x 2048 matrices, by 1 and `threads` threads."""

    def __init__(self, threads):
        import numpy as np

        rng = np.random.default_rng(0)
        self.factors = [rng.standard_normal((CEILING_SIZE, CEILING_SIZE), dtype=np.float32) for _ in range(2)]
        self.out = np.empty_like(self.factors[0])
        self.seconds = {count: [] for count in sorted({1, threads})}

    def sample(self):
        """Time it once more, threads awake."""
        import numpy as np

        for count, seconds in self.seconds.items():
            with blas_limits(count):
                np.matmul(*self.factors, out=self.out)
                start = time.perf_counter()
                np.matmul(*self.factors, out=self.out)
                seconds.append(time.perf_counter() - start)

    def gflops(self):
        """The medians of the samples, by number of threads."""
        import numpy as np

        return {count: 2 * CEILING_SIZE**3 / float(np.median(s)) / 1e9 for count, s in self.seconds.items()}


def environment(threads):
    """Facts for the table and the JSON."""
    import numpy as np

    import fastbp

    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    name, caches, processors = _cpu()
    facts = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": name,
        "processors": processors,
        "caches": caches,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "threads": threads,
        "load_before": load(),
    }
    shown = fastbp.show_config("dicts")
    facts |= {f"fastbp_{key}": shown[key] for key in ("build", "isa", "blas", "blas_core")}
    facts["fastbp_blas_library"] = Path(shown["blas_library"]).name
    facts["numpy_blas"] = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    facts["versions"] = {d: importlib.metadata.version(d) for m, d in PACKAGES.items() if not missing([m])}
    return facts


def load():
    """The load averages over 1, 5 and 15 minutes, where there are any."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else []


def start(threads):
    """Holds everything to `threads`, fastbp's default where it is None; returns their number and the environment."""
    threads = threads or default_threads()
    hold_processors(threads)

    import fastbp

    fastbp.set_num_threads(threads)
    return threads, environment(threads)


def print_environment(facts):
    for name, fact in facts.items():
        if isinstance(fact, dict):
            fact = ", ".join(f"{key} {value}" for key, value in fact.items())
        print(f"{name:20}{fact}")


def _cpu():
    """Its name, its caches in words, how many processors this process may run on."""
    name, caches = platform.processor(), []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / file).read_text().strip() for file in ("level", "type", "size"))
        if kind != "Instruction":
            caches.append(f"L{level} {size}")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return name, ", ".join(caches) or "unknown", processors
