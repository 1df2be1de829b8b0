"""The description tells of keys, limits and time-outs."""

import httpx

from service.gate import PROBES


def test_every_route_but_the_probes_tells_of_keys_and_limits(client: httpx.Client) -> None:
    document = client.get("/docs.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    assert {} in document["security"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            refusals = {"401", "403", "429"} & set(operation["responses"])
            assert refusals == (set() if path in PROBES else {"401", "403", "429"}), (path, method)
    responses = document["paths"]["/classify"]["post"]["responses"]
    assert "Retry-After" in responses["429"]["headers"]
    assert "WWW-Authenticate" in responses["401"]["headers"]


def test_predictions_take_a_time_out(client: httpx.Client) -> None:
    paths = client.get("/docs.json").json()["paths"]
    for path in ("/classify", "/v2/models/{model}/infer"):
        names = [parameter["name"] for parameter in paths[path]["post"]["parameters"]]
        assert names.count("X-Request-Timeout") == 1
