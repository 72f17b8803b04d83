"""The pages of docs/: their code, what it must print, and the figures and files they name."""

import contextlib
import io
import itertools
import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


class Ran(NamedTuple):
    """A block of Python: where it stands, what the page says it prints, and what it printed."""

    where: str
    expected: str
    printed: str


def run(page: Path, folder: Path) -> list[Ran]:
    """Run a page's Python blocks in order, in one namespace and in `folder`, where the figures go."""
    text = page.read_text()
    blocks = list(re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    namespace: dict = {"__name__": page.stem}
    ran = []
    for block, following in itertools.pairwise([*blocks, None]):
        if block[1] != "python":
            continue
        before = text[: block.start(2)].count("\n")
        code = compile("\n" * before + block[2], str(page), "exec")  # a traceback then has the page's own lines
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(folder):
            exec(code, namespace)
        expected = following[2] if following and following[1] == "text" else ""
        ran.append(Ran(f"{page.name}, line {before}", expected, printed.getvalue()))
    return ran


def links(page: Path) -> list[Path]:
    """The files that a page links."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    return [(page.parent / target).resolve() for target in targets if "://" not in target]


def figures(page: Path) -> list[Path]:
    """Those of them that the page draws itself."""
    return [path for path in links(page) if path.parent == DOCS / "figures"]
