"""From a torch module to one ONNX file, checked, and to a version in the repository. For every kind.

A served graph is one file of standard operators, with a first dimension ``batch`` on every input
and output, weights as plain initialisers and nothing left that could be computed once. Whatever is
not so raises :class:`~training.errors.ExportError`, and then no version is written.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxscript import ir
from torch import Tensor, nn

from models.manifest import GRAPH_FILE, DType, Manifest, TensorSpec, verify_graph
from models.repository import Repository
from training.errors import ExportError
from training.folding import fold_arithmetic

# 20 has Gelu as one operator; 21 to 23 add nothing that these graphs use, and ONNX Runtime ran 20 and 23 equally fast.
OPSET = 20
STANDARD_DOMAINS = ("", "ai.onnx.ml")
MIN_PARITY_SAMPLES = 256

_NO_DIMENSIONS: Mapping[str, Mapping[int, str]] = MappingProxyType({})
_DTYPES: Mapping[int, DType] = MappingProxyType(
    {
        onnx.TensorProto.BOOL: "bool",
        onnx.TensorProto.UINT8: "uint8",
        onnx.TensorProto.INT32: "int32",
        onnx.TensorProto.INT64: "int64",
        onnx.TensorProto.FLOAT16: "float16",
        onnx.TensorProto.FLOAT: "float32",
        onnx.TensorProto.DOUBLE: "float64",
        onnx.TensorProto.STRING: "string",
    }
)


def export_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    output_names: Sequence[str],
    path: Path,
    dynamic_dimensions: Mapping[str, Mapping[int, str]] = _NO_DIMENSIONS,
) -> None:
    """Write ``module`` as one ONNX file.

    Args:
        module: on the CPU, in evaluation mode; ``forward`` takes tensors by the names of ``inputs``. After a
            permutation it calls ``contiguous``, which leaves no trace in the graph but keeps pooling plain.
        inputs: an example of each input, (batch, ...) with a batch of two or more.
        output_names: a name for each tensor that ``forward`` returns.
        path: where to write.
        dynamic_dimensions: by input, further dimensions that vary, with their names (a text's ``sequence``).

    Raises:
        ExportError: the graph is not what this module's description promises.
    """
    _check_exportable(module, inputs)
    shapes = {name: {0: "batch", **dynamic_dimensions.get(name, {})} for name in inputs}
    # From weights in channels-last memory the exporter makes a global pooling a gather by computed places.
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        # Of the second input and on: that its first dimension is the first input's, which is what is meant.
        warnings.filterwarnings("ignore", message="# The axis name: batch will not be used", category=UserWarning)
        program = torch.onnx.export(
            plain,
            kwargs=dict(inputs),
            output_names=list(output_names),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            verbose=False,
        )
    if program is None:  # the older exporter's answer, by its type
        raise ExportError("torch.onnx.export answered no program, expected one from its dynamo exporter")
    model = _clean(program.model)
    fold_arithmetic(model.graph)
    model = _clean(ir.from_proto(_fold_constants(ir.to_proto(_clean(model)))))
    ir.save(model, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    check_graph(path, {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in inputs.items()}, output_names)


def check_graph(path: Path, inputs: Mapping[str, str], output_names: Sequence[str]) -> None:
    """Check that the graph at ``path`` has standard operators alone, and these inputs and outputs, batch first.

    Args:
        path: the graph.
        inputs: the dtype of each input by its name, in the graph's order.
        output_names: in the graph's order.

    Raises:
        ExportError: it has others.
    """
    for node in onnx.load(path).graph.node:
        if node.domain not in STANDARD_DOMAINS:
            raise ExportError(f"{path}: operator {node.domain}.{node.op_type}, expected standard operators only")
    found_inputs, found_outputs = tensor_specs(path)
    found = {spec.name: spec.dtype for spec in found_inputs}
    if list(found.items()) != list(inputs.items()):
        raise ExportError(f"{path}: inputs are {found}, expected {dict(inputs)}")
    if [spec.name for spec in found_outputs] != list(output_names):
        names = [spec.name for spec in found_outputs]
        raise ExportError(f"{path}: outputs are {names}, expected {list(output_names)}")
    for spec in (*found_inputs, *found_outputs):
        if not spec.shape or spec.shape[0] != "batch":
            raise ExportError(f"{path}: '{spec.name}' has shape {list(spec.shape)}, expected 'batch' first")


def check_parity(
    module: nn.Module,
    path: Path,
    samples: Mapping[str, Tensor],
    batch_sizes: Sequence[int] = (1, 2, 7, 64),
    tolerance: float = 1e-5,
) -> float:
    """Compare the graph at ``path`` with ``module`` on ``samples``, once through for each batch size.

    The module's answers are computed once, so this also shows that an answer does not depend on its batch.

    Args:
        module: as it was exported.
        path: the graph.
        samples: each input, (samples, ...), 256 samples or more.
        batch_sizes: how many samples go into one run; the last run takes what is left.
        tolerance: the largest absolute difference allowed. Outputs that are no floats must be equal.

    Returns:
        The largest absolute difference.

    Raises:
        ExportError: too few samples, or a difference above ``tolerance``.
    """
    count = len(next(iter(samples.values())))
    if count < MIN_PARITY_SAMPLES:
        raise ExportError(f"{path}: parity on {count} samples, expected at least {MIN_PARITY_SAMPLES}")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = _run_module(module, samples, max(batch_sizes))
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for size in batch_sizes:
        found = _run_session(session, samples, size)
        for name, want, have in zip(names, expected, found, strict=True):
            worst = max(worst, _difference(f"{path}: {name} at batch size {size}", want, have, tolerance))
    return worst


def tensor_specs(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of the graph at ``path``, in its order, as a manifest lists them.

    Raises:
        ExportError: a tensor has a dtype that no manifest can carry.
    """
    graph = onnx.load(path, load_external_data=False).graph
    return tuple(_spec(path, value) for value in graph.input), tuple(_spec(path, value) for value in graph.output)


def publish(repository: Repository, kind: str, write: Callable[[Path, int], Manifest]) -> Manifest:
    """Add the next version of ``kind``, whole or not at all: :meth:`Repository.add`, and the graph is the manifest's.

    Args:
        repository: where to.
        kind: which.
        write: writes every file into the folder it is given and returns the manifest of that version.

    Returns:
        The manifest as it was saved.

    Raises:
        ModelError: the version is not as it should be, or cannot be added.
    """

    def write_and_verify(folder: Path, version: int) -> Manifest:
        manifest = write(folder, version)
        verify_graph(folder, manifest, *tensor_specs(folder / GRAPH_FILE))
        return manifest

    return repository.add(kind, write_and_verify)


def _check_exportable(module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    training = [name or "the module" for name, part in module.named_modules() if part.training]
    if training:
        raise ExportError(f"{training[0]} is in training mode, expected evaluation mode")
    for name, tensor in inputs.items():
        # torch.export fixes a dimension of size 1 instead of letting it vary.
        if tensor.shape[0] < 2:
            raise ExportError(f"input '{name}': a batch of {tensor.shape[0]} as the example, expected 2 or more")


def _clean(model: ir.Model) -> ir.Model:
    """Drop what nothing uses and what tells of the machine that exported: source paths, stack traces, opsets."""
    common = ir.passes.common
    passes = ir.passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )
    return passes(model).model


def _fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what is constant, as ONNX Runtime does for itself at the level that any provider can read.

    The exporter leaves the reordering of an LSTM's gates in the graph as slices of its weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / GRAPH_FILE
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(folded)


def _spec(path: Path, value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    if tensor.elem_type not in _DTYPES:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ExportError(f"{path}: '{value.name}' has dtype {name}, expected one of {', '.join(_DTYPES.values())}")
    shape = tuple(dimension.dim_param or dimension.dim_value for dimension in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_DTYPES[tensor.elem_type], shape=shape)


def _run_module(module: nn.Module, samples: Mapping[str, Tensor], size: int) -> list[NDArray[np.generic]]:
    count = len(next(iter(samples.values())))
    batches: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        for start in range(0, count, size):
            answer = module(**{name: tensor[start : start + size] for name, tensor in samples.items()})
            batches.append(answer if isinstance(answer, tuple) else (answer,))
    return [torch.cat(parts).numpy() for parts in zip(*batches, strict=True)]


def _run_session(
    session: onnxruntime.InferenceSession, samples: Mapping[str, Tensor], size: int
) -> list[NDArray[np.generic]]:
    arrays = {name: tensor.numpy() for name, tensor in samples.items()}
    count = len(next(iter(arrays.values())))
    batches = [
        session.run(None, {name: array[start : start + size] for name, array in arrays.items()})
        for start in range(0, count, size)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _difference(what: str, expected: NDArray[np.generic], found: NDArray[np.generic], tolerance: float) -> float:
    """The largest absolute difference. One that is not allowed, NaN, another shape or another dtype raise."""
    if (expected.shape, expected.dtype) != (found.shape, found.dtype):
        raise ExportError(
            f"{what}: {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape} as in PyTorch"
        )
    differences = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    allowed = tolerance if np.issubdtype(expected.dtype, np.floating) else 0.0
    if not (differences <= allowed).all():
        place = np.unravel_index(np.argmax(np.nan_to_num(differences, nan=np.inf)), differences.shape)
        raise ExportError(
            f"{what}: {found[place]} at {tuple(map(int, place))}, expected {expected[place]} as in PyTorch, "
            f"within {allowed:g}"
        )
    return float(differences.max(initial=0.0))
