"""The progress bar of fit."""

import re
import sys

import numpy as np
import pytest

import fastbp as fb

X, Y = np.random.default_rng(2).normal(size=(40, 3)), np.random.default_rng(3).normal(size=(40, 2))
VALID = (np.random.default_rng(4).normal(size=(20, 3)), np.random.default_rng(5).normal(size=(20, 2)))


def make():
    return fb.MLP((3, 5, 2), loss="squared_error", seed=0)


def test_the_bar(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    make().fit(X, Y, epochs=1, progress=False)  # not imported where it is not shown
    make().fit(X, Y, epochs=1)
    with pytest.raises(ImportError):
        make().fit(X, Y, epochs=1, progress=True)
    monkeypatch.undo()
    history = make().fit(X, Y, epochs=3, progress=True, validation_data=VALID)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert f"val_loss={history.val_loss[-1]:.4g}" in shown
    assert f" loss={history.loss[-1]:.4g}" in shown


def test_the_bar_moves_within_an_epoch(capsys, rng):
    net = fb.MLP((200, 300, 300, 10), loss="squared_error", seed=0)
    many = rng.normal(size=(20_000, 200)).astype(np.float32)
    net.fit(many, np.zeros((len(many), 10), np.float32), epochs=1, batch_size=16, progress=True)
    parts = [float(part) for part in re.findall(r"([\d.]+)/1 ", capsys.readouterr().err)]
    assert parts == sorted(parts)
    assert any(0 < part < 1 for part in parts)
    assert parts[-1] == 1
