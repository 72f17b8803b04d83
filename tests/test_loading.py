"""Loading fastbp: it finds its files wherever they lie, refuses another library, and leaves the process as it was."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from helpers import SANITIZE, run
from preload import preloaded, python

import fastbp as fb

PACKAGE = Path(fb._core.__file__).resolve().parent
LIBRARY = PACKAGE / "lib" / "libfastbp.so"
CLIENT = """
#include <fastbp/fastbp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char** arguments) {
    if (count > 1 && chdir(arguments[1]) != 0) return 2;
    int64_t widths[] = {4, 2};
    int32_t activations[] = {FASTBP_IDENTITY};
    fastbp_net_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.size = sizeof spec;
    spec.layers = 1;
    spec.widths = widths;
    spec.activations = activations;
    fastbp_net* net;
    if (fastbp_net_create(&spec, &net) != FASTBP_OK) return puts(fastbp_last_error()), 1;
    fastbp_config facts = {.size = sizeof facts};
    fastbp_get_config(&facts);
    puts(facts.blas_library);
    return 0;
}
"""
pytestmark = [
    pytest.mark.skipif(not LIBRARY.exists(), reason="a development tree: libfastbp.so is not installed"),
    pytest.mark.skipif(bool(SANITIZE), reason="the sanitizer of the whole suite is in the way of other programs"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A C program that may change its directory before it makes its first net."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "client.c").write_text(CLIENT)
    run(
        "cc",
        f"-I{PACKAGE / 'include'}",
        folder / "client.c",
        "-o",
        folder / "client",
        f"-L{LIBRARY.parent}",
        "-lfastbp",
    )
    return folder / "client"


def blas_found(client, *arguments, cwd=None, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run([client, *arguments], env=environment, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_blas_is_found_beside_the_file_behind_a_symbolic_link(client, tmp_path):
    (tmp_path / "libfastbp.so").symlink_to(LIBRARY)
    expected = str(LIBRARY.parent / "libscipy_openblas-fastbp.so")
    assert blas_found(client, LD_LIBRARY_PATH=str(tmp_path)) == expected


def test_the_blas_is_found_after_a_change_of_the_working_directory(client):
    expected = str(LIBRARY.parent / "libscipy_openblas-fastbp.so")
    assert blas_found(client, "/", cwd=PACKAGE, LD_LIBRARY_PATH="lib") == expected
    relative = "./lib/libscipy_openblas-fastbp.so"
    variables = {"LD_LIBRARY_PATH": "lib", "FASTBP_BLAS": relative}
    assert blas_found(client, "/", cwd=PACKAGE, **variables) == expected


def test_a_frozen_program_finds_the_blas(tmp_path):
    """PyInstaller puts links to the libraries of a package beside the package, and that folder into LD_LIBRARY_PATH."""
    (tmp_path / "fastbp").symlink_to(PACKAGE)
    (tmp_path / "libfastbp.so").symlink_to("fastbp/lib/libfastbp.so")
    program = "import fastbp; print(fastbp.MLP((2, 1), init='zeros').forward([[1.0, 2.0]]))"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert python(program, PYTHONPATH=path, LD_LIBRARY_PATH=str(tmp_path)) == "[[0.]]\n"


@pytest.fixture(scope="module")
def other_library(tmp_path_factory):
    """A library that has all of the C functions and another build's identity."""
    folder = tmp_path_factory.mktemp("other")
    header = (PACKAGE / "include" / "fastbp" / "fastbp.h").read_text()
    names = re.findall(r"^FASTBP_API [^;(]*?\b(fastbp_\w+)\(", header, re.MULTILINE)
    texts = {"fastbp_version": "9.9.9", "fastbp_build_id": "9.9.9 of another", "fastbp_last_error": ""}
    lines = [
        f'const char* {name}() {{ return "{texts[name]}"; }}' if name in texts else f"long {name}() {{ return 0; }}"
        for name in names
    ]
    (folder / "other.c").write_text("\n".join(lines))
    library = folder / "libfastbp.so"
    run("cc", "-w", "-shared", "-fPIC", "-Wl,-soname,libfastbp.so", folder / "other.c", "-o", library)
    return library


IMPORT = """
import ctypes, sys
if len(sys.argv) > 1: ctypes.CDLL(sys.argv[1])
try:
    import fastbp as fb
except ImportError as error:
    sys.exit(print(error))
print(fb.MLP((2, 1), init="zeros").forward([[1.0, 2.0]]))
"""


def test_the_package_works_with_its_own_library_whatever_the_search_path(other_library):
    assert python(IMPORT, LD_LIBRARY_PATH=str(other_library.parent)) == "[[0.]]\n"


@pytest.mark.parametrize("how", ["loaded", "preloaded"])
def test_another_library_in_the_process_is_refused(other_library, how):
    arguments = [other_library] if how == "loaded" else []
    variables = {} if how == "loaded" else {"LD_PRELOAD": str(other_library)}
    said = python(IMPORT, *arguments, **variables)
    assert said.startswith(
        f"[import] fastbp is bound to another libfastbp.so, {other_library}, build '9.9.9 of another'"
    )
    assert f"expected build '{fb._core.build_id}'" in said


COUNT = r"""
static void note(const char* function, const char* name) {
    if (getenv("IMPORTED") == NULL) return;
    fprintf(stderr, "%s %s\n", function, name);
    abort();
}
int setenv(const char* name, const char* value, int overwrite) {
    note("setenv", name);
    int (*real)(const char*, const char*, int) = dlsym(RTLD_NEXT, "setenv");
    return real(name, value, overwrite);
}
int unsetenv(const char* name) {
    note("unsetenv", name);
    int (*real)(const char*) = dlsym(RTLD_NEXT, "unsetenv");
    return real(name);
}
"""
FIRST_NET = """
import os, threading, fastbp as fb
os.environ["IMPORTED"] = "1"
done = threading.Event(); other = threading.Thread(target=done.wait); other.start()
before = os.sched_getaffinity(0), len(os.listdir("/proc/self/task"))
fb.MLP((2, 1), init="zeros")
assert (os.sched_getaffinity(0), len(os.listdir("/proc/self/task"))) == before
done.set(); other.join()
"""


def test_the_first_net_leaves_the_environment_the_threads_and_the_affinity_alone(tmp_path):
    """getenv in another thread may crash while the environment changes."""
    python(FIRST_NET, environment=preloaded(tmp_path, COUNT), without=("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))


def test_the_environment_is_not_read_after_the_import(tmp_path):
    """Reading it while another thread changes it may crash; the BLAS reads what belongs to it."""
    source = """
    char* getenv(const char* name) {
        char* (*real)(const char*) = dlsym(RTLD_NEXT, "getenv");
        if (real("IMPORTED") && !strncmp(name, "FASTBP_", 7)) { fprintf(stderr, "getenv %s", name); abort(); }
        return real(name);
    }
    """
    program = "import os, fastbp as fb; os.environ['IMPORTED'] = '1'; fb.MLP((2, 1)).forward([[1.0, 2.0]]); print('ok')"
    assert python(program, environment=preloaded(tmp_path, source)) == "ok\n"
