"""The whole way of rows that are made up: which ones, in which form, and at what cost to others."""

import csv
import io
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from models.columns import ValueProblem, read_value
from models.errors import ManifestError
from models.repository import Repository
from service.kinds.profile_generator import load
from tests.service.clients import leave_early, resident_bytes, send_at_once
from tests.table_versions import (
    CUSTOMER,
    GENERATOR,
    TABLE,
    Record,
    add_generator,
    expected_prediction,
    expected_profiles,
)

COLUMNS = [*(column.name for column in TABLE.columns), TABLE.target.name]
MANY = 100_000


def make(client: httpx.Client, accept: str = "application/json", **members: object) -> httpx.Response:
    answer = client.post("/generate-profiles", json=members, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def profiles_of(answer: httpx.Response) -> list[Record]:
    profiles: list[Record] = answer.json()["profiles"]
    return profiles


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def as_text(profile: Record) -> dict[str, str]:
    """A profile as a table has it."""
    return {name: "" if value is None else str(value) for name, value in profile.items()}


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_seed_gives_its_profiles(table_client: httpx.Client, seed: int, count: int) -> None:
    answer = make(table_client, count=count, seed=seed).json()
    assert answer == {
        "model": "profile_generator",
        "version": "1",
        "seed": seed,
        "profiles": expected_profiles(seed, count),
    }
    assert [list(profile) for profile in answer["profiles"][:1]] == [COLUMNS]


@pytest.mark.parametrize(
    ("word", "target"), [("stays", 0), ("goes", 1), (True, 1), ("GOES", 1), (None, None), ("", None)]
)
def test_the_target_is_as_asked(table_client: httpx.Client, word: object, target: int | None) -> None:
    assert profiles_of(make(table_client, count=70, seed=3, churn=word)) == expected_profiles(3, 70, target)


def test_targets_are_as_frequent_as_in_training(table_client: httpx.Client) -> None:
    goes = sum(profile["left"] == "goes" for profile in profiles_of(make(table_client, count=4000, seed=1)))
    assert goes / 4000 == pytest.approx(TABLE.target_shares[1], abs=0.03)


def test_a_seed_is_drawn_and_named_where_none_is_given(table_client: httpx.Client) -> None:
    first, second = (make(table_client, count=2).json() for _ in range(2))
    assert first["seed"] != second["seed"]
    assert first["seed"] < 2**53
    assert make(table_client, count=2, seed=first["seed"]).json() == first
    as_csv = make(table_client, "text/csv", count=2)
    again = make(table_client, "text/csv", count=2, seed=int(as_csv.headers["x-seed"]))
    assert again.text == as_csv.text


def test_one_profile_is_made_where_no_count_is_given(table_client: httpx.Client) -> None:
    assert profiles_of(make(table_client, seed=5)) == expected_profiles(5, 1)


@pytest.mark.parametrize("count", [1, 64, 500])
def test_a_table_has_a_header_and_the_same_profiles(table_client: httpx.Client, count: int) -> None:
    answer = make(table_client, "text/csv", count=count, seed=11)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.split("\r\n")[0] == ",".join(COLUMNS)
    assert answer.text.endswith("\r\n")
    assert rows_of(answer.text) == [as_text(profile) for profile in expected_profiles(11, count)]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("text/csv, */*", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_form_is_the_one_that_is_accepted(table_client: httpx.Client, accept: str, media_type: str) -> None:
    assert make(table_client, accept, count=1).headers["content-type"].split(";")[0] == media_type


def test_the_way_between_two_seeds_begins_and_ends_at_their_profiles(table_client: httpx.Client) -> None:
    answer = make(table_client, interpolate={"from_seed": 1, "to_seed": 2, "steps": 9}).json()
    assert answer["seed"] is None
    assert len(answer["profiles"]) == 9
    assert [answer["profiles"][0], answer["profiles"][-1]] == [expected_profiles(seed, 1)[0] for seed in (1, 2)]
    ages = [profile["age"] for profile in answer["profiles"]]
    steps = [abs(one - other) for one, other in pairwise(ages)]
    assert max(steps) < 12


def test_the_way_has_the_target_that_is_asked_for(table_client: httpx.Client) -> None:
    way = {"from_seed": 1, "to_seed": 2, "steps": 130}
    profiles = profiles_of(make(table_client, interpolate=way, churn="goes"))
    assert {profile["left"] for profile in profiles} == {"goes"}
    assert len(rows_of(make(table_client, "text/csv", interpolate=way).text)) == 130


@pytest.mark.parametrize(
    ("request_", "location"),
    [
        ({"count": 0}, "count"),
        ({"count": 100_001}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": "1"}, "count"),
        ({"count": True}, "count"),
        ({"count": 10**30}, "count"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"churn": "perhaps"}, "churn"),
        ({"churn": 7}, "churn"),
        ({"colour": 1}, "colour"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 1}}, "interpolate.steps"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 100_001}}, "interpolate.steps"),
        ({"interpolate": {"from_seed": 1, "steps": 2}}, "interpolate.to_seed"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}, "count": 3}, "interpolate"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}, "seed": 3}, "interpolate"),
    ],
)
def test_what_cannot_be_made_is_named_with_its_place(
    table_client: httpx.Client, request_: Record, location: str
) -> None:
    answer = table_client.post("/generate-profiles", json=request_, headers={"accept": "text/csv"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["location"] == location


@pytest.mark.parametrize("content", [b"", b"{", b'{"count": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(table_client: httpx.Client, content: bytes) -> None:
    answer = table_client.post("/generate-profiles", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_profiles_are_customers(table_client: httpx.Client) -> None:
    profiles = profiles_of(make(table_client, count=640, seed=2))
    for start in range(0, 640, 64):
        customers = profiles[start : start + 64]
        answer = table_client.post("/predict-churn", json={"customers": customers})
        assert answer.status_code == 200, answer.text
        for customer, prediction in zip(customers, answer.json()["predictions"], strict=True):
            expected = expected_prediction(customer)["churn_probability"]
            assert prediction["churn_probability"] == pytest.approx(expected, abs=1e-5)


def test_profiles_are_read_as_what_they_are(table_client: httpx.Client) -> None:
    for row in rows_of(make(table_client, "text/csv", count=300, seed=9).text):
        for column in (*TABLE.columns, TABLE.target):
            try:
                read_value(column, row[column.name])
            except ValueProblem as problem:
                pytest.fail(f"{column.name}: {problem}")


def test_64_clients_get_exactly_their_own_profiles(table_server: str) -> None:
    async def send(client: httpx.AsyncClient, number: int) -> None:
        count = 500 if number % 8 == 0 else 1 + number % 13
        accept = "text/csv" if number % 3 else "application/json"
        answer = await client.post(
            "/generate-profiles", json={"count": count, "seed": number}, headers={"accept": accept}
        )
        expected = expected_profiles(number, count)
        if number % 3:
            assert rows_of(answer.text) == [as_text(profile) for profile in expected]
        else:
            assert answer.json()["profiles"] == expected

    send_at_once(table_server, 64, send)


@pytest.mark.parametrize("accept", ["text/csv", "application/json"])
def test_many_profiles_come_with_flat_memory_while_others_are_answered(
    table_client: httpx.Client, table_server: str, accept: str
) -> None:
    make(table_client, accept, count=2000, seed=3)
    before = resident_bytes(table_client)
    most, waits, size = before, [], 0
    with (
        httpx.Client(base_url=table_server, timeout=60) as other,
        table_client.stream(
            "POST", "/generate-profiles", json={"count": MANY, "seed": 3}, headers={"accept": accept}
        ) as answer,
    ):
        assert "content-length" not in answer.headers
        for number, chunk in enumerate(answer.iter_bytes(65_536)):
            size += len(chunk)
            if number % 20 == 0:
                began = time.perf_counter()
                assert other.post("/predict-churn", json={"customers": [CUSTOMER]}).status_code == 200
                waits.append(time.perf_counter() - began)
                most = max(most, resident_bytes(other))
    assert size > 30 * MANY
    assert len(waits) > 3
    assert sorted(waits)[len(waits) // 2] < 0.2
    assert most - before < 8 * 2**20


def test_as_many_profiles_as_there_may_be_are_those_of_the_seed(table_client: httpx.Client) -> None:
    rows = rows_of(make(table_client, "text/csv", count=MANY, seed=13).text)
    assert len(rows) == MANY
    expected = expected_profiles(13, MANY)
    for place in (0, 1, 64, 99, 5_000, 77_777, MANY - 1):
        assert rows[place] == as_text(expected[place])


def test_a_client_that_goes_away_stops_the_work(table_client: httpx.Client) -> None:
    made = leave_early(table_client, "/generate-profiles", {"count": MANY, "seed": 1}, GENERATOR)
    assert 0 < made < MANY


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": ()},
        {"outputs": ()},
        {"preprocessing": TABLE.model_copy(update={"columns": TABLE.columns[:-1]})},
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    manifest = add_generator(tmp_path).model_copy(update=change)
    with pytest.raises(ManifestError, match=r"manifest\.json: (inputs|outputs): "):
        load(Repository(tmp_path).folder(GENERATOR, 1), manifest)
