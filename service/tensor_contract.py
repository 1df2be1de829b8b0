"""The tensors that a manifest must list, where a kind of model decides them."""

from collections.abc import Sequence
from typing import Final

from models.errors import ManifestError
from models.manifest import Manifest

Tensor = tuple[str, str, tuple[int | str, ...]]  # name, dtype, shape

_FIELDS: Final = ("inputs", "outputs")


def check_tensors(manifest: Manifest, inputs: Sequence[Tensor], outputs: Sequence[Tensor], reason: str) -> None:
    """Check that the graph takes ``inputs`` and answers ``outputs``.

    Args:
        manifest: what says so.
        inputs: expected.
        outputs: expected.
        reason: what they are expected by, as in ``the columns``.

    Raises:
        ManifestError: the manifest says otherwise.
    """
    for field, tensors, expected in zip(_FIELDS, (manifest.inputs, manifest.outputs), (inputs, outputs), strict=True):
        found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
        if found != list(expected):
            raise ManifestError(f"manifest.json: {field}: {found}, expected {expected} by {reason}")


def measure_noise(manifest: Manifest) -> int:
    """How many random numbers the graph reads for a row, as ``z``.

    Raises:
        ManifestError: it reads none, or as many as it is given.
    """
    sizes = [tensor.shape[-1] for tensor in manifest.inputs if tensor.name == "z"]
    if not sizes or not isinstance(sizes[0], int):
        raise ManifestError(f"manifest.json: inputs: 'z' has sizes {sizes} in a row, expected a fixed one")
    return sizes[0]
