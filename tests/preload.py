"""Programs that run with a preloaded library of C functions, which stand in for those of the system."""

import os
import subprocess
import sys

from helpers import run

HEADER = """
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
"""


def preloaded(folder, source):
    """Compile C functions and return the environment in which programs use them; a preloaded sanitizer stays first."""
    (folder / "preload.c").write_text(HEADER + source)
    library = folder / "preload.so"
    run("cc", "-shared", "-fPIC", folder / "preload.c", "-o", library, "-ldl")
    before = os.environ.get("LD_PRELOAD")
    return {**os.environ, "LD_PRELOAD": f"{before}:{library}" if before else str(library)}


def python(program, *arguments, environment=None, without=(), **variables):
    """Run a Python program, without some environment variables, and return its stdout; it must succeed."""
    environment = {**(environment or os.environ), **variables}
    environment = {name: value for name, value in environment.items() if name not in without}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
