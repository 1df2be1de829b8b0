"""Small but real models of a table to serve in tests: one predicts its target, one makes up its rows."""

import json
import math
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from pydantic import JsonValue

from models.columns import Column, TablePreprocessing
from models.manifest import Decision, Golden, GoldenExample, GoldenRequest, Manifest, RiskBand
from models.repository import Repository
from tests.versions import OnnxTensor, build_model, make_manifest, specify, write_files

Record = dict[str, Any]

PREDICTOR: Final = "churn"
GENERATOR: Final = "profile_generator"
EPOCH: Final = date(1970, 1, 1)

TABLE: Final = TablePreprocessing(
    columns=(
        Column(name="plan", type="category", categories=("monthly", "yearly", 'two, "years"')),
        Column(name="age", type="number", minimum=18, maximum=90),
        Column(name="senior", type="boolean", categories=("0", "1")),
        Column(name="since", type="date", minimum=10_000, maximum=20_000),
        Column(name="city", type="category", categories=("Ulm", "Köln", "7"), open=True, has_missing=True),
        Column(name="charge", type="number", minimum=0, maximum=120, decimals=2, has_missing=True),
    ),
    target=Column(name="left", type="boolean", categories=("stays", "goes")),
    target_shares=(0.75, 0.25),
    identifier="name",
    dropped={"country": "always the same"},
)
# What the predictor adds for each word; a word that is not here adds nothing.
WEIGHTS: Final = {"monthly": 1.5, "yearly": -0.25, "1": 0.5, "Ulm": -1.0, "Köln": 0.75}
DECISION: Final = Decision(
    threshold=0.4,
    bands=(
        RiskBand(name="low", minimum=0.0),
        RiskBand(name="medium", minimum=0.3),
        RiskBand(name="high", minimum=0.6),
    ),
)
CUSTOMER: Final[Record] = {
    "name": "c-1",
    "plan": "monthly",
    "age": 40,
    "senior": 0,
    "since": "2020-02-29",
    "city": "Ulm",
    "charge": 29.85,
}
NOISE: Final = 6


def expected_log_odds(record: Record) -> float:
    """What the predictor has to say of a row, computed without it; a missing number counts as 0."""
    age = record["age"] or 0
    days = (date.fromisoformat(record["since"]) - EPOCH).days if record["since"] else 0
    words = sum(WEIGHTS.get(str(record[name]), 0.0) for name in ("plan", "senior", "city"))
    return float(0.02 * age - 0.0001 * days + 0.01 * (record["charge"] or 0) + words * (1 - 0.01 * age))


def expected_prediction(record: Record) -> Record:
    """The predictor's answer for a row."""
    probability = 1 / (1 + math.exp(-expected_log_odds(record)))
    return {
        "customer_id": record.get("name"),
        "churn_probability": probability,
        "will_churn": probability >= 0.4,
        "threshold": 0.4,
        "risk": "high" if probability >= 0.6 else "medium" if probability >= 0.3 else "low",
    }


def make_customer(number: int) -> Record:
    """A row that only ``number`` has."""
    generator = np.random.default_rng(number)
    return {
        "name": f"c-{number}",
        "plan": str(generator.choice(TABLE.columns[0].categories)),
        "age": int(generator.integers(18, 91)),
        "senior": int(generator.integers(2)),
        "since": str(EPOCH + timedelta(days=int(generator.integers(10_000, 20_000)))),
        "city": ("Ulm", "Köln", 7, "Bonn", None)[generator.integers(5)],
        "charge": None if generator.random() < 0.1 else round(float(generator.uniform(0, 120)), 2),
    }


def expected_profiles(seed: int, count: int, target: int | None = None) -> list[Record]:
    """What the generator has to make of a seed, computed without it."""
    z = np.random.Generator(np.random.PCG64(seed)).standard_normal((count, NOISE), dtype=np.float32)
    chances = np.random.Generator(np.random.PCG64([seed, 1])).random(count)
    targets = [int(chance < TABLE.target_shares[1]) if target is None else target for chance in chances]
    return [_expected_profile(row, target) for row, target in zip(z, targets, strict=True)]


