"""Where the installed headers, library and CMake files are.

Computed from the compiled module: an editable install keeps those apart from the Python sources.
"""

from pathlib import Path

from . import _core

_PACKAGE = Path(_core.__file__).parent


def get_include() -> str:
    """Return the include folder, for a compiler's -I option and ``#include <fastbp/fastbp.h>``.

    Examples
    --------
    >>> import fastbp as fb
    >>> from pathlib import Path
    >>> Path(fb.get_include(), "fastbp", "fastbp.h").exists()
    True
    """
    return str(_PACKAGE / "include")


def get_cmake_dir() -> str:
    """Return the folder of the CMake package: ``cmake -Dfastbp_DIR=$(python -m fastbp --cmakedir)``.

    Examples
    --------
    >>> import fastbp as fb
    >>> from pathlib import Path
    >>> sorted(Path(fb.get_cmake_dir()).glob("fastbp*onfig.cmake")) != []
    True
    """
    return str(_PACKAGE / "cmake")


def get_pkgconfig_dir() -> str:
    """The folder of fastbp.pc: ``PKG_CONFIG_PATH=$(python -m fastbp --pkgconfigdir) pkg-config --libs fastbp``."""
    return str(_PACKAGE / "lib" / "pkgconfig")


def get_library_dir() -> str:
    """The folder that holds libfastbp.so."""
    return str(_PACKAGE / "lib")
