"""Losses of classes: labels that are numbers, or a probability for each class."""

from __future__ import annotations

from typing import Any

from ..array import np
from ..diagnose import MlcError
from ..graph import Type, Value
from ..op import BODY, Build, Config, Op, TypeMismatch, require_equal
from .broadcast import number, require_floating, require_integer, require_same_dtype
from .compare import NOT_EQUAL
from .elementwise import ADD, CAST, DIV, MUL, NEG, SUB, WHERE
from .index import GATHER, GATHER_ELEMENTS
from .loss import REDUCTION, reduced_array, reduced_loss, reduced_type, same_shape, shared
from .reduce import SUM
from .sequence import ONE_HOT
from .shape import RESHAPE, SQUEEZE, TRANSPOSE, UNSQUEEZE
from .softmax import LOG_SOFTMAX, SOFTMAX, log_softmax

_AXIS = Config("axis", -1, doc="the axis of the classes")
_SMOOTHING = Config("float", 0.0, doc="the share of each target that all classes get evenly")


def _label_type(name: str, x: Type, label: Type, axis: int) -> Type:
    """The type of the single losses: a label for each row."""
    require_floating(name, x)
    require_integer(f"the label of {name}", label)
    wanted = x.shape[:axis] + x.shape[axis + 1 :]
    message = f"{name} of {x} over axis {axis} takes a label for each row, and gets {label}"
    if label.rank != len(wanted):
        raise TypeMismatch(message)
    shape = tuple(require_equal(p, q, message) for p, q in zip(wanted, label.shape, strict=True))
    return label.with_(dtype=x.dtype, shape=shape)


def _require_smoothing(name: str, smoothing: float) -> None:
    if not 0 <= smoothing < 1:
        message = f"{name} takes a smoothing from 0 to below 1, and gets {smoothing}"
        raise TypeMismatch(message, "value")


def _checked(label: Any, classes: int, kept: Any = True) -> Any:
    """The labels that count, and 0 for the others; raises MlcError on one that is no class."""
    wrong = ((label < 0) | (label >= classes)) & kept
    if np.any(wrong):
        seen = f"{label.min()} to {label.max()}"
        raise MlcError("feed", f"labels of {classes} classes are 0 to {classes - 1}, not {seen}")
    return np.where(kept, label, 0)


def _pick(log_prob: Any, label: Any, axis: int) -> Any:
    index = np.expand_dims(label, axis)
    return np.squeeze(np.take_along_axis(log_prob, index, axis), axis)


def _picked(b: Build, log_prob: Value, label: Value, axis: int) -> Value:
    index = b(UNSQUEEZE, label, axes=(axis,))
    picked = b(GATHER_ELEMENTS, log_prob, index, axis=axis)
    result: Value = b(SQUEEZE, picked, axes=(axis,))
    return result


# ------------------------------------------------------------------------------- of labels


def _infer(
    logits: Type, label: Type, weight: Type | None, axis: int, reduction: str, smoothing: float,
    ignore: int | None,
) -> Type:  # fmt: skip
    each = _label_type("cross_entropy", logits, label, axis)
    _require_smoothing("cross_entropy", smoothing)
    if weight is not None:
        require_same_dtype("cross_entropy", logits, weight)
        message = f"cross_entropy of {logits} takes a weight for each class, and gets {weight}"
        if weight.rank != 1:
            raise TypeMismatch(message)
        require_equal(weight.shape[0], logits.shape[axis], message)
    return reduced_type(each, reduction)


def _eval(
    logits: Any, label: Any, weight: Any, axis: int, reduction: str, smoothing: float,
    ignore: int | None,
) -> Any:  # fmt: skip
    classes = logits.shape[axis]
    kept = np.ones(label.shape, bool) if ignore is None else label != ignore
    label = _checked(label, classes, kept)
    log_prob = log_softmax(logits, axis)
    of_class = np.ones(classes, logits.dtype) if weight is None else weight
    share = of_class[label] * kept
    each = -_pick(log_prob, label, axis) * share * (1 - smoothing)
    if smoothing:
        spread = np.moveaxis(log_prob, axis, -1) @ of_class
        each = each - kept * spread * (smoothing / classes)
    if reduction == "mean" and (weight is not None or ignore is not None):
        return np.sum(each) / np.sum(share)
    return reduced_array(each, reduction)


