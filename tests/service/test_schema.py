"""The description is complete and true: what it promises is what the service does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import VERSION
from tests.conftest import ROOT
from tests.picture_versions import LABELS
from tests.service.test_classify import PNG
from tests.table_versions import TABLE

Description = dict[str, Any]


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> Description:
    content: Description = client.get("/docs.json").json()
    return content


def find_references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for entry in value.values():
            yield from find_references(entry)
    if isinstance(value, list):
        for entry in value:
            yield from find_references(entry)


def test_it_is_openapi_of_this_version(description: Description) -> None:
    assert description["openapi"] == "3.1.0"
    assert description["info"]["version"] == VERSION
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()


def test_every_reference_leads_somewhere(description: Description) -> None:
    references = set(find_references(description))
    assert references
    for reference in references:
        root, folder, kind, name = reference.split("/")
        assert (root, folder, kind) == ("#", "components", "schemas")
        assert name in description["components"]["schemas"]


def test_every_route_is_described(description: Description) -> None:
    assert set(description["paths"]) == {
        "/classify",
        "/predict-churn",
        "/generate-image",
        "/generate-profiles",
        "/analyze-sentiment",
        "/models",
        "/models/{kind}",
        "/livez",
        "/readyz",
        "/metrics",
        "/docs.json",
        "/",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}",
        "/v2/models/{model}/versions/{version}/ready",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/repository/index",
        "/v2/repository/models/{kind}/load",
        "/v2/repository/models/{kind}/unload",
        "/admin/models/{kind}",
        "/admin/models/{kind}/rollback",
    }


def test_every_operation_says_what_it_answers(description: Description) -> None:
    names = set()
    for path in description["paths"].values():
        for operation in path.values():
            names.add(operation["operationId"])
            assert operation["summary"]
            assert operation["tags"]
            for status, response in operation["responses"].items():
                assert response["description"], status
                assert "X-Request-Id" in response["headers"]
                assert response["content"]
                if status != "200":
                    assert set(response["content"]) == {"application/problem+json"}
    assert len(names) == sum(len(path) for path in description["paths"].values())


def test_every_route_that_can_be_read_is_there(description: Description, client: httpx.Client) -> None:
    for path, operations in description["paths"].items():
        if "get" in operations:
            answer = client.get(path.format(kind="image_classifier", model="image_classifier", version="1"))
            assert answer.status_code == 200
            assert answer.headers["content-type"].split(";")[0] in operations["get"]["responses"]["200"]["content"]


def test_classify_is_described_with_its_bodies_queries_errors_and_an_example(description: Description) -> None:
    operation = description["paths"]["/classify"]["post"]
    assert {"image/png", "image/jpeg", "multipart/form-data", "application/json"} < set(
        operation["requestBody"]["content"]
    )
    names = [parameter["name"] for parameter in operation["parameters"]]
    assert names == ["version", "top_k", "X-Request-Id", "X-Request-Timeout"]
    assert operation["parameters"][1]["schema"] == {"type": "integer", "minimum": 1}
    errors = {"400", "401", "403", "404", "405", "413", "415", "422", "429", "503", "504"}
    assert set(operation["responses"]) == {"200", *errors}
    assert "Retry-After" in operation["responses"]["503"]["headers"]


def test_the_example_answer_is_a_real_one(description: Description, client: httpx.Client) -> None:
    example = description["paths"]["/classify"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    answer = client.post("/classify?top_k=2", content=PNG, headers={"content-type": "image/png"}).json()
    assert example.keys() == answer.keys()
    assert example["predictions"][0].keys() == answer["predictions"][0].keys()
    assert (example["model"], example["version"]) == (answer["model"], answer["version"])


def test_the_example_request_is_answered(description: Description, client: httpx.Client) -> None:
    schemas = description["components"]["schemas"]
    example = schemas["ImageClassifierRequest"]["properties"]["images"]["examples"][0]
    assert client.post("/classify", json={"images": example}).status_code == 200


def test_the_description_holds_nothing_of_the_server(description: Description, models: Path) -> None:
    assert str(models) not in str(description)


@pytest.fixture(scope="module")
def table_description(table_client: httpx.Client) -> Description:
    content: Description = table_client.get("/docs.json").json()
    return content


def find_schema(description: Description, schema: Description, *path: str) -> Description:
    """What ``path`` leads to, by members and references."""
    for name in path:
        if "$ref" in schema:
            schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        schema = schema[name]
    return schema


def body_of(operation: Description) -> Description:
    content: Description = operation["requestBody"]["content"]["application/json"]
    return content


def answers_of(operation: Description) -> Description:
    content: Description = operation["responses"]["200"]["content"]
    return content


def test_a_customer_has_the_columns_of_the_model_that_serves(table_description: Description) -> None:
    operation = table_description["paths"]["/predict-churn"]["post"]
    row = find_schema(table_description, body_of(operation)["schema"], "properties", "customers", "items")
    assert row["required"] == [column.name for column in TABLE.columns]
    assert set(row["properties"]) == {*row["required"], "name", "left", "country"}
    assert row["additionalProperties"] is False
    properties = row["properties"]
    assert properties["plan"] == {"enum": ["monthly", "yearly", 'two, "years"', None]}
    assert properties["senior"] == {"enum": [0, 1, None]}
    assert properties["city"]["examples"] == ["Ulm", "Köln", 7]
    assert properties["age"]["type"] == ["number", "null"]
    assert properties["age"]["description"] == "Seen in training: 18 to 90."
    assert properties["since"]["format"] == "date"
    assert "always the same" in properties["country"]["description"]


def test_a_profile_has_the_columns_of_the_model_that_serves(table_description: Description) -> None:
    operation = table_description["paths"]["/generate-profiles"]["post"]
    row = find_schema(
        table_description, answers_of(operation)["application/json"]["schema"], "properties", "profiles", "items"
    )
    assert row["required"] == list(row["properties"]) == [*(column.name for column in TABLE.columns), "left"]
    target = find_schema(table_description, body_of(operation)["schema"], "properties", "churn")
    assert target["enum"] == ["stays", "goes", None]
    assert target["description"]
    assert set(answers_of(operation)) == {"application/json", "text/csv"}


@pytest.mark.parametrize("path", ["/predict-churn", "/generate-profiles"])
def test_the_examples_of_tables_are_real_requests_with_their_answers(
    table_description: Description, table_client: httpx.Client, path: str
) -> None:
    operation = table_description["paths"][path]["post"]
    for media_type, content in answers_of(operation).items():
        answer = table_client.post(path, json=body_of(operation)["example"], headers={"accept": media_type})
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == media_type
        if media_type == "application/json":
            assert answer.json().keys() == content["example"].keys()
        else:
            assert answer.text == content["example"]


def test_every_reference_of_tables_leads_somewhere(table_description: Description) -> None:
    names = {reference.rpartition("/")[2] for reference in find_references(table_description)}
    assert names <= set(table_description["components"]["schemas"])


def test_without_a_model_its_route_is_described_all_the_same(description: Description) -> None:
    for path in ("/predict-churn", "/generate-image", "/generate-profiles", "/analyze-sentiment"):
        operation = description["paths"][path]["post"]
        assert operation["description"] == "No version of this model is loaded."
        assert "example" not in body_of(operation)


def test_images_are_described_with_their_labels_forms_and_examples(picture_client: httpx.Client) -> None:
    description: Description = picture_client.get("/docs.json").json()
    operation = description["paths"]["/generate-image"]["post"]
    request = find_schema(description, body_of(operation)["schema"], "properties")
    assert request["label"]["enum"] == [*LABELS, None]
    assert set(request) == {"count", "seed", "interpolate", "label", "truncation"}
    answers = answers_of(operation)
    assert answers["image/png"] == {"schema": {"type": "string", "contentMediaType": "image/png"}}
    image = find_schema(description, answers["application/json"]["schema"], "properties", "images", "items")
    assert find_schema(description, image, "properties", "png")["contentEncoding"] == "base64"
    example = answers["application/json"]["example"]
    assert picture_client.post("/generate-image", json=body_of(operation)["example"]).json() == example
    assert operation["responses"]["200"]["headers"]["X-Seed"]["schema"]["type"] == "integer"
    names = {reference.rpartition("/")[2] for reference in find_references(description)}
    assert names <= set(description["components"]["schemas"])
