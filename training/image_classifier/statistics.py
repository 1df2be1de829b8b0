"""What a version of the image classifier has seen."""

from pathlib import Path

import numpy as np
import onnxruntime

from models.distributions import Statistics
from models.manifest import GRAPH_FILE, Manifest
from training.image_classifier.predict import BATCH
from training.images import ImageData
from training.statistics import measure_statistics


def measure(folder: Path, manifest: Manifest, data: ImageData) -> Statistics:
    """The features of the training images, and what the graph says of the test images."""
    session = onnxruntime.InferenceSession(folder / GRAPH_FILE, providers=["CPUExecutionProvider"])
    name, images = manifest.inputs[0].name, data.test.images
    answers = [session.run(None, {name: images[at : at + BATCH]})[0] for at in range(0, len(images), BATCH)]
    return measure_statistics(manifest, ((image,) for image in data.train.images), np.concatenate(answers))
