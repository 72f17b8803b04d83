"""Decide which skipped tests are failures: FASTBP_REQUIRE names the tests that must run.

``FASTBP_REQUIRE=unmarked`` concerns tests without a marker, ``frameworks`` and ``gpu`` those with that marker, and
``all`` is ``unmarked,frameworks``. A required test that is skipped fails, unless `ALLOWED` has the reason.
"""

import ast
import os
import re

from helpers import SANITIZE

MARKERS = {"frameworks", "gpu"}
GROUPS = MARKERS | {"unmarked"}
# Reasons for which a required test may be skipped: a regular expression, and why.
ALLOWED = {
    r"runs on the emulated device": "test_device.py runs these tests there, in a process of their own",
    r"is about this very process": "in that process: the tests that start it",
    r"x86-64-v\d is not on this machine": "the processor decides; the plain loops run on every machine",
    r"the levels are those of x86-64": "the processor decides",
    r"is about the emulated device": "on a device: tests that start processes of their own on the emulated one",
    r"SCIPY_ARRAY_API is not set": "scikit-learn's check of arrays of other libraries",
    r"\w+ does not have a decision_function method": "scikit-learn's check of a method that is optional",
    r"there is one processor": "a test of the affinity needs two",
    r"there is a GPU": "the error without a GPU cannot be shown on a machine with one",
}
UNDER_SANITIZERS = {
    r"the C\+\+ drivers run on the emulated device": "in 25 minutes; the drivers cover the same code",
    r"the sanitizer of the whole suite is in the way of other programs": "they are built and run without it",
    r"a sanitizer must be the first library": "the test preloads a library of its own",
    r"unoptimised inline functions are expected": "the objects of that build are not shipped",
}


def required(setting=None):
    """The groups of tests that FASTBP_REQUIRE names."""
    setting = os.environ.get("FASTBP_REQUIRE", "") if setting is None else setting
    named = {name for name in setting.split(",") if name}
    if "all" in named:
        named = named - {"all"} | {"unmarked", "frameworks"}
    if not named <= GROUPS:
        raise ValueError(f"FASTBP_REQUIRE is {setting!r}, expected all or names of {sorted(GROUPS)}")
    return named


def is_allowed(reason):
    allowed = {**ALLOWED, **UNDER_SANITIZERS} if SANITIZE else ALLOWED
    return any(re.match(pattern, reason) for pattern in allowed)


def markers_of_file(path):
    """The markers that a file's own `pytestmark` gives to all its tests, also if importing the file skips it."""
    if path.suffix != ".py":
        return set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["pytestmark"]:
            return {part.attr for part in ast.walk(node.value) if isinstance(part, ast.Attribute)} & MARKERS
    return set()


def fail_if_required(report, markers):
    """Turn a report of a skip into one of a failure if tests with these markers are required to run."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    groups = markers & MARKERS or {"unmarked"}
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if groups & required() and not is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = f"skipped ({reason}), but FASTBP_REQUIRE={os.environ['FASTBP_REQUIRE']} requires it to run"
