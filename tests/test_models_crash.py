"""A save that is killed, or fails, leaves the old model or the new one."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import LONG, SANITIZE

import fastbp as fb

KILLER = Path(__file__).parent / "killed_saves.py"


def killed(folder, *arguments):
    done = subprocess.run([sys.executable, KILLER, folder, *arguments], capture_output=True, text=True)
    if "Operation not permitted: 'ptrace'" in done.stderr:
        pytest.skip("processes may not trace their children here")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_every_system_call(tmp_path):
    found = killed(tmp_path, "calls")
    assert (found["ended"], found["saved"]) == (0, 2)  # without a kill the save is done
    held, temporaries = found["held"], found["temporaries"]
    assert set(held) == {1, 2}
    assert held[0] == 1  # in between the number of calls may differ by a few from run to run
    assert held[-1] == 2 or SANITIZE  # and a sanitizer's own by more than come after the rename
    assert sum(temporaries) >= 8  # before and after write, fsync, close, rename
    assert not any(there for there, now in zip(temporaries, held, strict=True) if now == 2)


def test_killed_at_random(tmp_path):
    # A process under the sanitizers takes half a second to fork and die.
    kills = 20 if SANITIZE else 5000 if LONG else 200
    assert killed(tmp_path, "random", str(kills))["counted"] == kills


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.safetensors"
    fb.save(net(1), path)
    return path


def net(value):
    made = fb.MLP((3, 4, 2), init="zeros")
    made.params[...] = value
    return made


def is_whole(path, value):
    assert os.listdir(path.parent) == [path.name]
    np.testing.assert_array_equal(fb.load(path).params, net(value).params)


def failing(call, error, nth=1):
    """The function of os that fails when called for the nth time."""
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) == nth:
            raise error
        return call(*arguments, **options)

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "name, nth",
    [("open", 1), ("fchmod", 1), ("write", 1), ("write", 2), ("fsync", 1), ("close", 1), ("replace", 1)],
)
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "interrupt"])
def test_a_save_that_fails_leaves_the_old_model(file, monkeypatch, name, nth, error):
    os.chmod(file, 0o666)  # permissions that a new file does not have
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(getattr(os, name), error, nth))
        with pytest.raises(type(error)) as raised:
            fb.save(net(2), file)
    is_whole(file, 1)
    assert error is not FULL or raised.value.filename is not None


def test_a_folder_that_is_not_synchronised_is_an_error(file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, FULL, 2))
        with pytest.raises(OSError, match="No space"):
            fb.save(net(2), file)
    is_whole(file, 2)


NOT_PROVIDED = [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES]


@pytest.mark.parametrize("number", NOT_PROVIDED, ids=errno.errorcode.get)
@pytest.mark.parametrize("name, nth", [("fsync", 1), ("fsync", 2), ("open", 2)], ids=["file", "folder", "list"])
def test_a_file_system_that_cannot_synchronise(file, monkeypatch, name, nth, number):
    """CIFS, sshfs, shared folders of virtual machines, and folders that may be written but not listed."""
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(getattr(os, name), OSError(number, os.strerror(number)), nth))
        fb.save(net(2), file)
    is_whole(file, 2)


def test_a_file_system_that_cannot_set_permissions(file, monkeypatch):
    """Object stores: nothing is asked of them if the permissions are right, and otherwise a warning names the file."""

    def refuse(*arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fb.save(net(2), file)
    os.chmod(file, 0o666)
    with pytest.warns(UserWarning, match=f"{file.name}' had 666") as caught:
        fb.save(net(3), file)
    assert caught[0].filename == __file__
    is_whole(file, 3)


def test_a_replaced_file_that_was_private_never_becomes_public(file, monkeypatch):
    os.chmod(file, 0o600)
    before = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fchmod", failing(os.fchmod, OSError(errno.EPERM, "Operation not permitted")))
            fb.save(net(2), file)
    finally:
        os.umask(before)
    assert mode(file) == 0o600


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("nth", [1, 2], ids=["file", "folder"])
def test_lost_data_are_an_error_with_a_path(file, monkeypatch, nth, number):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, OSError(number, os.strerror(number)), nth))
        with pytest.raises(OSError, match=re.escape(str(file))) as raised:
            fb.save(net(2), file)
    assert raised.value.errno == number
    is_whole(file, nth)


def test_a_disk_that_fills_up_in_the_middle(file, monkeypatch):
    write, room = os.write, [500]

    def short(number, data):
        if not room[0]:
            raise FULL
        written = write(number, data[: min(room[0], 90)])
        room[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(OSError, match="No space"):
            fb.save(net(2), file)
        is_whole(file, 1)
        room[0] = 10**6
        fb.save(net(3), file)
    is_whole(file, 3)


def test_everything_is_on_the_disk_before_it_takes_the_name(file, monkeypatch):
    """What a power cut may not reorder: data, fsync, rename, fsync of the folder."""
    order = []
    with monkeypatch.context() as patch:
        for name in ("write", "fsync", "replace"):
            call = getattr(os, name)

            def noted(*arguments, name=name, call=call):
                is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
                order.append("folder" if is_folder else name)
                return call(*arguments)

            patch.setattr(os, name, noted)
        fb.save(net(2), file)
    assert order == ["write", "write", "fsync", "replace", "folder"]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_permissions_are_those_of_a_new_file_or_of_the_replaced_one(tmp_path):
    before = os.umask(0o027)
    try:
        fb.save(net(1), tmp_path / "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o640
    os.chmod(tmp_path / "new", 0o604)
    fb.save(net(2), tmp_path / "new")
    assert mode(tmp_path / "new") == 0o604


def test_a_link_stays_a_link(file, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to(file)
    fb.save(net(2), link)
    assert link.is_symlink()
    assert fb.load(file).params[0] == 2
    assert os.listdir(folder) == ["link"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match=r"\[save\] path is '.*', which exists and is not a file"):
            fb.save(net(1), path)
    assert os.listdir(tmp_path) == ["pipe"]
    with pytest.raises(FileNotFoundError):
        fb.save(net(1), tmp_path / "nowhere" / "net")
