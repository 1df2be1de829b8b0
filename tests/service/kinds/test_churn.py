"""The whole way of rows of a table: what is said of them, why, and what is wrong with those that are refused."""

import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import ArtifactError, ManifestError
from models.repository import Repository
from service.kinds.churn import load
from tests.service.clients import send_at_once
from tests.table_versions import (
    CUSTOMER,
    DECISION,
    PREDICTOR,
    TABLE,
    Record,
    add_predictor,
    expected_log_odds,
    expected_prediction,
    make_background,
    make_customer,
)

CLIENTS = 64


def ask(client: httpx.Client, *customers: object, **members: object) -> httpx.Response:
    return client.post("/predict-churn", json={"customers": customers, **members})


def check_predictions(answer: httpx.Response, customers: list[Record]) -> None:
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert (content["model"], content["version"]) == ("churn", "1")
    expected = [expected_prediction(customer) for customer in customers]
    for prediction, wanted in zip(content["predictions"], expected, strict=True):
        assert prediction == wanted | {"churn_probability": pytest.approx(wanted["churn_probability"], abs=1e-6)}


def check_problems(answer: httpx.Response, **messages: str) -> None:
    """The problems of the first customer, by column."""
    assert answer.status_code == 422, answer.text
    found = {entry["location"]: entry["message"] for entry in answer.json()["errors"]}
    assert found == {f"customers[0].{column}": message for column, message in messages.items()}


@pytest.mark.parametrize("count", [1, 2, 64])
def test_every_customer_gets_its_prediction_in_order(table_client: httpx.Client, count: int) -> None:
    customers = [make_customer(number) for number in range(count)]
    check_predictions(ask(table_client, *customers), customers)


def test_a_customer_has_one_prediction_whatever_else_is_asked(table_client: httpx.Client) -> None:
    customers = [make_customer(number) for number in range(64)]
    together = ask(table_client, *customers).json()["predictions"]
    alone = [ask(table_client, customer).json()["predictions"][0] for customer in customers]
    for one, other in zip(together, alone, strict=True):
        assert one == other | {"churn_probability": pytest.approx(other["churn_probability"], abs=1e-6)}


@pytest.mark.parametrize(
    "change",
    [
        {"age": "40"},
        {"age": 40.0},
        {"senior": "0"},
        {"senior": False},
        {"senior": 0.0},
        {"since": "2020-02-29T12:30:00"},
        {"plan": " monthly "},
        {"left": "goes"},
        {"left": None},
        {"left": ["whatever"]},
        {"country": "DE"},
    ],
)
def test_what_means_the_same_is_answered_the_same(table_client: httpx.Client, change: Record) -> None:
    check_predictions(ask(table_client, CUSTOMER | change), [CUSTOMER])


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_null_and_blank_are_missing_values(table_client: httpx.Client, nothing: str | None) -> None:
    missing = dict.fromkeys(("age", "since", "charge", "plan", "city", "senior"), nothing)
    check_predictions(ask(table_client, CUSTOMER | missing), [CUSTOMER | dict.fromkeys(missing)])


def test_an_open_column_takes_values_that_training_has_not_seen(table_client: httpx.Client) -> None:
    check_predictions(ask(table_client, CUSTOMER | {"city": "Nirgendwo 🦄"}), [CUSTOMER | {"city": "Nirgendwo"}])


@pytest.mark.parametrize("name", ["a", 17, None, ""])
def test_the_identifier_comes_back_as_it_was_sent(table_client: httpx.Client, name: object) -> None:
    assert ask(table_client, CUSTOMER | {"name": name}).json()["predictions"][0]["customer_id"] == name


def test_the_identifier_need_not_be_sent(table_client: httpx.Client) -> None:
    customer = {key: value for key, value in CUSTOMER.items() if key != "name"}
    check_predictions(ask(table_client, customer), [customer])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": "Weekly"}, "'Weekly' is none of 'monthly', 'yearly', 'two, \"years\"'"),
        ({"plan": 3}, "3 is none of"),
        ({"plan": ["monthly"]}, "a list is no category"),
        ({"plan": {}}, "an object is no category"),
        ({"age": "old"}, "'old' is no number"),
        ({"age": True}, "true is no number"),
        ({"age": [1]}, "a list is no number"),
        ({"age": 1e39}, "1e+39 is no number"),
        ({"age": "NaN"}, "'NaN' is no number"),
        ({"age": "-Infinity"}, "'-Infinity' is no number"),
        ({"senior": 2}, "2 is none of"),
        ({"senior": "perhaps"}, "'perhaps' is none of '0', '1', true, false"),
        ({"since": "yesterday"}, "'yesterday' is no date like '2026-11-21'"),
        ({"since": 20}, "20 is no date like '2026-11-21'"),
        ({"name": ["a"]}, "is no text and no number"),
        ({"name": True}, "is no text and no number"),
        ({"plna": 1}, "unknown, did you mean 'plan'?"),
        ({"x": 1}, "unknown, the model has no such column"),
    ],
)
def test_what_a_column_cannot_be_is_named_with_its_place(
    table_client: httpx.Client, change: Record, message: str
) -> None:
    answer = ask(table_client, CUSTOMER, CUSTOMER | change)
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["errors"]
    assert problem["location"] == f"customers[1].{next(iter(change))}"
    assert problem["message"].startswith(message)