def _expected_profile(z: NDArray[np.float32], target: int) -> Record:
    age, days, charge = (
        np.array([50, 15_000, 60], np.float32) + np.array([10, 1_000, 20], np.float32) * z[:3]
    ).tolist()
    return {
        "plan": ("monthly", "yearly", 'two, "years"')[int(z[3] > 0) + target],
        "age": round(age),
        "senior": int(z[4] > 0),
        "since": (EPOCH + timedelta(days=round(days))).isoformat(),
        "city": ("Ulm", 7, None)[int(z[5] > 0) + int(z[5] > 1)],
        "charge": None if z[2] > 1 else round(charge, 2),
        "left": ("stays", "goes")[target],
    }


def add_predictor(root: Path, *, golden_shift: float = 0.0, background: object = None, **changes: object) -> Manifest:
    """Add a version that predicts to the models at ``root``.

    Args:
        root: the folder of models.
        golden_shift: is added to the golden probabilities.
        background: what stands in the place of the background.
        changes: of the manifest.
    """

    def write(folder: Path, version: int) -> Manifest:
        rows = [make_customer(1000 + number) for number in range(16)]
        (folder / "background.json").write_text(json.dumps(make_background(rows) if background is None else background))
        customers = [CUSTOMER, make_customer(2)]
        predictions = [expected_prediction(customer) for customer in customers]
        predictions[0]["churn_probability"] += golden_shift
        write_files(folder, _make_predictor(), _make_golden({"customers": customers}, predictions))
        manifest = make_manifest(version, ("stays", "goes"))
        return manifest.model_copy(
            update={
                "kind": PREDICTOR,
                "description": "How likely somebody goes.",
                "inputs": (specify("numbers", "float32", 3), specify("texts", "string", 3)),
                "outputs": (specify("probabilities", "float32", 2), specify("log_odds", "float32", 1)),
                "preprocessing": TABLE,
                "decision": DECISION,
                **changes,
            }
        )

    return Repository(root).add(PREDICTOR, write)


def make_background(rows: list[Record]) -> dict[str, Any]:
    """The background of explanations, as training writes it."""
    numbers = [[row["age"], (date.fromisoformat(row["since"]) - EPOCH).days, row["charge"]] for row in rows]
    texts = [[row["plan"], str(row["senior"]), "" if row["city"] is None else str(row["city"])] for row in rows]
    return {"numbers": numbers, "texts": texts}


def add_generator(root: Path, **changes: object) -> Manifest:
    """Add a version that makes up rows to the models at ``root``."""

    def write(folder: Path, version: int) -> Manifest:
        write_files(folder, _make_generator(), _make_golden({"count": 3, "seed": 7}, expected_profiles(7, 3)))
        manifest = make_manifest(version, ())
        inputs = (specify("z", "float32", NOISE), specify("target", "int64"))
        outputs = (specify("numbers", "float32", 3), specify("texts", "string", 3))
        update = {"kind": GENERATOR, "inputs": inputs, "outputs": outputs, "preprocessing": TABLE, **changes}
        return manifest.model_copy(update=update)

    return Repository(root).add(GENERATOR, write)


def _make_golden(request: object, predictions: list[Record]) -> Golden:
    values: list[JsonValue] = list(predictions)
    example = GoldenExample(request=GoldenRequest.from_json(request), predictions=tuple(values))
    return Golden(tolerance=1e-4, examples=(example,))


