"""Writing a file so that its readers find all of the old one or all of the new, whenever the writer stops."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Make `parts`, one after the other, the contents of the file, and wait until a power cut cannot undo it.

    They go into a temporary file beside it, which then takes its place. Only a killed process leaves that behind.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    mode = _mode(target)
    temporary = target.with_name(f".fastbp-{os.urandom(8).hex()}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            if mode is not None:
                os.fchmod(file, mode)
            for part in parts:
                _write(file, part)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _synchronise(target.parent)


def _mode(target: Path) -> int | None:
    """The permissions of the file to be replaced; None where nothing is."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # replacing would delete a device or a pipe
        raise ValueError(f"[save] path is '{target}', which exists and is not a file")
    return stat.S_IMODE(status.st_mode)


def _write(file: int, part: bytes | memoryview) -> None:
    rest = memoryview(part)
    while rest:  # one call writes at most 2 GiB, and less where a signal comes
        rest = rest[os.write(file, rest) :]


def _synchronise(folder: Path) -> None:
    """The new name is on the disk when its folder is."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