def test_a_column_that_is_not_there_is_named(table_client: httpx.Client) -> None:
    check_problems(
        ask(table_client, {key: value for key, value in CUSTOMER.items() if key not in ("age", "plan")}),
        age="missing; null says that there is no value",
        plan="missing; null says that there is no value",
    )


def test_all_problems_of_all_customers_are_named_up_to_a_limit(table_client: httpx.Client) -> None:
    broken = CUSTOMER | {"age": "old", "plan": "Weekly"}
    answer = ask(table_client, broken, CUSTOMER, broken)
    places = [entry["location"] for entry in answer.json()["errors"]]
    assert places == [f"customers[{index}].{column}" for index in (0, 2) for column in ("plan", "age")]
    assert len(ask(table_client, *[broken] * 64).json()["errors"]) == 20
    many = {f"column {number}": number for number in range(5000)}
    assert len(ask(table_client, CUSTOMER | many).json()["errors"]) == 20


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"customers": [{"age": NaN}]}', 400),
        (b'{"customers": [{"age": -Infinity}]}', 400),
        (b'{"customers": [{"age": 1e400}]}', 400),
        (b'{"customers": [{"age": "\\ud800"}]}', 400),
        (b"[" * 100_000, 400),
        (b'{"customers": ' + b"[" * 1000 + b"]" * 1000 + b"}", 422),
        (json.dumps({"customers": [CUSTOMER]}).encode().replace(b"40", b"[" * 1000 + b"]" * 1000), 422),
        (b"[]", 422),
        (b"7", 422),
        (b"{}", 422),
        (b'{"customers": []}', 422),
        (b'{"customers": [7]}', 422),
        (b'{"customers": {}}', 422),
        (b'{"customers": [{}], "explain": 1}', 422),
        (b'{"customers": [{}], "other": 1}', 422),
        (json.dumps({"customers": [CUSTOMER] * 65}).encode(), 422),
        (json.dumps({"customers": [CUSTOMER | {"age": 10**18}]}).encode(), 200),
        (json.dumps({"customers": [CUSTOMER | {"age": 10**25}]}).encode(), 200),
        (json.dumps({"customers": [CUSTOMER | {"age": 10**400}]}).encode(), 400),
        (json.dumps({"customers": [CUSTOMER]}).replace('"age": 40', '"age": 99, "age": 40').encode(), 200),
    ],
)
def test_a_body_that_is_none_is_refused_and_an_odd_one_is_answered(
    table_client: httpx.Client, content: bytes, status: int
) -> None:
    answer = table_client.post("/predict-churn", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()


def test_of_a_column_that_is_sent_twice_the_last_counts(table_client: httpx.Client) -> None:
    content = json.dumps({"customers": [CUSTOMER]}).replace('"age": 40', '"age": 99, "age": 40')
    answer = table_client.post("/predict-churn", content=content, headers={"content-type": "application/json"})
    check_predictions(answer, [CUSTOMER])


def test_64_clients_get_exactly_their_own_answers(table_server: str) -> None:
    async def send(client: httpx.AsyncClient, number: int) -> None:
        for step in range(3):
            customers = [make_customer(100 * number + 10 * step + place) for place in range(1 + (number + step) % 5)]
            explain = (number + step) % 8 == 0
            if (number + step) % 4 == 3:
                customers[-1]["age"] = f"{number}.{step}?"
            answer = await client.post("/predict-churn", json={"customers": customers, "explain": explain})
            if (number + step) % 4 == 3:
                assert answer.status_code == 422
                assert f"'{number}.{step}?' is no number" in answer.json()["detail"]
            elif explain:
                assert [customer["name"] for customer in customers] == [
                    prediction["customer_id"] for prediction in answer.json()["predictions"]
                ]
                for customer, prediction in zip(customers, answer.json()["predictions"], strict=True):
                    check_explanation(prediction, customer)
            else:
                check_predictions(answer, customers)

    send_at_once(table_server, CLIENTS, send)


def check_explanation(prediction: dict[str, Any], customer: Record) -> None:
    factors = prediction["factors"]
    total = prediction["baseline_log_odds"] + sum(factor["log_odds"] for factor in factors)
    assert total == pytest.approx(expected_log_odds(customer), abs=1e-5)
    probability = prediction["churn_probability"]
    assert total == pytest.approx(math.log(probability / (1 - probability)), abs=1e-3)
    assert {factor["feature"]: factor["value"] for factor in factors} == {
        column.name: customer[column.name] for column in TABLE.columns
    }
    sizes = [abs(factor["log_odds"]) for factor in factors]
    assert sizes == sorted(sizes, reverse=True)


def test_an_explanation_adds_up_to_the_prediction(table_client: httpx.Client) -> None:
    customers = [make_customer(number) for number in range(8)]
    predictions = ask(table_client, *customers, explain=True).json()["predictions"]
    plain = ask(table_client, *customers).json()["predictions"]
    for customer, prediction, without in zip(customers, predictions, plain, strict=True):
        check_explanation(prediction, customer)
        assert prediction.items() >= without.items()
    assert len({prediction["baseline_log_odds"] for prediction in predictions}) == 1


def test_an_explanation_says_the_same_again(table_client: httpx.Client) -> None:
    first, second = (ask(table_client, CUSTOMER, explain=True).json() for _ in range(2))
    assert first == second


def test_a_column_that_the_model_does_not_use_explains_nothing(table_client: httpx.Client) -> None:
    customer = CUSTOMER | {"city": "Nirgendwo"}
    alike = [customer | {"city": city} for city in ("Nirgendwo", "Anderswo")]
    factors = [
        {factor["feature"]: factor["log_odds"] for factor in prediction["factors"]}
        for prediction in ask(table_client, *alike, explain=True).json()["predictions"]
    ]
    assert factors[0] == pytest.approx(factors[1])


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("stays", "leaves")},
        {"decision": None},
        {"inputs": ()},
        {"outputs": ()},
        {"preprocessing": TABLE.model_copy(update={"columns": TABLE.columns[:-1]})},
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    manifest = add_predictor(tmp_path).model_copy(update=change)
    with pytest.raises(ManifestError, match=r"manifest\.json: (inputs|outputs|labels|decision): "):
        load(Repository(tmp_path).folder(PREDICTOR, 1), manifest)


