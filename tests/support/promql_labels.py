"""The labels that a PromQL expression gives, from its syntax tree."""

from collections.abc import Callable
from typing import Any

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

OfSelector = Callable[[VectorSelector], set[str]]


def unwrapped(node: Expr) -> Expr:
    """The node inside parentheses."""
    while isinstance(node, ParenExpr):
        node = node.expr
    return node


def is_scalar(node: Expr) -> bool:
    """Whether the expression gives one number instead of samples with labels."""
    node = unwrapped(node)
    if isinstance(node, BinaryExpr):
        return is_scalar(node.lhs) and is_scalar(node.rhs)
    if isinstance(node, UnaryExpr):
        return is_scalar(node.expr)
    if isinstance(node, Call):
        return str(node.func.return_type) == "ValueType.Scalar"
    return isinstance(node, (NumberLiteral, StringLiteral))


def labels_of(node: Expr, of_selector: OfSelector) -> set[str]:
    """Return the labels of the samples that the expression gives.

    Rules: Prometheus, "Vector matching" and "Aggregation operators".
    """
    match node:
        case VectorSelector():
            return of_selector(node)
        case MatrixSelector():
            return of_selector(node.vector_selector)
        case ParenExpr() | UnaryExpr() | SubqueryExpr():
            return labels_of(node.expr, of_selector)
        case AggregateExpr():
            return _of_aggregation(node, of_selector)
        case BinaryExpr():
            return _of_operation(node, of_selector)
        case Call():
            return _of_call(node, of_selector)
        case _:
            return set()


def _of_aggregation(node: AggregateExpr, of_selector: OfSelector) -> set[str]:
    inner = labels_of(node.expr, of_selector)
    if str(node.op) in ("topk", "bottomk"):
        return inner
    if node.modifier is None:
        return set()
    named = set(node.modifier.labels)
    return inner & named if str(node.modifier.type) == "AggModifierType.By" else inner - named


def _of_operation(node: BinaryExpr, of_selector: OfSelector) -> set[str]:
    left, right = labels_of(node.lhs, of_selector), labels_of(node.rhs, of_selector)
    op, modifier = str(node.op), node.modifier
    if op == "or":
        return left | right
    if op in ("and", "unless") or is_scalar(node.rhs):
        return left
    if is_scalar(node.lhs):
        return right
    matching: Any = modifier.matching if modifier else None
    if matching is None:
        return left
    named = set(matching.labels)
    if modifier and str(modifier.card) == "VectorMatchCardinality.ManyToOne":
        return left | set(modifier.group_labels or ())
    if modifier and str(modifier.card) == "VectorMatchCardinality.OneToMany":
        return right | set(modifier.group_labels or ())
    return left & named if str(matching.type) == "LabelModifierType.Include" else left - named


def _of_call(node: Call, of_selector: OfSelector) -> set[str]:
    name = node.func.name
    if name in ("absent", "absent_over_time"):
        selector = unwrapped(node.args[0])
        if isinstance(selector, MatrixSelector):
            selector = selector.vector_selector
        if not isinstance(selector, VectorSelector):
            return set()
        return {each.name for each in selector.matchers.matchers if str(each.op) == "MatchOp.Equal"}
    if name == "histogram_quantile":
        return labels_of(node.args[1], of_selector) - {"le"}
    added = {node.args[1].val} if name in ("label_replace", "label_join") else set()
    vectors = (labels_of(each, of_selector) for each in node.args if not is_scalar(each))
    return added.union(*vectors)
