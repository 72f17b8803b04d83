"""Every example of the documentation runs and prints what it says."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, require

import fastbp as fb

ADAPTERS = ("jax", "sklearn", "torch")
MODULES = ["fastbp", *(m.name for m in pkgutil.walk_packages(fb.__path__, "fastbp.") if m.name != "fastbp.__main__")]
MODULES += [  # walk_packages imports a package to look inside, and leaves out one that cannot be imported
    f"fastbp.{adapter}.{m.name}"
    for adapter in ADAPTERS
    for m in pkgutil.iter_modules([str(ROOT / "python" / "fastbp" / adapter)])
]
MODULES = sorted(set(MODULES))
DRAWING = ["fastbp._history", "fastbp.optimize._contours"]
# Public, without an example of their own, and why.
WITHOUT = {
    "fastbp.cli": "the command line: tests/test_cli.py runs every command",
    "Checkpoint.best": "needs a monitor, unlike the example of Checkpoint: tests/test_checkpoint.py",
    "fastbp.reference": "each of its functions has one",
    "TrainState": "an optimiser's init makes it: the examples of the optimisers and of train_step use it",
    "TrainState.update": "in the examples of the optimisers",
    "TrainState.order": "for training loops of the caller: tests/test_training.py",
    "TrainState.to": "for a net that goes to a GPU: tests/test_device.py",
    "TrainState.check": "for fit and train_step",
    "Taylor.plot": "needs matplotlib; the page on checking gradients draws it",
    "MLP.forward": "torch calls it: model(x)",
    "MLP.extra_repr": "repr calls it",
    **dict.fromkeys(
        [f"DeviceArray.{name}" for name in ("shape", "ndim", "dtype", "size", "nbytes", "device", "copy", "part")],
        "needs a GPU: tests/test_device.py",
    ),
}


def adapter_of(module):
    return next((name for name in ADAPTERS if f"{module}.".startswith(f"fastbp.{name}.")), None)


def marked(modules):
    return [pytest.param(m, marks=pytest.mark.frameworks if adapter_of(m) else ()) for m in modules]


def imported(name):
    if adapter_of(name):
        require(f"fastbp.{adapter_of(name)}")
    return importlib.import_module(name)


def lines_of_examples(module):
    """Count the ``>>> `` in the docstrings of a file without importing it: those that run and those skipped."""
    tree = ast.parse(Path(module.__file__).read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    lines = [line for text in texts for line in text.splitlines() if line.lstrip().startswith(">>> ")]
    skipped = sum("+SKIP" in line for line in lines)
    return len(lines) - skipped, skipped


@pytest.mark.parametrize("name", marked(MODULES))
def test_every_example_of_a_docstring_runs(name):
    module = imported(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    if module.__file__.endswith(".py"):
        assert (result.attempted, name in DRAWING) == (lines_of_examples(module)[0], lines_of_examples(module)[1] > 0)


@pytest.mark.frameworks
@pytest.mark.parametrize("name", DRAWING)
def test_examples_that_draw(name, tmp_path, monkeypatch):
    """The lines marked +SKIP need matplotlib, which users may not have; they run here."""
    require("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    runner, ran = doctest.DocTestRunner(), 0
    for found in doctest.DocTestFinder().find(importlib.import_module(name)):
        ran += sum(example.options.pop(doctest.SKIP, False) for example in found.examples)
        runner.run(found)
    require("matplotlib.pyplot").close("all")
    assert ran == lines_of_examples(importlib.import_module(name))[1] > 0
    assert runner.failures == 0


def public(module):
    """Return the docstrings of a module's functions, classes and public attributes by name."""
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    for name in names:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)) or not thing.__module__.startswith("fastbp"):
            continue
        if thing.__module__ != module.__name__ and not hasattr(module, "__all__"):
            continue  # imported for the module's own use
        yield name, thing, thing.__doc__ or ""
        for key, part in vars(thing).items() if inspect.isclass(thing) else ():
            part = getattr(part, "__func__", part)
            if not key.startswith("_") and (callable(part) or isinstance(part, property)):
                yield f"{name}.{key}", part, part.__doc__ or ""


def has_example(name, doc, documents):
    """Return whether there is an example or, for an attribute, a use in an example of its class."""
    if ">>> " in doc:
        return True
    owner, _, key = name.partition(".")
    examples = [line for line in documents[owner].splitlines() if line.lstrip().startswith((">>> ", "... "))]
    return bool(key) and any(re.search(rf"\.{key}\b", line) for line in examples)


PUBLIC = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("name", marked(PUBLIC))
def test_public_names_have_an_example(name):
    module = imported(name)
    documents = {found: doc for found, _, doc in public(module)}
    assert ">>> " in (module.__doc__ or "") or name in WITHOUT
    missing = {found for found, doc in documents.items() if not has_example(found, doc, documents)}
    assert missing - {*WITHOUT} == set()
    short = {found for found, doc in documents.items() if len(doc.split()) < (2 if "." in found else 8)}
    assert short - {*WITHOUT} == set()


def test_a_missing_example_is_found():
    documents = {"A": "Add.\n\n>>> A().used\n1", "A.used": "Use.", "A.unused": "No use.", "f": "Do.", "A.use": ""}
    assert [n for n, doc in documents.items() if not has_example(n, doc, documents)] == ["A.unused", "f", "A.use"]


@pytest.mark.frameworks
def test_the_page_on_torch(capsys):
    require("torch")
    text = (ROOT / "docs" / "torch.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", text, re.DOTALL)
    assert blocks
    for code, printed in blocks:
        exec(compile(code, "docs/torch.md", "exec"), {})
        assert capsys.readouterr().out == printed


def test_readme_example(capsys):
    text = (ROOT / "README.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", text, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_readme_names_existing_files():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    for path in [*links, *re.findall(r"cpp/\w+(?:/\w+)?(?![\w.])|python/\w+", text)]:
        assert (ROOT / path).exists()
