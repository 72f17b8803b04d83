"""Which ways can run here: packages, instruction sets, the private extension and the emulated device."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from private_build import build_private_extension


def available(ways):
    """The ways that can run here, with the environment of what was built; others are named on the standard output."""
    build = build_private_extension() if any(way.needs in ("seam", "emulated device") for way in ways) else None
    found = []
    for way in ways:
        missing = what_is_missing(way)
        if missing:
            print(f"differential: left out {way.name!r}: {missing}", flush=True)
        else:
            found.append(with_build(way, build))
    return found


def what_is_missing(way):
    """Why a way cannot run here, or None."""
    isa = dict(way.environment).get("FASTBP_ISA")
    if isa and not has_isa(isa):
        return f"{isa} is not on this machine"
    if way.needs in ("torch", "jax") and importlib.util.find_spec(way.needs) is None:
        return f"{way.needs} is not installed"
    if way.needs == "jax handlers":
        if importlib.util.find_spec("jax") is None:
            return "jax is not installed"
        import fastbp.jax

        return None if fastbp.jax.backend() == "ffi" else "the handlers were not compiled"
    return None


def has_isa(isa):
    probe = [sys.executable, "-c", "import fastbp; fastbp.MLP((1, 1))"]
    environment = {**os.environ, "FASTBP_ISA": isa, "FASTBP_BLAS": "none"}
    done = subprocess.run(probe, env=environment, capture_output=True, text=True)
    return done.returncode == 0


def with_build(way, build):
    """The way with the files of the build in its environment."""
    if way.needs == "seam":
        return replace(way, environment=(*way.environment, ("FASTBP_TEST_BUILD", str(Path(build).parent))))
    if way.needs == "emulated device":
        files = {
            "FASTBP_CUDA": f"{build}/libfastbp_cuda_emulated.so",
            "FASTBP_CUBLASLT": f"{build}/libcublasLt_emulated.so",
        }
        return replace(way, environment=(*way.environment, *files.items()))
    return way
