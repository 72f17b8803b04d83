"""Every example of the documentation runs and prints what it says."""

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pytest
from helpers import ROOT, require

import fastbp as fb

FOR_A_FRAMEWORK = {
    f"fastbp.{framework}.{m.name}": framework
    for framework in ("jax", "sklearn", "torch")
    for m in pkgutil.iter_modules([str(ROOT / "python" / "fastbp" / framework)])
}
MODULES = ["fastbp"] + [
    m.name
    for m in pkgutil.walk_packages(fb.__path__, "fastbp.")
    if not m.name.startswith(("fastbp._core", "fastbp.__main__", "fastbp.jax", "fastbp.sklearn", "fastbp.torch"))
]


@pytest.mark.parametrize("name", [*MODULES, *(pytest.param(m, marks=pytest.mark.frameworks) for m in FOR_A_FRAMEWORK)])
def test_docstrings(name):
    if name in FOR_A_FRAMEWORK:
        require(FOR_A_FRAMEWORK[name])
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


PUBLIC = [
    *(getattr(fb, name) for name in fb.__all__ if name not in ("__version__", "optimize", "reference", "testing")),
    *(getattr(fb.MLP, name) for name in ("forward", "value", "value_and_grad", "backward", "vjp", "fit", "train_step")),
    *(getattr(fb.MLP, name) for name in ("jvp", "hvp", "gnvp", "input_grad_vjp", "objective")),
    *(getattr(fb.MLP, name) for name in ("example_grads", "jacobian")),
    *(getattr(fb.optimize, name) for name in fb.optimize.__all__),
    *(getattr(fb.testing, name) for name in fb.testing.__all__ if name != "Taylor"),
]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_public_names_are_documented(thing):
    assert thing.__doc__
    assert len(thing.__doc__.split()) >= 8
    if thing.__name__ not in ("History", "TrainState", "get_include", "get_cmake_dir"):
        assert ">>> " in thing.__doc__


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["jax", "sklearn"])
def test_what_is_for_a_framework_is_documented(framework):
    require(framework)
    module = importlib.import_module(f"fastbp.{framework}")
    for name in module.__all__:
        thing = getattr(module, name)
        assert ">>> " in thing.__doc__
        public = [method for key, method in vars(thing).items() if not key.startswith("_") and callable(method)]
        assert all(method.__doc__ for method in public)


@pytest.mark.frameworks
def test_the_page_on_torch(capsys):
    require("torch")
    text = (ROOT / "docs" / "torch.md").read_text()
    for code, printed in re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", text, re.DOTALL):
        exec(compile(code, "docs/torch.md", "exec"), {})
        assert capsys.readouterr().out == printed


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