GOOD = make_background([make_customer(1), make_customer(2)])


@pytest.mark.parametrize(
    "background",
    [
        {},
        [],
        {"numbers": GOOD["numbers"]},
        {"numbers": [], "texts": []},
        {"numbers": GOOD["numbers"][:1], "texts": GOOD["texts"]},
        {"numbers": [row[1:] for row in GOOD["numbers"]], "texts": GOOD["texts"]},
        {"numbers": [["a", "b", "c"]], "texts": GOOD["texts"][:1]},
        {"numbers": 3, "texts": 4},
    ],
)
def test_a_background_that_is_none_is_refused(tmp_path: Path, background: object) -> None:
    manifest = add_predictor(tmp_path, background=background)
    with pytest.raises(ArtifactError, match=r"background\.json: "):
        load(Repository(tmp_path).folder(PREDICTOR, 1), manifest)


def test_a_manifest_of_this_kind_is_taken(tmp_path: Path) -> None:
    assets = load(Repository(tmp_path).folder(PREDICTOR, 1), add_predictor(tmp_path))
    assert assets.threshold == DECISION.threshold


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(["monthly", "Ulm"])
)
NAMES = st.sampled_from([*CUSTOMER, "left", "country", "customers", "explain", ""])
ANYTHING = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=9))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=ANYTHING
    | st.builds(lambda rows: {"customers": rows}, st.lists(st.dictionaries(NAMES, ANYTHING), max_size=3))
)
def test_no_json_brings_about_a_fault(table_client: httpx.Client, content: object) -> None:
    body = json.dumps(content).encode()
    answer = table_client.post("/predict-churn", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text
    assert answer.json()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(st.sampled_from(list(CUSTOMER)), VALUES, min_size=1, max_size=3))
def test_no_value_brings_about_a_fault(table_client: httpx.Client, change: Record) -> None:
    body = json.dumps({"customers": [CUSTOMER, CUSTOMER | change], "explain": True}).encode()
    answer = table_client.post("/predict-churn", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text
    assert answer.json()
