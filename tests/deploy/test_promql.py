"""The tests' own reading of PromQL finds what is not there."""

import pytest

from tests.deploy.promql import find_faults, list_result_labels, read_samples

SAMPLES = read_samples(
    "\n".join(
        [
            "# HELP answers What was answered.",
            'answers{kind="churn",status="200"} 3',
            'answers_bucket{kind="churn",le="0.1"} 3',
            'shares{kind="churn",version="2"} 0.5',
            "age 1.5",
        ]
    )
)


@pytest.mark.parametrize(
    "expression",
    [
        'sum by (kind) (rate(answers{kind=~"ch.*",status=~"5..",job="a"}[5m])) / on (kind) group_left sum(shares) > 1',
        "histogram_quantile(0.9, sum by (kind, le) (rate(answers_bucket[5m])))",
        'up == 1 unless on (job, instance) shares{kind!="sentiment"}',
        'changes(age{instance=~"$instance"}[1h]) > 0 or vector(0)',
    ],
)
def test_what_is_there_is_found(expression: str) -> None:
    assert find_faults(expression.replace("sum(shares)", "sum by (kind) (shares)"), SAMPLES) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(answer[5m])", "answer: no such metric"),
        ('1 - sum(answers{kinds="churn"})', "answers: no label 'kinds'"),
        ('answers{kind="sentiment"}', 'answers{kind="sentiment"}: fits no sample'),
        ('answers{kind!~"ch.*"}', 'answers{kind!~"ch.*"}: fits no sample'),
        ("sum by (version) (answers)", "by (version)"),
        ("answers and on (version) shares", "on (version)"),
    ],
)
def test_what_is_not_there_is_found_out(expression: str, fault: str) -> None:
    assert find_faults(expression, SAMPLES) == [fault]


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("answers", {"job", "instance", "kind", "status"}),
        ("sum by (kind) (rate(answers[5m])) > 0", {"kind"}),
        ("histogram_quantile(0.9, sum by (kind, le) (rate(answers_bucket[5m])))", {"kind"}),
        ("topk(3, max by (kind, status) (answers))", {"kind", "status"}),
        ("time() - age", {"job", "instance"}),
        ("(sum(answers) or vector(0)) / sum(answers)", set()),
    ],
)
def test_the_labels_of_a_result_are_known(expression: str, labels: set[str]) -> None:
    assert list_result_labels(expression, SAMPLES) == labels
