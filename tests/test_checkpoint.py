"""fb.Checkpoint: what it saves and keeps, and that training goes on from any of its files bit for bit."""

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(24, 3)), rng.normal(size=(24, 2)), (rng.normal(size=(9, 3)), rng.normal(size=(9, 2)))


X, Y, VALID = data()
RESUMED = {"batch_size": 7, "validation_data": VALID, "schedule": fb.schedules.cosine(12)}
OPTIONS = {"optimizer": fb.Adam(0.05), **RESUMED}


def make():
    return fb.MLP((3, 6, 2), loss="squared_error", activation="tanh", dropout=0.2, seed=0)


def names(folder):
    return sorted(os.listdir(folder))


def epochs(folder):
    return [int(name.split("-")[1].split(".")[0]) for name in names(folder)]


def test_training_goes_on_from_every_file_bit_for_bit(tmp_path):
    net = make()
    whole = net.fit(X, Y, epochs=6, seed=3, callbacks=[fb.Checkpoint(tmp_path / "new" / "runs")], **OPTIONS)
    files = sorted((tmp_path / "new" / "runs").iterdir())
    assert [file.name for file in files] == [f"epoch-00000{k}.safetensors" for k in range(1, 7)]
    for done, file in enumerate(files, start=1):
        again, state = fb.load(file, with_state=True)
        assert state.epoch == done
        rest = again.fit(X, Y, state=state, epochs=6 - done, **RESUMED)
        np.testing.assert_array_equal(again.params, net.params)
        assert rest.loss == whole.loss[done:]
        assert rest.val_loss == whole.val_loss[done:]


def test_a_training_that_goes_on_in_its_folder(tmp_path):
    """The same lines before and after an interruption."""

    def train(limit):
        checkpoint = fb.Checkpoint(tmp_path, every=2)
        net, state = fb.load(checkpoint.latest, with_state=True) if checkpoint.latest else (make(), None)
        stop = itertools.count(1)

        def interrupt(net, history):
            if next(stop) == limit:
                raise KeyboardInterrupt

        done = 0 if state is None else state.epoch
        begin = OPTIONS | {"seed": 3} if state is None else RESUMED | {"state": state}
        net.fit(X, Y, epochs=8 - done, callbacks=[interrupt, checkpoint], **begin)
        return net

    with pytest.raises(KeyboardInterrupt):
        train(6)
    assert epochs(tmp_path) == [2, 4]
    straight = make()
    straight.fit(X, Y, epochs=8, seed=3, **OPTIONS)
    np.testing.assert_array_equal(train(None).params, straight.params)
    assert epochs(tmp_path) == [2, 4, 6, 8]


def test_epochs_are_counted_over_all_fits(tmp_path):
    net = make()
    history = net.fit(X, Y, epochs=2)
    net.fit(X, Y, state=history.state, epochs=5, callbacks=[fb.Checkpoint(tmp_path, every=3)])
    assert epochs(tmp_path) == [3, 6]


def test_minutes(tmp_path, monkeypatch):
    """An epoch takes a minute here."""
    clock = itertools.count(0.0, 60.0)
    monkeypatch.setattr("fastbp._checkpoint.time.monotonic", lambda: now[0])
    now = [next(clock)]

    def tick(net, history):
        now[0] = next(clock)

    make().fit(X, Y, epochs=8, callbacks=[tick, fb.Checkpoint(tmp_path / "a", minutes=3)])
    assert epochs(tmp_path / "a") == [3, 6]
    make().fit(X, Y, epochs=8, callbacks=[tick, fb.Checkpoint(tmp_path / "b", minutes=3, every=4)])
    assert epochs(tmp_path / "b") == [3, 4, 7, 8]


def test_the_newest_are_kept(tmp_path):
    (tmp_path / "epoch-1=x.safetensors").touch()
    (tmp_path / "notes").touch()
    checkpoint = fb.Checkpoint(tmp_path, keep=2)
    assert checkpoint.latest is None
    make().fit(X, Y, epochs=5, callbacks=[checkpoint])
    assert names(tmp_path) == [f"epoch-{k}.safetensors" for k in ("000004", "000005", "1=x")] + ["notes"]
    assert checkpoint.latest == tmp_path / "epoch-000005.safetensors"


VALUES = [float("nan"), 3.0, 1e-05, -2.0, float("nan"), 1e-05, 1e22, float("inf")]


@pytest.mark.parametrize("name, best", [("own_error", [4, 3, 6]), ("own_score", [8, 7, 2])])
def test_the_best_are_kept_and_the_newest(tmp_path, name, best):
    values = iter(VALUES)

    def metric(y, x):
        return next(values)

    metric.__name__ = name
    checkpoint = fb.Checkpoint(tmp_path, keep=3, monitor=name)
    assert checkpoint.best is None
    kept = []

    def look(net, history):
        kept.append(epochs(tmp_path))

    make().fit(X, Y, epochs=8, metrics=[metric], callbacks=[checkpoint, look])
    assert kept[2] == [1, 2, 3]
    assert kept[3] == [2, 3, 4]  # not a number is never better
    assert kept[4] == [2, 3, 4, 5]  # but may be the newest
    assert kept[-1] == sorted({*best, 8})
    assert checkpoint.best == fb.Checkpoint(tmp_path, monitor=name).best
    assert checkpoint.best.name == f"epoch-{best[0]:06d}-{name}={VALUES[best[0] - 1]!r}.safetensors"
    assert checkpoint.latest.name.startswith("epoch-000008")