class _Parts:
    """What loss and gradient share: labels that count, and what each row weighs (None for 1)."""

    def __init__(
        self, b: Build, logits: Value, label: Value, weight: Value | None, axis: int,
        ignore: int | None,
    ) -> None:  # fmt: skip
        self.b = b
        self.axis = axis
        self.logits = logits
        self.weight = weight
        self.label, self.share = label, None
        kept = None if ignore is None else b(NOT_EQUAL, label, ignore)
        if kept is not None:
            self.label = b(WHERE, kept, label, 0)
        if self.weight is not None:
            self.share = b(GATHER, self.weight, self.label, axis=0)
        self.kept = None if kept is None else b(CAST, kept, dtype=logits.type.dtype)
        if self.kept is not None:
            self.share = self.kept if self.share is None else b(MUL, self.share, self.kept)

    @property
    def classes(self) -> Value | float:
        return number(self.b, self.logits.type.shape[self.axis], self.logits)

    def shaped(self) -> Value | None:
        """The weights of the classes, along their axis."""
        if self.weight is None:
            return None
        after = self.logits.type.rank - 1 - self.axis
        shape = (self.logits.type.shape[self.axis], *(1,) * after)
        result: Value = self.b(RESHAPE, self.weight, shape=shape)
        return result

    def over_classes(self, x: Value) -> Value:
        """The sum of x, by the weights of the classes."""
        shaped = self.shaped()
        x = x if shaped is None else self.b(MUL, x, shaped)
        result: Value = self.b(SUM, x, axes=(self.axis,))
        return result


def _body(
    b: Build, logits: Value, label: Value, weight: Value | None, axis: int, reduction: str,
    smoothing: float, ignore: int | None,
) -> Value:  # fmt: skip
    parts = _Parts(b, logits, label, weight, axis, ignore)
    log_prob = b(LOG_SOFTMAX, logits, axis=axis)
    each = b(NEG, _picked(b, log_prob, parts.label, axis))
    if parts.share is not None:
        each = b(MUL, each, parts.share)
    if smoothing:
        spread = b(MUL, parts.over_classes(log_prob), smoothing)
        spread = b(DIV, spread, parts.classes)
        if parts.kept is not None:
            spread = b(MUL, spread, parts.kept)
        each = b(SUB, b(MUL, each, 1 - smoothing), spread)
    if reduction == "mean" and parts.share is not None:
        result: Value = b(DIV, b(SUM, each), b(SUM, parts.share))
        return result
    return reduced_loss(b, each, reduction)


def _grad(
    b: Build, g: Value, y: Value, logits: Value, label: Value, weight: Value | None, axis: int,
    reduction: str, smoothing: float, ignore: int | None,
) -> list[Value | None]:  # fmt: skip
    parts = _Parts(b, logits, label, weight, axis, ignore)
    if parts.share is not None and reduction == "mean":
        share = b(DIV, g, b(SUM, parts.share))
    else:
        share = shared(b, g, label.type.shape, reduction)
    rows = [share] if reduction != "none" else [b(UNSQUEEZE, share, axes=(axis,))]
    hit = b(ONE_HOT, parts.label, depth=logits.type.shape[axis], dtype=logits.type.dtype)
    last = logits.type.rank - 1
    if axis != last:
        hit = b(TRANSPOSE, hit, axes=(*range(axis), last, *range(axis, last)))
    slope = b(SUB, b(SOFTMAX, logits, axis=axis), hit)
    if parts.share is not None:
        slope = b(MUL, slope, b(UNSQUEEZE, parts.share, axes=(axis,)))
    if smoothing:
        slope = b(ADD, b(MUL, slope, 1 - smoothing), _spread_slope(b, parts, smoothing))
    return [b(MUL, rows[0], slope), None, _weight_slope(b, g, y, parts, hit, reduction, smoothing)]


