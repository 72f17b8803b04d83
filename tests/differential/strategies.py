"""The generator of problems, as hypothesis strategies. Values nearer to the front of a list are the simpler ones."""

from hypothesis import strategies as st

from differential.problems import CONTAINER_FORMS, Problem, Training

# Around the widths of vectors, register tiles and blocks.
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 63, 64, 65, 96, 127, 128, 130)
ROWS = (1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 257, 320)
MOST_PRODUCTS = 1_500_000  # rows times parameters, so that an example takes milliseconds
WHOLE_ACTIVATIONS = (("identity", 0.0), ("relu", 0.0), ("leaky_relu", 0.5))
ACTIVATIONS = (
    *WHOLE_ACTIVATIONS, ("tanh", 0.0), ("logistic", 0.0), ("elu", 1.0), ("elu", 0.5), ("gelu", 0.0), ("silu", 0.0),
    ("softplus", 0.0), ("sine", 0.0), ("leaky_relu", 0.01),
)  # fmt: skip
PLAIN_LOSSES = (
    ("squared_error", 0.0), ("absolute_error", 0.0), ("huber", 1.0), ("huber", 2.0), ("pinball", 0.5),
    ("pinball", 0.25),
)  # fmt: skip
WHOLE_DTYPES = ("f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u4", "?")
REAL_DTYPES = ("f4", "f8", "f2", "i4", "u1", "?")
OPTIMIZERS = {
    "SGD": ((), (("momentum", 0.5),), (("momentum", 0.5), ("nesterov", True)), (("weight_decay", 0.125),),
            (("momentum", 0.5), ("dampening", 0.25))),
    "Adam": ((), (("betas", (0.5, 0.75)), ("weight_decay", 0.01))),
    "AdamW": ((), (("weight_decay", 0.1),)),
    "RMSprop": ((), (("momentum", 0.5),), (("centered", True), ("eps", 1e-3))),
    "Adagrad": ((), (("lr_decay", 0.1), ("initial_accumulator_value", 0.5))),
    "Rprop": ((),),
}  # fmt: skip


@st.composite
def shapes(draw):
    """Layer sizes and rows whose products are not too many."""
    sizes = tuple(draw(st.lists(st.sampled_from(WIDTHS), min_size=2, max_size=6)))
    parameters = sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))
    fitting = [n for n in ROWS if n * parameters <= MOST_PRODUCTS]
    return sizes, draw(st.sampled_from(fitting or [1]))


@st.composite
def objectives(draw, outputs):
    """(loss, output activation, kind of targets) that belong together."""
    kind = draw(st.sampled_from(["plain", "softmax", "logistic", "poisson"]))
    if kind == "softmax" and outputs > 1:
        return ("cross_entropy", 0.0), ("softmax", 0.0), draw(st.sampled_from(["classes", "one_hot", "soft"]))
    if kind == "logistic":
        return ("cross_entropy", 0.0), ("logistic", 0.0), draw(st.sampled_from(["numbers", "soft"]))
    if kind == "poisson":
        return ("poisson", 0.0), draw(st.sampled_from([("exp", 0.0), ("softplus", 0.0)])), "numbers"
    behind = [*ACTIVATIONS, ("exp", 0.0), *([("softmax", 0.0)] if outputs > 1 else [])]
    output = draw(st.sampled_from(behind))
    targets = draw(st.sampled_from(["classes", "one_hot", "soft"])) if output[0] == "softmax" else "numbers"
    return draw(st.sampled_from(PLAIN_LOSSES)), output, targets


@st.composite
def trainings(draw, whole):
    optimizer = "SGD" if whole else draw(st.sampled_from(list(OPTIMIZERS)))
    return Training(
        optimizer=optimizer,
        options=draw(st.sampled_from(OPTIMIZERS[optimizer])),
        batch_size=None if optimizer == "Rprop" else draw(st.sampled_from([None, 16, 1, 7, 64])),
        epochs=draw(st.integers(1, 2)),
        shuffle=draw(st.booleans()),
        dropout=draw(st.sampled_from([0.0, 0.5, 0.25])),
        max_grad_norm=draw(st.sampled_from([None, None, 0.5])),
        max_example_norm=draw(st.sampled_from([None, None, 0.5])),
    )


@st.composite
def problems(draw):
    """Any problem, with or without training."""
    whole, (sizes, rows) = draw(st.booleans()), draw(shapes())
    hidden = st.sampled_from(WHOLE_ACTIVATIONS if whole else ACTIVATIONS)
    if whole:
        loss, output, targets = draw(st.sampled_from(PLAIN_LOSSES)), draw(hidden), "numbers"
    else:
        loss, output, targets = draw(objectives(sizes[-1]))
    nonfinite = draw(st.sampled_from([0.0] * 12 + [float("inf"), float("nan")]))
    x_dtype = draw(st.sampled_from(WHOLE_DTYPES if whole else REAL_DTYPES))
    if x_dtype[0] != "f":
        nonfinite = 0.0
    weights = draw(st.sampled_from([None, "rows", "outputs"]))
    trained = nonfinite == 0.0 and draw(st.integers(0, 2)) == 0
    return Problem(
        sizes=sizes, rows=rows, dtype=draw(st.sampled_from(["float32", "float64"])),
        hidden=tuple(draw(hidden) for _ in sizes[2:]), output=output, loss=loss, targets=targets, whole=whole,
        x_dtype=x_dtype, x_form=draw(st.sampled_from(CONTAINER_FORMS)),
        density=draw(st.sampled_from([1.0, 0.5, 0.1])), weights=weights,
        reduction=draw(st.sampled_from(["sum", "mean"])), l2=draw(st.sampled_from([0.0, 0.0, 0.25, 0.01])),
        l1=draw(st.sampled_from([0.0, 0.0, 0.125])), deterministic=draw(st.booleans()),
        max_example_norm=draw(st.sampled_from([None, 0.5, 2.0])), nonfinite=nonfinite,
        scale=1.0 if whole else draw(st.sampled_from([1.0, 0.3, 3.0])), seed=draw(st.integers(0, 2**20)),
        training=draw(trainings(whole)) if trained else None,
    )  # fmt: skip
