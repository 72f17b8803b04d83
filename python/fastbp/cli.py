"""The command line: ``fastbp demo | bench | check | info``, also as ``python -m fastbp``.

Exit status: 0, 1 where a check failed, 2 for wrong usage.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from . import _paths
from ._config import config, show_config
from ._core import __version__

OK, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; None: those of the process.

    Returns
    -------
    int
        0; 1 if a check failed or a result cannot be written; 2 if FASTBP_BLAS or FASTBP_ISA ask for what is not there.

    Raises
    ------
    SystemExit
        With 2 for wrong arguments, with 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> from fastbp.cli import main
    >>> main(["--includes"])  # doctest: +ELLIPSIS
    -I/.../fastbp/include
    0
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.text is not None:
        if arguments.command is not None:
            parser.error(f"an option that prints a path stands alone, without {arguments.command!r}")
        print(arguments.text)
        return OK
    if arguments.command is None:
        parser.error("a command is missing: demo, bench, check or info")
    try:
        config()
    except (RuntimeError, ValueError) as error:
        print(f"fastbp: {error}", file=sys.stderr)
        return USAGE
    try:
        status = _run(parser, arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return FAILED
    except OSError as error:
        print(f"fastbp: {error}", file=sys.stderr)
        _discard_output()
        return FAILED
    return status


def _discard_output() -> None:
    """Discard what is left in the buffer of stdout, so that the interpreter does not fail to write it at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run a command; its own module is loaded only here, so that the others do not wait for it."""
    if arguments.command == "demo":
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--out {arguments.out}: {error.strerror}")
        from ._demo import demo

        return OK if demo(arguments.out) else FAILED
    if arguments.command == "bench":
        from ._bench import bench

        return OK if bench(arguments.json, arguments.rounds, arguments.problems) else FAILED
    if arguments.command == "check":
        from ._check import check

        return OK if check() else FAILED
    if arguments.json:
        print(json.dumps(config(), indent=2))
    else:
        show_config()
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastbp", description="The backpropagation core as a library.",
        epilog="Exit status: 0, 1 where a check failed, 2 for wrong usage.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    include, library = shlex.quote(_paths.get_include()), shlex.quote(_paths.get_library_dir())
    paths = parser.add_mutually_exclusive_group()
    for option, text, what in (
        ("--cmakedir", _paths.get_cmake_dir(), "print the folder for cmake -Dfastbp_DIR="),
        ("--pkgconfigdir", _paths.get_pkgconfig_dir(), "print the folder for PKG_CONFIG_PATH="),
        ("--includes", f"-I{include}", "print the compiler's flags"),
        ("--libs", f"-L{library} -Wl,-rpath,{library} -lfastbp", "print the linker's flags"),
    ):
        paths.add_argument(option, dest="text", action="store_const", const=text, help=what)
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")

    demo = commands.add_parser("demo", help="train on handwritten digits, beside the NumPy reference")
    demo.add_argument("--out", metavar="DIR", type=Path, default=Path(), help="where the learning curve goes")

    bench = commands.add_parser("bench", help="step times against the NumPy reference, answers checked first")
    bench.add_argument("--json", metavar="FILE", type=_new_file, help="write everything measured there")
    bench.add_argument("--rounds", metavar="N", type=_positive, help="rounds of each problem")
    bench.add_argument("--problems", metavar="N", type=_positive, help="the first N problems only")

    commands.add_parser("check", help="every activation and loss against the NumPy reference")

    info = commands.add_parser("info", help="what fastbp runs on")
    info.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _positive(text: str) -> int:
    number = int(text)  # argparse turns its ValueError into a usage error
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a file in an existing folder")
    return path
