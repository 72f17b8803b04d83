"""The exact losses behind softmax with three outputs, their derivatives by the summed inputs, and error bounds."""

from functools import cache

from sweep_truth import SUBNORMALS, C, as_floats, log, loss_of_residual, mp, mpf, relative_bound


def rows_as_floats(parts):
    return [[as_floats(part) for part in row] for row in parts]


@cache
def softmax(s):
    """Return x and ln x of a row of summed inputs, without cancellation."""
    top = s.index(max(s))
    shifted = [mpf(v) - mpf(s[top]) for v in s]
    powers = [mp.exp(t) for t in shifted]
    log_sum = mp.log1p(sum(p for k, p in enumerate(powers) if k != top))
    return [p / sum(powers) for p in powers], [t - log_sum for t in shifted]


def sums_to_zero(x, v, k):
    """Return x_k (v_k - sum_j x_j v_j) without cancellation: the x add up to 1."""
    return x[k] * sum(x_j * (v[k] - v_j) for x_j, v_j in zip(x, v, strict=True))


def softmax_cross_entropy(loss, s, y, form, exact_differences):
    """Return value, delta, Hessian columns and Gauss-Newton columns of one row; the last two are the same."""
    x, log_x = softmax(s)
    outputs = range(len(s))
    y = [mpf(v) for v in y]
    total, hard = sum(y), sorted(y) == [0, 0, 1]
    value = -sum(y_j * log_j for y_j, log_j in zip(y, log_x, strict=True))
    value_bound = C * form.eps * (value + (0 if exact_differences else max(abs(v) for v in s)))
    value_bound += SUBNORMALS * form.subnormal
    delta, spread = [], max(s) - min(s)
    # The difference of two s rounds unless it is a number of the dtype.
    amplified = 1 if exact_differences else 1 + form.eps * spread / form.relative
    for k in outputs:
        of_others = -sum(x[j] for j in outputs if j != k) if y[k] else x[k]
        d = of_others if hard else total * x[k] - y[k]
        size = abs(d) if hard else max(total * x[k], y[k])
        delta.append(((d,), amplified * relative_bound(size, spread, form)))
    curves = []
    for column in outputs:
        v = [int(j == column) for j in outputs]
        column_of = [total * sums_to_zero(x, v, k) for k in outputs]
        curves.append([((h,), amplified * relative_bound(abs(h), spread, form)) for h in column_of])
    curves = rows_as_floats(curves)
    return as_floats(((value,), value_bound)), rows_as_floats([delta])[0], curves, curves


def softmax_losses(loss, s, y, form, exact_differences):
    """Return the same for any other loss.

    With a_j = x_j e'_j and b_j = x_j^2 e''_j, delta_k = a_k - x_k sum a; along v with w = v - sum x v its derivative is
    (a_k + b_k) w_k - x_k w_k sum a - x_k sum_j (a_j + b_j) w_j. Terms that a kink may change are added to the bound.
    """
    x, log_x = softmax(s)
    unit, tiny = C * form.eps, SUBNORMALS * form.subnormal
    n, y = range(len(s)), [mpf(v) for v in y]
    loss_of_s = 1 if exact_differences else 1 + (max(s) - min(s)) / C
    a, b, of_a, of_b, value, value_bound = [], [], [], [], 0, 0
    size = [float(x_j) for x_j in x]  # for the bounds
    for j in n:
        of_x = loss_of_s * size[j]
        if loss == "poisson":
            term = x[j] - y[j] + (y[j] * (log(y[j]) - log_x[j]) if y[j] else 0)
            of_value = of_x + float(y[j] * (loss_of_s + abs(log_x[j]) + (abs(log(y[j])) if y[j] else 0)))
            value_bound += unit * of_value + tiny
            a.append(x[j] - y[j])
            b.append(y[j])
            of_a.append(of_x + float(y[j]))
            of_b.append(float(y[j]))
        else:
            r = x[j] - y[j] if y[j] != 1 else -sum(x[i] for i in n if i != j)
            e = loss_of_residual(loss, of_x, r, y[j], form)
            term = e.value
            value_bound += e.value_bound
            a.append(x[j] * e.prime)
            b.append(x[j] ** 2 * e.second)
            jump = max((abs(p - e.prime) for p, _ in e.beyond), default=0) / unit
            of_a.append(size[j] * float(loss_of_s * e.of_prime + jump))
            of_b.append(size[j] ** 2 * float(loss_of_s * e.of_second + (1 / unit if e.beyond else 0)))
        value += term
    sum_a, sum_of_a = sum(a), loss_of_s * sum(of_a)
    delta = [((a[k] - x[k] * sum_a,), unit * (of_a[k] + size[k] * sum_of_a) + tiny) for k in n]
    curves, squares = [], []
    both, of_both = [p + q for p, q in zip(a, b, strict=True)], [p + q for p, q in zip(of_a, of_b, strict=True)]
    for column in n:
        w = [(j == column) - x[column] for j in n]
        of_w = [(j == column) + loss_of_s * size[column] for j in n]
        sums = [sum(p * q for p, q in zip(u, v, strict=True)) for u, v in ((both, w), (b, w))]
        of_sums = [sum(p * q for p, q in zip(u, v, strict=True)) for u, v in ((of_both, of_w), (of_b, of_w))]
        curves.append([
            ((both[k] * w[k] - x[k] * (w[k] * sum_a + sums[0]),),
             unit * (of_both[k] * of_w[k] + size[k] * (of_w[k] * sum_of_a + loss_of_s * of_sums[0])) + tiny)
            for k in n
        ])  # fmt: skip
        squares.append(
            [
                ((b[k] * w[k] - x[k] * sums[1],), unit * (of_b[k] * of_w[k] + loss_of_s * size[k] * of_sums[1]) + tiny)
                for k in n
            ]
        )
    value = as_floats(((value,), value_bound))
    return value, rows_as_floats([delta])[0], rows_as_floats(curves), rows_as_floats(squares)
