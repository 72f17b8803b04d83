"""Runs the pages of docs/ and renews docs/figures; says where a block prints something else than its page.

    python tools/figures.py [docs/PAGE.md ..]
"""

import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib
import pages


def renew(page: Path) -> bool:
    right = True
    with tempfile.TemporaryDirectory() as folder:
        for block in pages.run(page, Path(folder)):
            if block.printed != block.expected:
                print(f"{block.where} prints\n{block.printed}")
                right = False
        for figure in pages.figures(page):
            shutil.copy(Path(folder) / figure.name, figure)
    return right


def main() -> int:
    matplotlib.use("Agg")
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or pages.PAGES
    return 0 if all([renew(page) for page in chosen]) else 1


if __name__ == "__main__":
    sys.exit(main())
