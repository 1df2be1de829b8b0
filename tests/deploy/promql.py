"""What a PromQL expression names, beside the samples that there are."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import promql_parser
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    LabelModifierType,
    Matcher,
    MatchOp,
    MatrixSelector,
    ParenExpr,
    UnaryExpr,
    VectorSelector,
)

# Prometheus adds these to every sample that it collects, and says by ``up`` whether it could.
TARGET_LABELS: Final = frozenset(("job", "instance"))
OWN_METRICS: Final = frozenset(("up",))

_CHOICES: Final = frozenset(("topk", "bottomk"))
_SAMPLE: Final = re.compile(r"(\w+)(?:\{(.*)\})? \S+")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """A sample without its value."""

    name: str
    labels: Mapping[str, str]


def read_samples(text: str) -> list[Sample]:
    """The samples of an answer to ``/metrics``, each under the very name that stands there."""
    matches = [_SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    return [Sample(match[1], dict(_LABEL.findall(match[2] or ""))) for match in matches if match is not None]


def find_faults(expression: str, samples: Sequence[Sample]) -> list[str]:
    """The metrics and labels that an expression names and that no sample has."""
    root = promql_parser.parse(expression)
    assert isinstance(root, Expr)
    faults: list[str] = []
    for node in _walk(root):
        if isinstance(node, VectorSelector):
            faults += _check_selector(node, samples)
        elif isinstance(node, AggregateExpr) and node.modifier is not None:
            unknown = set(node.modifier.labels) - _list_labels(node.expr, samples) - {"le"}
            faults += [f"by ({label})" for label in unknown]
        elif isinstance(node, BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
            known = _list_labels(node.lhs, samples) & _list_labels(node.rhs, samples)
            faults += [f"on ({label})" for label in set(node.modifier.matching.labels) - known]
    return faults


def list_result_labels(expression: str, samples: Sequence[Sample]) -> set[str]:
    """The labels that the results of an expression have."""
    root = promql_parser.parse(expression)
    assert isinstance(root, Expr)
    return _list_labels(root, samples)


def _walk(root: Expr) -> Iterator[Expr]:
    nodes: list[Expr] = []
    promql_parser.walk(root, nodes.append)
    return iter(nodes)


def _check_selector(selector: VectorSelector, samples: Sequence[Sample]) -> list[str]:
    if selector.name in OWN_METRICS:
        return []
    found = [sample for sample in samples if sample.name == selector.name]
    if not found:
        return [f"{selector.name}: no such metric"]
    matchers = [matcher for matcher in selector.matchers.matchers if matcher.name not in TARGET_LABELS]
    labels = {label for sample in found for label in sample.labels}
    unknown = [f"{selector.name}: no label '{matcher.name}'" for matcher in matchers if matcher.name not in labels]
    # A status counts once it has been answered, and not all of them can be brought about.
    closed = [matcher for matcher in matchers if matcher.name != "status"]
    if not unknown and not any(all(_fits(matcher, sample) for matcher in closed) for sample in found):
        return [f"{selector}: fits no sample"]
    return unknown


def _fits(matcher: Matcher, sample: Sample) -> bool:
    text = sample.labels.get(matcher.name, "")
    # A variable of Grafana's stands for whatever was chosen.
    same = matcher.value.startswith("$") or (
        text == matcher.value
        if matcher.op in (MatchOp.Equal, MatchOp.NotEqual)
        else re.fullmatch(matcher.value, text) is not None
    )
    return same == (matcher.op in (MatchOp.Equal, MatchOp.Re))


def _list_labels(node: Expr, samples: Sequence[Sample]) -> set[str]:
    if isinstance(node, VectorSelector):
        return set(TARGET_LABELS).union(*(sample.labels for sample in samples if sample.name == node.name))
    if isinstance(node, MatrixSelector):
        return _list_labels(node.vector_selector, samples)
    if isinstance(node, ParenExpr | UnaryExpr):
        return _list_labels(node.expr, samples)
    if isinstance(node, Call):
        labels = set().union(*(_list_labels(argument, samples) for argument in node.args))
        return labels - {"le"} if node.func.name == "histogram_quantile" else labels
    if isinstance(node, AggregateExpr):
        if node.modifier is None:  # a choice among samples leaves them as they are
            return _list_labels(node.expr, samples) if str(node.op) in _CHOICES else set()
        assert node.modifier.type == AggModifierType.By, "expected by and not without"
        return set(node.modifier.labels)
    if isinstance(node, BinaryExpr):
        left, right = _list_labels(node.lhs, samples), _list_labels(node.rhs, samples)
        matching = node.modifier.matching if node.modifier is not None else None
        assert matching is None or matching.type == LabelModifierType.Include, "expected on and not ignoring"
        return left or right
    return set()  # a number
