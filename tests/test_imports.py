"""Check which modules each Python file of the package imports, and when. The checks find planted violations."""

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import ROOT

import fastbp as fb

PYTHON = ROOT / "python" / "fastbp"
# Adapters, which only their users import: the packages other than NumPy that they import at import time.
ADAPTERS = {"sklearn": {"sklearn", "scipy"}, "torch": {"torch"}, "jax": {"jax", "jaxlib"}}
# Packages that functions of other files may import when they are called.
IN_FUNCTIONS = {"scipy", "matplotlib", "safetensors", "tqdm", "threadpoolctl"}
OF_THE_REFERENCE = {"numpy", "numpy.typing", "math", "collections.abc", "itertools", "typing"}


class Import(NamedTuple):
    name: str  # absolute
    line: int
    deferred: bool  # until a function is called, or for type checkers only


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"


def with_deferral(node, deferred=False):
    """Yield every node of a tree, and whether it runs after the import of the file, or never."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if function and not isinstance(child, ast.Lambda):  # decorators and defaults run on import
            for part in (*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield from with_deferral(ast.Expr(part), deferred)
        inner = deferred or function
        yield child, inner
        if is_for_type_checkers(child):
            for part in child.body:
                yield part, True
                yield from with_deferral(part, True)
            yield from with_deferral(ast.Module(child.orelse, []), inner)
        else:
            yield from with_deferral(child, inner)


def absolute(path, root, level, module):
    """The absolute name of ``from ..module``, in a file of the package whose folder is root."""
    parts = [root.name, *path.parent.relative_to(root).parts]
    return ".".join([*parts[: len(parts) - level + 1], *filter(None, [module])])


def imports(path, root=PYTHON):
    """Every import of a file, at any depth; of ``from a import b`` both a and a.b, as b may be a module."""
    for node, deferred in with_deferral(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, root, node.level, node.module) if node.level else node.module
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            given = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else "<computed>"
            level = len(given) - len(given.lstrip("."))
            names = [absolute(path, root, level, given[level:]) if level else given]
        yield from (Import(name, node.lineno, deferred) for name in names)


def top(name):
    return name.partition(".")[0]


def adapter_of(path, root):
    first = path.relative_to(root).parts[0]
    return first if first in ADAPTERS else None


def forbidden(path, root=PYTHON):
    """Yield the forbidden imports of a file of the package, with the line and the rule."""
    adapter = adapter_of(path, root)
    for found in imports(path, root):
        name = found.name
        if path == root / "__init__.py" and name == "<computed>":
            continue  # names that are imported on first access: another test checks their modules
        if path == root / "_threads.py" and name == "<computed>":
            continue  # modules that another thread imports already, before a fork
        if top(name) == root.name:
            parts = name.split(".")
            if len(parts) > 1 and parts[1] in ADAPTERS and parts[1] != adapter:
                yield found.line, name, "no file imports an adapter of another"
        elif top(name) in sys.stdlib_module_names or top(name) == "numpy":
            continue
        elif adapter is None and not found.deferred:
            yield found.line, name, "on import, the package imports NumPy and the standard library only"
        elif top(name) not in (ADAPTERS[adapter] | IN_FUNCTIONS if adapter else IN_FUNCTIONS):
            yield found.line, name, "not among the packages that functions, or this adapter, may import"


def beyond_numpy(path, root=PYTHON):
    """Yield the forbidden imports of the reference, which may use NumPy but nothing of the package."""
    allowed = {*OF_THE_REFERENCE, "__future__"}
    for found in imports(path, root):
        if found.name not in allowed and found.name.rpartition(".")[0] not in allowed:
            yield found.line, found.name


def every_file(test):
    files = sorted(PYTHON.rglob("*.py"))
    assert len(files) > 50
    return pytest.mark.parametrize("path", files, ids=lambda path: str(path.relative_to(PYTHON)))(test)


@every_file
def test_a_file_imports_only_what_it_may(path):
    assert list(forbidden(path)) == []


def test_the_reference_knows_numpy_alone():
    assert list(beyond_numpy(PYTHON / "reference.py")) == []


def test_homes_of_names_that_are_imported_later():
    """`fastbp.__getattr__` computes the module's name from this table."""
    assert fb._HOMES
    assert not {top(home.lstrip(".")) for home in fb._HOMES.values()} & {*ADAPTERS}


