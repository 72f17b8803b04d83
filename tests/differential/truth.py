"""The expected results of a problem, with bounds: equations (1) to (11) in `Bounded` arrays.

A result has the name of its quantity. A way adds an @ and the method that computed it, as in "value@train_step".
"""

from dataclasses import dataclass

import numpy as np

from differential import functions as f
from differential.bounded import Bounded, Precision, grid_of, joined
from differential.training import trained


@dataclass
class Net:
    """A network with `Bounded` parameters, and the functions of a problem."""

    problem: object
    w: list
    b: list

    @classmethod
    def of(cls, problem, flat):
        """From all parameters as one `Bounded` vector."""
        w, b, at = [], [], 0
        for inputs, outputs in zip(problem.sizes, problem.sizes[1:], strict=False):
            w.append(flat[at : at + inputs * outputs].reshape(inputs, outputs))
            b.append(flat[at + inputs * outputs : at + (inputs + 1) * outputs])
            at += (inputs + 1) * outputs
        return cls(problem, w, b)

    def forward(self, X, masks=()):
        """s of every layer and x of every layer, x[0] = X; the masks of dropout multiply the hidden x."""
        s, x = [], [X]
        for k, g in enumerate(self.problem.activations):
            s.append(x[-1] @ self.w[k] + self.b[k])  # (1)
            out = f.activate(g, s[-1])  # (2)
            x.append(out * masks[k] if k < len(masks) else out)
        return s, x

    def output_delta(self, s, x, y, seed):
        """Equation (3), where `seed` is c times the scale; 0 for an output of weight 0 that stands alone."""
        delta = self.delta_of_all(s, x, y, seed)
        masked = np.broadcast_to(seed.value == 0, delta.shape)
        return delta if self.problem.output[0] == "softmax" else delta.zero_where(masked)

    def delta_of_all(self, s, x, y, seed):
        if self.problem.logits == "softmax":  # the factor of seed y may be 1 - x as the sum of all other x
            delta = x * (seed * y).sum(axis=1, keepdims=True) - seed * y
            return delta.rounded(delta.value, delta.error, np.abs((seed * y).value), terms=x.shape[1] + 8)
        if self.problem.logits:
            return (x - y) * seed
        return self.behind_output(s, x, f.loss_slope(self.problem.loss, x, y) * seed)

    def behind_output(self, s, x, cotangent):
        if self.problem.output[0] == "softmax":
            return f.times_jacobian(x, cotangent)
        return cotangent * f.slope(self.problem.output, s)

    def deltas(self, s, delta, masks=(), dead=False):
        """Equation (4): delta of every layer, and u before the derivative of every hidden layer.

        The rows that are `dead`, (N, 1), have weight 0: they contribute nothing, even if s is nan.
        """
        deltas, us = [delta.zero_where(dead)], []
        for k in range(len(self.w) - 1, 0, -1):
            u = deltas[0] @ self.w[k].T
            us.insert(0, u)
            u = u * masks[k - 1] if masks else u
            deltas.insert(0, (u * f.slope(self.problem.hidden[k - 1], s[k - 1])).zero_where(dead))
        return deltas, us

    def gradient(self, x, deltas, also=None, dead=False):
        """Equations (5) and (6), as one vector. The products of `also`, x and deltas again, are added to (5) alone."""
        parts = []
        for k, delta in enumerate(deltas):
            product = x[k].zero_where(dead).T @ delta
            parts += [product + also[0][k].T @ also[1][k] if also else product, delta.sum(axis=0)]
        return joined(parts)

    def penalty(self):
        """The value of the penalties and their gradient, as one vector."""
        l2, l1 = self.problem.l2, self.problem.l1
        value, parts = self.w[0].lift(0.0), []
        for w, b in zip(self.w, self.b, strict=True):
            square, magnitude = (w * w).sum() * (0.5 * l2), Bounded(w.precision, np.abs(w.value), w.error, w.grid)
            value = value + square + magnitude.sum() * l1
            sign = w.choose(np.sign(w.value), w.may_be(0.0), 2.0)
            parts += [w * l2 + sign * l1, b * 0.0]
        return value, joined(parts)


