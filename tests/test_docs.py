"""Every example of the documentation runs and prints what it says."""

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pytest
from helpers import ROOT

import fastbp as fb

MODULES = ["fastbp"] + [
    m.name for m in pkgutil.walk_packages(fb.__path__, "fastbp.") if m.name not in ("fastbp._core", "fastbp.__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


PUBLIC = [
    *(getattr(fb, name) for name in fb.__all__ if name not in ("__version__", "optimize", "reference", "testing")),
    *(getattr(fb.MLP, name) for name in ("forward", "value", "value_and_grad", "backward", "vjp", "fit", "train_step")),
    *(getattr(fb.MLP, name) for name in ("jvp", "hvp", "gnvp", "input_grad_vjp", "objective")),
    *(getattr(fb.optimize, name) for name in fb.optimize.__all__),
    *(getattr(fb.testing, name) for name in fb.testing.__all__ if name != "Taylor"),
]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_public_names_are_documented(thing):
    assert thing.__doc__
    assert len(thing.__doc__.split()) >= 8
    if thing.__name__ not in ("History", "TrainState", "get_include", "get_cmake_dir"):
        assert ">>> " in thing.__doc__


def test_readme_example(capsys):
    text = (ROOT / "README.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", text, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_readme_names_existing_files():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / path).exists()
    for path in re.findall(r"cpp/\w+(?:/\w+)?(?![\w.])|python/\w+", text):
        assert (ROOT / path).exists()