def test_the_best_by_validation_is_what_early_stopping_brings_back(tmp_path):
    net = make()
    checkpoint = fb.Checkpoint(tmp_path, keep=1, monitor="val_loss")
    history = net.fit(
        X, Y, optimizer=fb.Adam(0.1), epochs=60, validation_data=VALID, early_stopping=5, callbacks=[checkpoint], seed=0
    )  # fmt: skip
    assert history.stop_reason == "early_stopping"
    best, state = fb.load(checkpoint.best, with_state=True)
    np.testing.assert_array_equal(best.params, net.params)
    assert state.epoch == history.state.epoch == history.best_epoch + 1
    assert float(checkpoint.best.stem.split("=")[1]) == min(history.val_loss)
    assert epochs(tmp_path) == [state.epoch, len(history.loss)]


def test_a_file_that_cannot_be_deleted_stays(tmp_path, monkeypatch):
    """Object stores may permit no deletion; the training goes on."""

    def refuse(path, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr("os.unlink", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(UserWarning, match=r"'.*epoch-00000[12].safetensors' cannot be deleted and stays: Operation not"):
        make().fit(X, Y, epochs=3, callbacks=[fb.Checkpoint(tmp_path, keep=1)])
    monkeypatch.undo()
    assert [name for name in names(tmp_path) if name.endswith("safetensors")] == [
        f"epoch-00000{k}.safetensors" for k in (1, 2, 3)
    ]


def test_another_training_is_refused_in_the_folder(tmp_path):
    first = make().fit(X, Y, epochs=3, callbacks=[fb.Checkpoint(tmp_path)])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"\[fit\] Checkpoint finds '.*epoch-000003.safetensors' at epoch 1, exp"):
        make().fit(X, Y, epochs=3, callbacks=[fb.Checkpoint(tmp_path, keep=1)])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    second = fb.load(tmp_path / "epoch-000002.safetensors", with_state=True)[1]
    with pytest.raises(ValueError, match="finds"):  # the third epoch again
        make().fit(X, Y, epochs=1, state=second, callbacks=[fb.Checkpoint(tmp_path)])
    make().fit(X, Y, epochs=1, state=first.state, callbacks=[fb.Checkpoint(tmp_path)])
    assert epochs(tmp_path) == [1, 2, 3, 4]


FOLDERS = {
    "a file": (lambda path: path / "file", NotADirectoryError, FileExistsError),
    "below a file": (lambda path: path / "file" / "runs", NotADirectoryError, FileExistsError),
    "below a file system that takes no folders": (lambda path: Path("/proc/runs"), FileNotFoundError, PermissionError),
    "read-only": (lambda path: path / "locked", PermissionError, OSError),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_be_written_is_found_before_the_first_epoch(tmp_path, monkeypatch, case):
    folder, *errors = FOLDERS[case]
    (tmp_path / "file").write_text("")
    if case == "read-only":  # also for root, who may write everywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        monkeypatch.setattr("os.open", refuse_to_open)
    net, late = make(), []
    with pytest.raises(tuple(errors), match=r"\[fit\] Checkpoint cannot write into the folder"):
        net.fit(X, Y, epochs=2, callbacks=[lambda *_: late.append(0), fb.Checkpoint(folder(tmp_path))])
    assert late == []
    np.testing.assert_array_equal(net.params, make().params)


def refuse_to_open(*arguments):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_checkpoint_that_another_callback_calls(tmp_path):
    checkpoint = fb.Checkpoint(tmp_path / "new")
    make().fit(X, Y, epochs=2, callbacks=[lambda net, history: checkpoint(net, history)])
    assert epochs(tmp_path / "new") == [1, 2]
    with pytest.raises(ValueError, match="Checkpoint finds"):
        make().fit(X, Y, epochs=2, callbacks=[lambda net, history: checkpoint(net, history)])


def test_a_full_disk_ends_the_fit_and_loses_no_file(tmp_path, monkeypatch):
    def fill(net, history):
        if history.state.epoch == 3:
            monkeypatch.setattr(os, "write", full)

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        make().fit(X, Y, epochs=5, callbacks=[fill, fb.Checkpoint(tmp_path, keep=1)])
    monkeypatch.undo()
    assert len(caught.value.history.loss) == 3
    assert epochs(tmp_path) == [2]
    assert fb.load(fb.Checkpoint(tmp_path).latest, with_state=True)[1].epoch == 2


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"folder": 3}, TypeError, r"\[Checkpoint\] folder is 3, expected a str or a path"),
        ({"every": 0}, ValueError, r"\[Checkpoint\] every is 0, expected at least 1"),
        ({"every": 1.5}, TypeError, r"\[Checkpoint\] every is 1.5, expected an integer"),
        ({"minutes": 0}, ValueError, r"\[Checkpoint\] minutes is 0, expected a finite number > 0"),
        ({"keep": 0}, ValueError, r"\[Checkpoint\] keep is 0, expected at least 1"),
        ({"monitor": 3}, TypeError, r"\[Checkpoint\] monitor is 3, expected a name"),
    ],
)
def test_arguments_that_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        fb.Checkpoint(**{"folder": "folder", **options})


@pytest.mark.parametrize(
    "monitor, says",
    [
        ("val_loss", r"\[fit\] Checkpoint monitors 'val_loss', expected one of loss, r2; validation_data is missing"),
        ("accuracy", r"\[fit\] Checkpoint monitors 'accuracy', expected one of loss, r2$"),
    ],
)
def test_a_monitor_that_is_not_measured(tmp_path, monitor, says):
    with pytest.raises(ValueError, match=says):
        make().fit(X, Y, epochs=3, metrics=["r2"], callbacks=[fb.Checkpoint(tmp_path, every=2, monitor=monitor)])
    assert names(tmp_path) == []


def test_best_needs_a_monitor(tmp_path):
    with pytest.raises(ValueError, match=r"\[Checkpoint\] best needs a monitor"):
        _ = fb.Checkpoint(tmp_path).best