def example_norms(x, deltas, c):
    """The norm of each row's own gradient, from deltas without row weights; 0 for a row of weight 0."""
    total = x[0].lift(0.0)
    for x_l, delta in zip(x, deltas, strict=False):
        total = (delta * delta).sum(axis=1) * ((x_l * x_l).sum(axis=1) + 1.0) + total
    norm = total.through(lambda v: np.sqrt(np.maximum(v, 0)))
    return norm.zero_where((c == 0).all(axis=1))


def limited(norm, limit):
    """The factors that scale rows of these norms down to the limit."""
    return norm.through(lambda v: np.where(v <= limit, 1.0, limit / np.maximum(v, 1e-300))).reshape(-1, 1)


def accumulated(grad, start, rows):
    """start + grad, where the sum over the rows may begin with start."""
    total = grad + start
    return total.rounded(total.value, total.error, np.abs(start.value) + np.abs(grad.value), total.grid, rows + 2)


class Truth:
    """The expected results of a problem in one precision."""

    def __init__(self, problem, dtype):
        self.problem, self.data, self.precision = problem, problem.data(), Precision(dtype)
        data = self.data
        self.net = Net.of(problem, self.lift(data.params))
        self.X, self.y = self.lift(data.X), data.y_dense.astype(np.float64)
        self.results = {}
        with np.errstate(all="ignore"):
            self._first_order()
            if problem.finite:
                self._second_order()
                if problem.training:
                    self.results.update(trained(self))

    def lift(self, values):
        return Bounded(self.precision, values, 0.0, grid_of(np.asarray(values, dtype=np.float64)))

    def divisor(self, rows=slice(None)):
        """Return the divisor of a mean. The weights are summed in float64, in any order."""
        c, count = self.data.c_dense[rows], self.data.count(rows)
        exact = grid_of(c) > 0
        error = 0.0 if exact else (c.size + 2) * np.finfo(np.float64).eps * count
        return Bounded(self.precision, count, error, grid_of(np.asarray(count)) if exact else 0.0)

    def seeds(self):
        """c_n times the scale, and c_n."""
        c = self.data.c_dense
        scale = self.lift(1.0)
        if self.problem.reduction == "mean":
            scale = scale / self.divisor()
        return self.lift(c) * scale, scale

    def loss(self, s, x, y, seed):
        """The weighted loss (a number), and the terms of e_n."""
        terms = f.loss_terms(self.problem.loss, s, x, y, self.problem.logits)
        return (terms.zero_where(seed.value == 0) * seed).sum(), terms

    def _first_order(self):
        net, r, problem = self.net, self.results, self.problem
        seed, scale = self.seeds()
        s, x = self.s, self.x = net.forward(self.X)
        r["forward"] = x[-1]
        loss, terms = self.loss(s[-1], x[-1], self.y, seed)
        dead = self.data.dead
        deltas, self.us = net.deltas(s, net.output_delta(s[-1], x[-1], self.y, seed), dead=dead)
        self.all_deltas = deltas
        grad = net.gradient(x, deltas, dead=dead)
        penalty, penalty_grad = net.penalty()
        r["loss"] = loss
        penalised = problem.reduction == "mean" and bool(problem.l2 or problem.l1)
        r["value"], r["grad"] = (loss + penalty, grad + penalty_grad) if penalised else (loss, grad)
        r["accumulated"] = accumulated(r["grad"], self.lift(self.data.start), problem.rows)
        for k in range(len(s)):
            r[f"s[{k}]"], r[f"x[{k + 1}]"], r[f"deltas[{k}]"] = s[k], x[k + 1], deltas[k]
        r["input_grad"] = (deltas[0] @ net.w[0].T).zero_where(dead)
        pulled, _ = net.deltas(s, net.behind_output(s[-1], x[-1], self.lift(self.data.cotangent)))
        r["pullback"] = net.gradient(x, pulled)
        r["pullback_input_grad"] = pulled[0] @ net.w[0].T
        self._examples(s, x, terms, seed, scale)
        if problem.max_example_norm and problem.finite:
            scaled = [delta * limited(r["example_grad_norm"], problem.max_example_norm) for delta in deltas]
            clipped = net.gradient(x, scaled, dead=dead)
            r["clipped_grad"] = clipped + penalty_grad if penalised else clipped

    def _examples(self, s, x, terms, seed, scale):
        c = self.data.c_dense
        self.results["example_loss"] = terms.zero_where(c == 0).sum(axis=1)
        by_outputs = c.shape[1] > 1  # weights of single outputs belong to the row's own loss
        own = self.lift(c if by_outputs else np.ones_like(c))
        norm = self._norms_of(s, x, own)
        # The norm is computed from deltas with all weights and the scale, which it is divided by.
        factor = scale if by_outputs else seed.reshape(-1)
        divisor = Bounded(self.precision, np.abs(factor.value), factor.error)
        computed = (self._norms_of(s, x, seed) / divisor).zero_where((c == 0).all(axis=1))
        self.results["example_grad_norm"] = Bounded(self.precision, norm.value, norm.error + computed.error)

    def _norms_of(self, s, x, seed):
        deltas, _ = self.net.deltas(s, self.net.output_delta(s[-1], x[-1], self.y, seed))
        return example_norms(x, deltas, self.data.c_dense)

    def _second_order(self):
        """(8) to (11) along v in the parameters; `input_grad_vjp` along u in X; jvp along both."""
        r, problem = self.results, self.problem
        v, u = Net.of(problem, self.lift(self.data.v)), self.lift(self.data.u)
        r["jvp"] = self._tangents(v, u)[1][-1]
        r["hvp"] = self._gradient_dot(v, None, gauss_newton=False)
        r["gnvp"] = self._gradient_dot(v, None, gauss_newton=True)
        r["input_grad_vjp"] = self._gradient_dot(None, u, gauss_newton=False)
        if problem.reduction == "mean" and problem.l2:
            l2 = joined([part for w, b in zip(v.w, v.b, strict=True) for part in (w * problem.l2, b * 0.0)])
            r["hvp"], r["gnvp"] = r["hvp"] + l2, r["gnvp"] + l2

    def _tangents(self, v, u):
        """(8): s_dot and x_dot of every layer."""
        s_dot, x_dot = [], [self.X * 0.0 if u is None else u]
        for k, g in enumerate(self.problem.activations):
            moved = x_dot[-1] @ self.net.w[k]
            if v is not None:
                moved = moved + self.x[k] @ v.w[k] + v.b[k]
            s_dot.append(moved)
            last = f.times_jacobian(self.x[k + 1], moved) if g[0] == "softmax" else moved * f.slope(g, self.s[k])
            x_dot.append(last)
        return s_dot, x_dot

    def _seed_dot(self, s_dot, x_dot, gauss_newton):
        """(9): the derivative of delta(L); for a Gauss-Newton product the Hessian of the loss alone."""
        problem, s, x = self.problem, self.s[-1], self.x[-1]
        seed, _ = self.seeds()
        if problem.logits == "softmax":
            return x_dot * (seed * self.y).sum(axis=1, keepdims=True)
        if problem.logits:
            return x_dot * seed
        u_dot = f.loss_curvature(problem.loss, x, self.y) * seed * x_dot
        direct = self.net.behind_output(s, x, u_dot)
        if gauss_newton:
            return direct
        u = f.loss_slope(problem.loss, x, self.y) * seed
        if problem.output[0] == "softmax":
            mean, mean_dot = ((u * a).sum(axis=1, keepdims=True) for a in (x, x_dot))
            return direct + x_dot * (u - mean) - x * mean_dot
        return direct + u * f.curvature(problem.output, s) * s_dot

    def _gradient_dot(self, v, u, gauss_newton):
        """(10) and (11): the derivative of the gradient; for a Gauss-Newton product (4) and (5) of the seed."""
        s_dot, x_dot = self._tangents(v, u)
        delta_dot = self._seed_dot(s_dot[-1], x_dot[-1], gauss_newton)
        if gauss_newton:
            return self.net.gradient(self.x, self.net.deltas(self.s, delta_dot)[0])
        dots = [delta_dot]
        for k in range(len(self.net.w) - 1, 0, -1):
            u_dot = dots[0] @ self.net.w[k].T
            if v is not None:
                u_dot = u_dot + self.all_deltas[k] @ v.w[k].T
            g = self.problem.hidden[k - 1]
            curved = f.curvature(g, self.s[k - 1]) * s_dot[k - 1] * self.us[k - 1]
            dots.insert(0, u_dot * f.slope(g, self.s[k - 1]) + curved)
        return self.net.gradient(self.x, dots, also=(x_dot, self.all_deltas))
