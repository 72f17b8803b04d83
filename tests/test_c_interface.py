"""The C interface as C and C++ programs see it: refusals, callbacks, and programs of the previous header."""

import subprocess
from pathlib import Path

import pytest
from helpers import ROOT, SANITIZE, plain_environment, run

import fastbp as fb

PACKAGE = Path(fb._core.__file__).parent
LIBRARY = PACKAGE / "lib" / "libfastbp.so"
PROGRAMS = ROOT / "tests" / "cpp" / "c_interface"
PREVIOUS = PROGRAMS / "previous"  # the header of the last release
COMPILERS = {".c": ("cc", "-std=c11"), ".cpp": ("c++", "-std=c++17")}
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")

pytestmark = [
    pytest.mark.skipif(not LIBRARY.exists(), reason="a development tree: libfastbp.so is not installed"),
    pytest.mark.skipif(bool(SANITIZE), reason="the sanitizer of the whole suite is in the way of other programs"),
]


def build(name, folder, *options):
    """Compile a program of PROGRAMS against the installed package."""
    source, lib = PROGRAMS / name, LIBRARY.parent
    program = folder / source.stem
    linked = (f"-I{PACKAGE / 'include'}", f"-L{lib}", f"-Wl,-rpath,{lib}", "-lfastbp", "-lm", "-pthread")
    run(*COMPILERS[source.suffix], *WARNINGS, *options, source, *linked, "-o", program)
    return program


def said_by(program, *arguments, **variables):
    """Return what a program prints to its two streams; a failure shows both."""
    environment = {**plain_environment(), **variables}
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("name", ["overlaps.cpp", "refusals.c"])
def test_what_is_wrong_is_refused(name, tmp_path):
    program = build(name, tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert said_by(program, ASAN_OPTIONS="detect_leaks=0")[0] == "0 failures\n"


def test_callbacks(tmp_path):
    program = build("callbacks.cpp", tmp_path)
    assert said_by(program, FASTBP_NUM_THREADS="1")[0] == "0 failures\n"
    assert said_by(program, "pools", FASTBP_NUM_THREADS="2", FASTBP_TEAM="2")[0] == "0 failures\n"


def test_a_program_of_the_previous_header(tmp_path):
    """Its structs are smaller than those of today, and it gets the same results."""
    now = said_by(build("previous.c", tmp_path))
    before = said_by(build("previous.c", tmp_path, f"-I{PREVIOUS}"))
    assert before[0] == now[0]
    sizes = [list(map(int, stderr.split())) for _, stderr in (before, now)]
    assert all(a <= b for a, b in zip(*sizes, strict=True))
    assert sizes[0] != sizes[1]


def test_the_previous_header_declares_what_this_library_exports():
    """Functions are added, never removed."""
    exported = run("nm", "-D", "--defined-only", LIBRARY).split()
    for line in (PREVIOUS / "fastbp" / "fastbp.h").read_text().splitlines():
        if line.startswith("FASTBP_API"):
            assert line.partition("(")[0].split()[-1].lstrip("*") in exported
