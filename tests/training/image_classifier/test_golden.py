"""Golden examples of a small trained network, answered a second way."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.image import ImagePreprocessing, fit_image
from models.manifest import Golden, GoldenExample
from tests.training.image_classifier.samples import LABELS, encode_png, learn, load_samples
from training.export import export_graph
from training.image_classifier.golden import golden_examples

PREPROCESSING = ImagePreprocessing(height=32, width=32, channels=3)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_graph(learn().served, {"images": torch.from_numpy(learn().test.images[:2])}, ["probabilities"], path)
    return path


@pytest.fixture(scope="module")
def golden(graph: Path) -> Golden:
    return golden_examples(graph, LABELS, PREPROCESSING, [encode_png(image) for image in load_samples().images])


def images_of(example: GoldenExample) -> list[bytes]:
    body = base64.b64decode(example.request.body, validate=True)
    if example.request.content_type == "application/json":
        return [base64.b64decode(image, validate=True) for image in json.loads(body)["images"]]
    return [body]


def predictions_of(example: GoldenExample) -> list[dict[str, Any]]:
    return [dict(prediction) for prediction in example.predictions if isinstance(prediction, dict)]


def pixels_of(encoded: bytes) -> NDArray[np.uint8]:
    """As another decoder reads the image."""
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    return fit_image(decoded.astype(np.uint8), PREPROCESSING)


def test_another_decoder_and_batches_of_one_get_the_same_predictions(golden: Golden, graph: Path) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for example in golden.examples:
        images = images_of(example)
        assert len(images) == len(example.predictions)
        for image, prediction in zip(images, predictions_of(example), strict=True):
            (probabilities,) = session.run(None, {"images": pixels_of(image)[np.newaxis]})[0]
            top = prediction["top"]
            assert len(top) == int(example.request.query.get("top_k", 5))
            order = np.argsort(-probabilities)[: len(top)]
            assert [item["label"] for item in top] == [LABELS[index] for index in order]
            found = [item["probability"] for item in top]
            np.testing.assert_allclose(found, probabilities[order], atol=golden.tolerance / 100)
            assert {"label": prediction["label"], "probability": prediction["probability"]} == top[0]


def test_there_is_every_way_to_ask(golden: Golden) -> None:
    types = [example.request.content_type for example in golden.examples]
    assert set(types) == {"image/png", "application/json"}
    assert {example.request.query.get("top_k") for example in golden.examples} == {None, "2", "10"}
    assert max(len(example.predictions) for example in golden.examples) > 1
    sizes = {Image.open(io.BytesIO(image)).size for example in golden.examples for image in images_of(example)}
    assert sizes == {(32, 32), (150, 99)}


def test_rankings_do_not_hang_on_the_last_bits(golden: Golden) -> None:
    for example in golden.examples:
        for prediction in predictions_of(example):
            probabilities = [item["probability"] for item in prediction["top"]]
            assert (np.diff(np.log(probabilities)) < -0.01).all()


def test_the_examples_are_of_several_classes(golden: Golden) -> None:
    assert len({prediction["label"] for example in golden.examples for prediction in predictions_of(example)}) > 3


def test_the_same_images_give_the_same_examples(golden: Golden, graph: Path) -> None:
    again = golden_examples(graph, LABELS, PREPROCESSING, [encode_png(image) for image in load_samples().images])
    assert again == golden


def test_one_image_is_enough(graph: Path) -> None:
    golden = golden_examples(graph, LABELS, PREPROCESSING, [encode_png(load_samples().images[0])])
    assert len(golden.examples) == 4


def test_what_is_no_image_is_refused(graph: Path) -> None:
    with pytest.raises(UnidentifiedImageError):
        golden_examples(graph, LABELS, PREPROCESSING, [b"no image"])
