"""The progress bar of fit, and streams that are missing or fail."""

import errno
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from preload import python

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


class Log:
    """Something put in the place of a stream, as loggers do."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)


class Broken(io.StringIO):
    """A terminal that was closed."""

    def isatty(self):
        return True

    def write(self, text):
        raise OSError(errno.EIO, "Input/output error")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {"none": lambda: None, "log": Log, "closed": closed, "broken": Broken}


@pytest.mark.parametrize("progress", ["auto", True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_training_needs_no_standard_error(monkeypatch, name, progress):
    """A daemon, pythonw and frozen programs have none."""
    expected = make().fit(X, Y, epochs=3, seed=0, progress=False).loss
    stream = STREAMS[name]()
    monkeypatch.setattr(sys, "stderr", stream)
    assert make().fit(X, Y, epochs=3, seed=0, progress=progress).loss == expected
    if isinstance(stream, Log):
        assert ("3/3" in stream.text) == (progress is True)


def test_a_stream_that_is_closed_while_training(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    def close(net, history):
        stream.close()

    assert len(make().fit(X, Y, epochs=3, progress=True, callbacks=[close]).loss) == 3


@pytest.mark.parametrize("descriptors", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_a_process_without_descriptors(descriptors):
    program = (
        "import sys, numpy as np, fastbp as fb, fastbp.cli; "
        "net = fb.MLP((3, 2), loss='squared_error'); net.fit(np.ones((9, 3)), np.ones((9, 2)), epochs=2); "
        "sys.exit(fastbp.cli.main(['info']))"
    )
    assert subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {descriptors}', sys.executable, program]).returncode == 0


def test_a_warning_does_not_end_a_call(tmp_path):
    program = (
        "import io, sys, fastbp as fb; net = fb.MLP((3, 2)); net.note = 'in no file'; "
        "sys.stderr = io.StringIO(); sys.stderr.close(); fb.save(net, sys.argv[1]); print('saved')"
    )
    assert python(program, tmp_path / "net") == "saved\n"
