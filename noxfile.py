"""Tasks: nox -s lint, tests, bench."""

import nox


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and mypy."""
    session.install("-c", "constraints-ci.txt", "ruff", "mypy", "numpy")
    session.run("ruff", "check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The unit suite."""
    session.install(".[test]")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """A step beside the NumPy reference."""
    session.install(".")
    session.run("fastbp", "bench", *session.posargs)