def _weight_slope(
    b: Build, g: Value, y: Value, parts: _Parts, hit: Value, reduction: str, smoothing: float
) -> Value | None:
    """The gradient of the weights of classes, which also divide the mean."""
    if parts.weight is None:
        return None
    axis = parts.axis
    log_prob = b(LOG_SOFTMAX, parts.logits, axis=axis)
    each = b(MUL, hit, log_prob)
    if smoothing:
        even = b(DIV, b(MUL, log_prob, smoothing), parts.classes)
        each = b(ADD, b(MUL, each, 1 - smoothing), even)
    if reduction == "mean":
        each = b(ADD, each, b(MUL, hit, y))
    if parts.kept is not None:
        each = b(MUL, each, b(UNSQUEEZE, parts.kept, axes=(axis,)))
    if reduction == "none":
        each = b(MUL, each, b(UNSQUEEZE, g, axes=(axis,)))
    rows = tuple(i for i in range(each.type.rank) if i != axis)
    total = b(SUM, each, axes=rows) if rows else each
    if reduction != "none":
        total = b(MUL, total, g)
    if reduction == "mean":
        total = b(DIV, total, b(SUM, parts.share))
    result: Value = b(NEG, total)
    return result


def _spread_slope(b: Build, parts: _Parts, smoothing: float) -> Value:
    """The gradient of what smoothing adds: softmax times the weights' sum, less each weight."""
    soft = b(SOFTMAX, parts.logits, axis=parts.axis)
    shaped = parts.shaped()
    if shaped is None:
        slope = b(SUB, b(MUL, soft, parts.classes), 1.0)
    else:
        slope = b(SUB, b(MUL, soft, b(SUM, parts.weight)), shaped)
    slope = b(DIV, b(MUL, slope, smoothing), parts.classes)
    if parts.kept is None:
        result: Value = slope
        return result
    result = b(MUL, slope, b(UNSQUEEZE, parts.kept, axes=(parts.axis,)))
    return result


_ROWS = {"logits": (4, 5), "label": ([0, 3, 1, 4], "i32")}
_IMAGE = {"logits": (2, 3, 5), "label": ((2, 5), "i32", 0, 3), "axis": 1}
_WEIGHTS = ((3,), "f32", 0.5, 2.0)

CROSS_ENTROPY = Op(
    "cross_entropy",
    inputs=("logits", "label", "weight?"),
    config={
        "axis": _AXIS,
        "reduction": REDUCTION,
        "smoothing": _SMOOTHING,
        "ignore": Config("int", None, doc="the label of rows that do not count"),
    },
    infer=_infer,
    eval=_eval,
    body=_body,
    grad=_grad,
    rounding="body",
    layout="axes",
    samples=(
        {"logits": (5, 7), "label": ((5,), "i32", 0, 7)},
        {"logits": (2, 3, 5), "label": ((2, 3), "i64", 0, 5), "reduction": "sum"},
        {**_IMAGE, "reduction": "none"},
        _IMAGE,
        {"logits": (3,), "label": ((), "i32", 0, 3)},
        {"logits": [[0.0, -120.0], [100.0, 0.0]], "label": ([1, 1], "i32")},
        {**_ROWS, "smoothing": 0.1},
        {**_ROWS, "ignore": 3, "reduction": "none"},
        {"logits": (4, 5), "label": ([0, -1, 1, -1], "i64"), "ignore": -1},
        {**_IMAGE, "weight": _WEIGHTS},
        {**_IMAGE, "weight": _WEIGHTS, "smoothing": 0.2, "ignore": 1},
        {**_IMAGE, "weight": _WEIGHTS, "smoothing": 0.2, "reduction": "none"},
    ),
    doc="-log(softmax(logits)) at the class that `label` numbers, from 0, times the weight of that"
    " class. The mean is over the rows that count, by their weights.",
)