def tree(folder, name, text):
    """Return the path of an additional file in a copy of the package folder, and this folder."""
    path = folder / "fastbp" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path, folder / "fastbp"


FORBIDDEN = [
    ("_a.py", "import torch"),
    ("_a.py", "import torch.nn as nn"),
    ("_a.py", "from scipy import linalg"),
    ("_a.py", "try:\n    import tqdm\nexcept ImportError:\n    tqdm = None"),
    ("_a.py", "if 1:\n    import pandas"),
    ("_a.py", "with open('x'):\n    import scipy"),
    ("_a.py", "class A:\n    import scipy"),
    ("_a.py", "def f(a=__import__('scipy')): pass"),
    ("_a.py", "@__import__('scipy').decorate\ndef f(): pass"),
    ("_a.py", "import importlib\nimportlib.import_module('scipy')"),
    ("_a.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import scipy"),
    ("optimize/_a.py", "import scipy"),
    ("testing/deep/_a.py", "try:\n    import scipy\nfinally:\n    pass"),
    ("_a.py", "def f():\n    import torch"),
    ("_a.py", "def f():\n    import a_package_that_nobody_knows"),
    ("_a.py", "def f():\n    import_module(name)"),
    ("_a.py", "from . import sklearn"),
    ("_a.py", "from .sklearn import MLPClassifier"),
    ("_a.py", "import fastbp.jax"),
    ("_a.py", "from fastbp import torch"),
    ("_a.py", "def f():\n    from . import torch"),
    ("_a.py", "def f():\n    try:\n        from .jax._nets import mlp\n    except ImportError:\n        pass"),
    ("_a.py", "def f():\n    import_module('.torch', 'fastbp')"),
    ("optimize/_a.py", "from .. import sklearn"),
    ("optimize/_a.py", "from ..torch import MLP"),
    ("torch/_a.py", "from ..jax import mlp"),
    ("torch/_a.py", "import jax"),
    ("sklearn/_a.py", "def f():\n    import torch"),
]
PERMITTED = [
    (
        "_a.py",
        "import numpy as np, os.path\nfrom . import _b\nfrom ._core import Net\nfrom fastbp import reference",
    ),
    ("_a.py", "def f():\n    from scipy import optimize\n    import tqdm.auto"),
    ("_a.py", "f = lambda: __import__('scipy')"),
    ("_a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from matplotlib.axes import Axes"),
    ("optimize/_a.py", "from .. import reference\nfrom ..testing import check_gradient"),
    ("sklearn/_a.py", "import sklearn.base, scipy.sparse\nfrom . import _b\nfrom .. import MLP"),
    ("torch/_a.py", "import torch\nfrom .._core import Net\nfrom ._operators import apply"),
]


@pytest.mark.parametrize("name, text", FORBIDDEN)
def test_a_forbidden_import_is_found(tmp_path, name, text):
    assert list(forbidden(*tree(tmp_path, name, text)))


@pytest.mark.parametrize("name, text", PERMITTED)
def test_a_permitted_import_is_not_found(tmp_path, name, text):
    assert list(forbidden(*tree(tmp_path, name, text))) == []


@pytest.mark.parametrize(
    "text",
    ["from . import _core", "from ._core import Net", "import fastbp", "def f():\n    import scipy", "import os",
     "try:\n    from fastbp import _functions\nexcept ImportError:\n    pass", "from numpy import linalg\nimport jax"],
)  # fmt: skip
def test_the_reference_may_import_none_of_these(tmp_path, text):
    assert list(beyond_numpy(*tree(tmp_path, "reference.py", text)))


def test_names_of_modules_are_resolved():
    path = Path("/x/fastbp/optimize/_a.py")
    assert absolute(path, Path("/x/fastbp"), 1, None) == "fastbp.optimize"
    assert absolute(path, Path("/x/fastbp"), 2, "torch") == "fastbp.torch"
