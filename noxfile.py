"""Tasks: nox -s lint, tests, full, differential, bench, gpu."""

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
def full(session: nox.Session) -> None:
    """Run all tests with all frameworks, in both orders, and the parts too long for CI (about two hours)."""
    names = ("torch", "jax", "scipy", "scikit-learn", "pandas", "polars", "matplotlib")
    session.install("-c", "constraints-ci.txt", *names)
    session.install(".[test]", env={"FASTBP_JAX": "1"})
    required = {"FASTBP_REQUIRE": "all"}
    # The first run is in one process and in reverse order: a test that depends on an earlier one fails.
    for order, more in (("reverse", {}), ("as written", {"FASTBP_LONG": "1"})):
        session.run("pytest", "-m", "not gpu", *session.posargs, env={**required, "FASTBP_TEST_ORDER": order, **more})


@nox.session
def bench(session: nox.Session) -> None:
    """A step beside the NumPy reference."""
    session.install(".")
    session.run("fastbp", "bench", *session.posargs)


@nox.session
def differential(session: nox.Session) -> None:
    """Compute random problems in every way and compare: nox -s differential -- --minutes 20."""
    session.install("-c", "constraints-ci.txt", "torch", "jax", "scipy")
    session.install(".[test]", env={"FASTBP_JAX": "1"})
    session.chdir("tests")
    session.run("python", "-m", "differential.run", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """Run all checks that need an NVIDIA GPU: build, tests, compute-sanitizer, steps (at most 12 minutes)."""
    session.run("python", "tools/gpu_checks.py", *session.posargs)