# -------------------------------------------------------------------------- of probabilities


def _soft_infer(logits: Type, target: Type, axis: int, reduction: str, smoothing: float) -> Type:
    whole = same_shape("soft_cross_entropy", logits, target)
    _require_smoothing("soft_cross_entropy", smoothing)
    return reduced_type(_without(whole, axis), reduction)


def _without(x: Type, axis: int) -> Type:
    """The type of what is left when an axis is summed."""
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return Type(x.dtype, shape, (*x.labels[:axis], *x.labels[axis + 1 :]))


def _soft_eval(logits: Any, target: Any, axis: int, reduction: str, smoothing: float) -> Any:
    target = target * (1 - smoothing) + smoothing / logits.shape[axis]
    return reduced_array(-np.sum(target * log_softmax(logits, axis), axis), reduction)


def _soft_body(
    b: Build, logits: Value, target: Value, axis: int, reduction: str, smoothing: float
) -> Value:
    if smoothing:
        even = b(DIV, b.constant(smoothing, logits.type.dtype),
                 number(b, logits.type.shape[axis], logits))  # fmt: skip
        target = b(ADD, b(MUL, target, 1 - smoothing), even)
    product = b(MUL, target, b(LOG_SOFTMAX, logits, axis=axis))
    return reduced_loss(b, b(NEG, b(SUM, product, axes=(axis,))), reduction)


_SHARES = ((2, 3, 5), "f32", 0.0, 1.0)

SOFT_CROSS_ENTROPY = Op(
    "soft_cross_entropy",
    inputs=("logits", "target"),
    config={"axis": _AXIS, "reduction": REDUCTION, "smoothing": _SMOOTHING},
    infer=_soft_infer,
    eval=_soft_eval,
    body=_soft_body,
    grad=BODY,
    rounding="body",
    layout="axes",
    samples=(
        {"logits": (5, 7), "target": ((5, 7), "f32", 0.0, 1.0)},
        {"logits": (2, 3, 5), "target": _SHARES, "axis": 1},
        {"logits": (2, 3, 5), "target": _SHARES, "axis": 1, "smoothing": 0.2, "reduction": "none"},
        {"logits": (3,), "target": ((3,), "f32", 0.0, 1.0), "reduction": "sum"},
        {"logits": [[0.0, -120.0], [100.0, 0.0]], "target": [[0.0, 1.0], [0.25, 0.75]]},
    ),
    doc="The sum over classes of -target * log(softmax(logits)), for targets that are"
    " probabilities. The mean is over rows.",
)

# ------------------------------------------------------------------------ of log-probabilities


def _nll_infer(log_prob: Type, label: Type, axis: int, reduction: str) -> Type:
    return reduced_type(_label_type("nll_loss", log_prob, label, axis), reduction)


def _nll_eval(log_prob: Any, label: Any, axis: int, reduction: str) -> Any:
    label = _checked(label, log_prob.shape[axis])
    return reduced_array(-_pick(log_prob, label, axis), reduction)


NLL_LOSS = Op(
    "nll_loss",
    inputs=("log_prob", "label"),
    config={"axis": _AXIS, "reduction": REDUCTION},
    infer=_nll_infer,
    eval=_nll_eval,
    body=lambda b, x, label, axis, reduction: reduced_loss(
        b, b(NEG, _picked(b, x, label, axis)), reduction
    ),
    grad=BODY,
    rounding="body",
    layout="axes",
    samples=(
        {"log_prob": (5, 7), "label": ((5,), "i32", 0, 7)},
        {"log_prob": (2, 3, 5), "label": ((2, 5), "i64", 0, 3), "axis": 1, "reduction": "none"},
        {"log_prob": (2, 3, 5), "label": ((2, 3), "i32", 0, 5), "reduction": "sum"},
    ),
    doc="-log_prob at the class that `label` numbers, from 0: cross_entropy behind log_softmax.",
)

CLASSES = (CROSS_ENTROPY, SOFT_CROSS_ENTROPY, NLL_LOSS)
