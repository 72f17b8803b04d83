"""Checks of derivatives, of nets and of anyone's functions: for use in tests, they raise AssertionError."""

from ._adjoint import check_adjoint
from ._gradients import check_gradient
from ._taylor import Taylor, taylor_test

__all__ = ["Taylor", "check_adjoint", "check_gradient", "taylor_test"]