def _make_predictor() -> onnx.ModelProto:
    """numbers (batch, 3) and texts (batch, 3) -> probabilities (batch, 2) and log-odds (batch, 1)."""
    constants = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "weights": np.array([[0.02], [-0.0001], [0.01]], np.float32),
        "axis": np.array([1], np.int64),
        "first": np.array([0], np.int64),
        "slope": np.float32(0.01),
    }
    look_up = helper.make_node(
        "LabelEncoder",
        ["texts"],
        ["words"],
        domain="ai.onnx.ml",
        keys_strings=list(WEIGHTS),
        values_floats=list(WEIGHTS.values()),
        default_float=0.0,
    )
    nodes = [
        look_up,
        helper.make_node("ReduceSum", ["words", "axis"], ["word_sum"]),
        helper.make_node("IsNaN", ["numbers"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numbers"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["number_sum"]),
        helper.make_node("Gather", ["known", "first"], ["age"], axis=1),
        helper.make_node("Mul", ["age", "slope"], ["share"]),
        helper.make_node("Sub", ["one", "share"], ["rest"]),
        helper.make_node("Mul", ["word_sum", "rest"], ["word_part"]),
        helper.make_node("Add", ["number_sum", "word_part"], ["log_odds"]),
        helper.make_node("Sigmoid", ["log_odds"], ["goes"]),
        helper.make_node("Sub", ["one", "goes"], ["stays"]),
        helper.make_node("Concat", ["stays", "goes"], ["probabilities"], axis=1),
    ]
    inputs = [("numbers", TensorProto.FLOAT, (3,)), ("texts", TensorProto.STRING, (3,))]
    outputs = [("probabilities", TensorProto.FLOAT, (2,)), ("log_odds", TensorProto.FLOAT, (1,))]
    return build_model(nodes, inputs, outputs, constants)


def _make_generator() -> onnx.ModelProto:
    """z (batch, 6) and target (batch,) -> numbers (batch, 3) and texts (batch, 3)."""
    constants = {
        "scale": np.array([10, 1_000, 20], np.float32),
        "centre": np.array([50, 15_000, 60], np.float32),
        "nan": np.float32(np.nan),
        "zero": np.float32(0),
        "one": np.float32(1),
        # The third number is missing where its noise is above 1.
        "limits": np.array([np.inf, np.inf, 1], np.float32),
        "upper": np.array([np.inf, np.inf, 1], np.float32),
        "numbers_end": np.array([3, 3], np.int64),
        "axis": np.array([1], np.int64),
        "plans": np.array(["monthly", "yearly", 'two, "years"'], object),
        "seniors": np.array(["0", "1"], object),
        "cities": np.array(["Ulm", "7", ""], object),
    }
    nodes = [
        helper.make_node("Split", ["z", "numbers_end"], ["z_numbers", "z_texts"], axis=1),
        helper.make_node("Mul", ["z_numbers", "scale"], ["scaled"]),
        helper.make_node("Add", ["centre", "scaled"], ["values"]),
        helper.make_node("Greater", ["z_numbers", "limits"], ["missing"]),
        helper.make_node("Where", ["missing", "nan", "values"], ["numbers"]),
        helper.make_node("Greater", ["z_texts", "zero"], ["above"]),
        helper.make_node("Cast", ["above"], ["places"], to=TensorProto.INT64),
        helper.make_node("Split", ["places"], ["plan", "senior", "city"], axis=1, num_outputs=3),
        helper.make_node("Unsqueeze", ["target", "axis"], ["target_column"]),
        helper.make_node("Add", ["plan", "target_column"], ["plan_place"]),
        helper.make_node("Greater", ["z_texts", "upper"], ["far_above"]),
        helper.make_node("Cast", ["far_above"], ["more"], to=TensorProto.INT64),
        helper.make_node("Split", ["more"], ["no_plan", "no_senior", "no_city"], axis=1, num_outputs=3),
        helper.make_node("Add", ["city", "no_city"], ["city_place"]),
        helper.make_node("Gather", ["plans", "plan_place"], ["plan_text"]),
        helper.make_node("Gather", ["seniors", "senior"], ["senior_text"]),
        helper.make_node("Gather", ["cities", "city_place"], ["city_text"]),
        helper.make_node("Concat", ["plan_text", "senior_text", "city_text"], ["texts"], axis=1),
    ]
    inputs: list[OnnxTensor] = [("z", TensorProto.FLOAT, (NOISE,)), ("target", TensorProto.INT64, ())]
    outputs = [("numbers", TensorProto.FLOAT, (3,)), ("texts", TensorProto.STRING, (3,))]
    return build_model(nodes, inputs, outputs, constants)
