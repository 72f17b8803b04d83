"""Writing a file so that its readers find all of the old one or all of the new, whenever the writer stops."""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ._warn import warn

# What file systems answer that do not provide an operation, or do not permit it: FUSE, CIFS, sshfs, object stores.
_NOT_PROVIDED = {
    errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EACCES,
}  # fmt: skip
_DATA_LOST = {errno.EIO, errno.ENOSPC, errno.EDQUOT}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Make `parts`, one after the other, the contents of the file, and wait until a power cut cannot undo it.

    They go into a temporary file beside it, which then takes its place. Only a killed process leaves that behind. On a
    file system that cannot synchronise, the file is complete, but a power cut may undo it.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    try:
        mode = _mode(target)
        temporary = _temporary(target.parent)
        file = os.open(temporary, _NEW, 0o666 if mode is None else mode | stat.S_IWUSR)
        try:
            try:
                _keep_mode(file, mode, target)
                for part in parts:
                    _write(file, part)
                _synchronise(file)
            finally:
                os.close(file)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _synchronise_folder(target.parent)
    except OSError as error:
        if error.filename is None:
            error.filename = str(target)
        raise


def check_writable(folder: Path) -> None:
    """Create and delete a file in the folder; raise OSError if it cannot be created."""
    name = _temporary(folder)
    os.close(os.open(name, _NEW, 0o666))
    with suppress(OSError):  # some file systems do not permit it
        os.unlink(name)


def _temporary(folder: Path) -> Path:
    return folder / f".fastbp-{os.urandom(8).hex()}.tmp"


def _mode(target: Path) -> int | None:
    """The permissions of the file to be replaced; None where nothing is."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # replacing would delete a device or a pipe
        raise ValueError(f"[save] path is '{target}', which exists and is not a file")
    return stat.S_IMODE(status.st_mode)


def _keep_mode(file: int, mode: int | None, target: Path) -> None:
    """Give the new file the permissions of the old one, if it has others."""
    if mode is None or stat.S_IMODE(os.fstat(file).st_mode) == mode:
        return
    try:
        os.fchmod(file, mode)
    except OSError as error:
        if error.errno not in _NOT_PROVIDED:
            raise
        warn(f"[save] The file system does not set permissions: '{target}' had {mode:o}, the new file may have others")


def _write(file: int, part: bytes | memoryview) -> None:
    rest = memoryview(part)
    while rest:  # one call writes at most 2 GiB, and less where a signal comes
        rest = rest[os.write(file, rest) :]


def _synchronise(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NOT_PROVIDED:
            raise


def _synchronise_folder(folder: Path) -> None:
    """Wait until the new name is on the disk, where the file system can do that and the folder may be read."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno in _DATA_LOST:
            raise
