"""The rules of the house: who may include or import what, sizes of files and functions, equations that exist."""

import ast
import re

import pytest
from helpers import ROOT

import fastbp as fb

CPP = ROOT / "cpp" / "src"
SOURCES = [
    path
    for folder in ("cpp", "python", "tests", "benchmarks", "tools", "examples", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".cpp", ".hpp", ".h", ".c", ".py", ".pyi", ".cu", ".cuh"}
]
# layer: what it may include besides the standard library and its own folder. `formulas` may use the views and
# enums of the seam, which are plain data; a backend may use the loops that backends share.
ALLOWED = {
    "seam": set(),
    "system": {"pthread.h", "dlfcn.h", "sched.h", "fcntl.h", "unistd.h"},
    "formulas": {"seam/enums.hpp", "seam/views.hpp", "seam/step_rule.hpp"},
    "algorithm": {"seam"},
    "backend/loops": {"seam", "formulas", "immintrin.h"},
    "backend/plain": {"seam", "formulas", "backend/loops"},
    "backend/cpu": {
        "seam",
        "system",
        "formulas",
        "backend/loops",
        "dlfcn.h",
        "sys/mman.h",
        "pthread.h",
        "fcntl.h",
        "unistd.h",
    },
    "backend/cuda": {"seam", "formulas", "cuda_runtime.h", "cublasLt.h", "dlfcn.h", "unistd.h"},
    "backend": {"seam", "system", "backend/cpu", "backend/plain", "dlfcn.h"},
    "execution": {"seam", "system", "algorithm", "backend/make_backend.hpp", "pthread.h"},
    "training": {"seam", "system", "algorithm", "backend/make_backend.hpp", "execution"},
    "api": {"seam", "system", "algorithm", "backend/make_backend.hpp", "execution", "training", "fastbp"},
}
STANDARD_ONLY_MATH = {"cmath", "cstdint"}


def layer_of(path):
    parts = path.relative_to(CPP).parts
    return "/".join(parts[:2]) if parts[0] == "backend" and len(parts) >= 3 else parts[0]


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


CORE = sorted(path for path in CPP.rglob("*") if path.suffix in {".cpp", ".hpp", ".cu", ".cuh"})


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(CPP)))
def test_a_layer_includes_only_what_stands_below_it(path):
    layer = layer_of(path)
    for name in includes(path):
        if "/" not in name and "." not in name:  # the standard library
            assert layer != "formulas" or name in STANDARD_ONLY_MATH, f"{path.name} includes <{name}>"
            continue
        own = name.startswith(layer + "/") and (layer != "backend" or name.count("/") == 1)
        allowed = any(name == entry or name.startswith(entry + "/") for entry in ALLOWED[layer])
        assert own or allowed, f"{layer} may not include {name}"


def test_the_algorithm_names_no_backend():
    for path in (CPP / "algorithm").rglob("*.*"):
        text = path.read_text()
        for word in ("#if", "cblas", "Cuda", "thread>", "__AVX"):
            assert word not in text, f"{path.name} says {word}"


def test_bindings_know_only_the_public_headers():
    for path in (ROOT / "cpp" / "bindings").rglob("*.[ch]pp"):
        for name in includes(path):
            folder = name.split("/")[0] if "/" in name else ""
            assert folder not in set(ALLOWED)
            assert folder != "fastbp" or name in ("fastbp/fastbp.hpp", "fastbp/fastbp.h")
    with_pybind11 = [p for p in (ROOT / "cpp").rglob("*.[ch]pp") if "pybind11" in p.read_text()]
    assert {p.parent for p in with_pybind11} == {ROOT / "cpp" / "bindings" / "python"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_short(path):
    limit = 500 if path.name == "reference.py" else 400  # the whole lecture in NumPy, read from top to bottom
    assert len(path.read_text().splitlines()) < limit


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix == ".py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_python_function_is_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = node.body[0] if ast.get_docstring(node) else None
            doc = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
            assert node.end_lineno - node.lineno + 1 - doc < 60, f"{node.name} in {path.name}"


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.suffix in {".cpp", ".hpp", ".c"}], ids=lambda p: str(p.relative_to(ROOT))
)
def test_a_cpp_function_is_short(path):
    """By the brackets: a body opened at the indentation of a function or method is closed within 60 lines."""
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        if re.match(r"^(    )?[^\s#/{}:].*\)( const)?( noexcept)?( override)? \{$", line) and not re.match(
            r"^\s*(namespace|class|struct|enum|extern|template)", line
        ):
            indent = line[: len(line) - len(line.lstrip())]
            end = next(k for k in range(start, len(lines)) if lines[k].startswith(indent + "}"))
            assert end - start < 60, f"line {start + 1} of {path.name}: {line.strip()}"


def test_cited_equations_exist():
    notation = (ROOT / "cpp" / "NOTATION.md").read_text()
    known = set(re.findall(r"^\| \((\d+)\) \|", notation, re.MULTILINE))
    assert known == {str(n) for n in range(1, 12)}
    for path in SOURCES:
        if path.suffix in {".cpp", ".hpp", ".h", ".cu", ".cuh"} and "tests" not in path.parts:
            cited = {
                n
                for comment in re.findall(r"//.*|/\*.*?\*/", path.read_text())
                for n in re.findall(r"(?<!\w)\((\d{1,2})\)", comment)
            }
            assert cited <= known, f"{path.name} cites {cited - known}"


def test_every_operation_of_the_seam_has_its_line():
    notation = (ROOT / "cpp" / "NOTATION.md").read_text()
    table = notation[notation.index("## The operations of the seam") : notation.index("## The algorithm")]
    files = ("memory", "queue", "operations", "backend")
    interfaces = "".join((CPP / "seam" / f"{name}.hpp").read_text() for name in files)
    operations = set(re.findall(r"^\s+virtual [\w*]+(?: \w+\*)? ?\*?(\w+)\(", interfaces, re.MULTILINE))
    operations |= {"allocate", "name"}
    documented = set(re.findall(r"`(\w+)`", table))
    special = {"load_weights", "load_classes", "run"}  # one line with load_rows; Step's own method
    assert len(operations) > 25
    assert operations - special <= documented, operations - special - documented


def test_the_enums_are_the_same_in_every_language():
    header = (ROOT / "cpp" / "include" / "fastbp" / "fastbp.h").read_text()
    seam = (CPP / "seam" / "enums.hpp").read_text()
    from fastbp._functions import LOSSES, OUTPUT_ACTIVATIONS

    for name, number in {**OUTPUT_ACTIVATIONS, **LOSSES}.items():
        assert re.search(rf"FASTBP_{name.upper()} = {number}\b", header)
        assert re.search(rf"\b{name} = {number},", seam)


def test_one_version():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    assert fb.__version__ == fb._core.__version__ == version


def test_no_doubtful_compiler_flags():
    for path in [*ROOT.glob("CMakeLists.txt"), *ROOT.glob("cpp/**/CMakeLists.txt"), *ROOT.glob("cmake/*")]:
        text = re.sub(r"#.*", "", path.read_text())
        for flag in ("-ffast-math", "-Ofast", "-fopenmp", "OpenMP", "-march=native"):
            assert flag not in text, f"{path.name} has {flag}"
