"""A model's graph on one of ONNX Runtime's execution providers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from models.errors import ArtifactError
from models.manifest import GRAPH_FILE, DType, Manifest, TensorSpec, verify_graph
from models.text import TextPreprocessing
from service.lanes import Lane, find_lane, make_lanes
from service.providers import PROVIDERS, Provider, ProviderError

Row = tuple[NDArray[Any], ...]  # one array for each input or output of the graph, without the batch dimension
Evaluate = Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]  # inputs to outputs, (rows, ...) each

_DTYPES: Final[Mapping[str, DType]] = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "string",
}
# What ONNX Runtime raises for a graph that it cannot load or run.
GRAPH_ERRORS = (
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)


class Session:
    """A version's graph, loaded and found to be what its manifest says.

    Texts are ``str`` in arrays of objects. A row of a tensor without further dimensions is a scalar. A row has a length
    where inputs have dimensions that vary, the largest of them. The rows of a run are filled up behind to the longest,
    with zeros: the graph has to tell them from what a row holds. ``lanes`` say which of such rows are to be run
    together; there is one where all rows are of one size.

    Args:
        folder: the version's folder.
        manifest: its manifest.
        provider: where the graph runs.
        intra_op_threads: the threads of one run, on the CPU.
        max_batch_rows: the rows of one run at most.
        max_batch_tokens: the rows of one run times the length of the longest, as ``make_lanes`` has it.

    Raises:
        ArtifactError: ONNX Runtime cannot load the graph, or its inputs and outputs are not those of the manifest.
        ProviderError: ONNX Runtime does not use ``provider``.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        provider: Provider,
        intra_op_threads: int,
        max_batch_rows: int,
        max_batch_tokens: int | None = None,
    ) -> None:
        graph = folder / GRAPH_FILE
        self._session = _open(graph, provider, intra_op_threads)
        self._inputs = tuple(_spec(graph, tensor) for tensor in self._session.get_inputs())
        self._outputs = tuple(_spec(graph, tensor) for tensor in self._session.get_outputs())
        verify_graph(folder, manifest, self._inputs, self._outputs)
        self.max_rows = max_batch_rows
        self.buckets = buckets(max_batch_rows)
        # The dimensions that vary: of which input, and which of a row's.
        self._axes = [
            (position, axis)
            for position, tensor in enumerate(self._inputs)
            for axis, size in enumerate(tensor.shape[1:])
            if isinstance(size, str)
        ]
        self.varies = bool(self._axes)
        self.lanes: tuple[Lane, ...] = (Lane(1, max_batch_rows),)
        if self.varies:
            longest = _find_longest(graph, self._inputs, manifest)
            self.lanes = make_lanes(longest, self.buckets, max_batch_tokens, on_cpu=provider == "cpu")
        if any(isinstance(size, str) for tensor in self._outputs for size in tensor.shape[1:]):
            raise _refuse(graph, self._outputs)
        # Memory is set aside for rows of one size, which are most kinds' only ones.
        self._buffers = [] if self.varies else [_blank(tensor, max_batch_rows) for tensor in self._inputs]
        self._names = [tensor.name for tensor in self._inputs]
        self._output_names = [tensor.name for tensor in self._outputs]
        self._pads = provider != "cpu"
        # Text has no place on a device.
        has_texts = any(tensor.dtype == "string" for tensor in (*self._inputs, *self._outputs))
        bound = self.buckets if self._pads and not has_texts and not self.varies else ()
        self._bindings = {rows: self._bind(rows) for rows in bound}

    def run(self, rows: Sequence[Row]) -> list[Row]:
        """The graph's outputs for each of ``rows``, in order. Not for two threads at a time."""
        if self.varies:
            return self._run_varying(rows)
        for position, buffer in enumerate(self._buffers):
            for index, row in enumerate(rows):
                buffer[index] = row[position]
        outputs = self._run_padded(rows) if self._pads else self._run_plain(len(rows))
        return list(zip(*outputs, strict=True))

    def evaluate(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The graph's outputs for whole inputs, (rows, ...) each. For any thread, at any time."""
        outputs: list[NDArray[Any]] = self._session.run(self._output_names, dict(zip(self._names, inputs, strict=True)))
        return outputs

    def measure(self, row: Row) -> int:
        """The length of a row; 1 where all rows are of one size."""
        lengths: list[int] = [row[position].shape[axis] for position, axis in self._axes]
        return max(lengths, default=1)

    def choose_lane(self, row: Row) -> int:
        """The place of a row's lane.

        Raises:
            UnprocessableError: it is longer than the model reads.
        """
        return find_lane(self.lanes, self.measure(row))

    def example(self, length: int = 1) -> Row:
        """A row of zeros and of empty texts, and of ones in the inputs that vary: what warming runs.

        Args:
            length: of the row, where rows have one. Zeros would be taken for what fills it up.
        """
        row = [_blank(tensor, 1, length)[0] for tensor in self._inputs]
        for position, _ in self._axes:
            row[position] = np.ones_like(row[position])
        return tuple(row)

    def _run_plain(self, rows: int) -> list[NDArray[Any]]:
        return self.evaluate([buffer[:rows] for buffer in self._buffers])

    def _run_padded(self, rows: Sequence[Row]) -> list[NDArray[Any]]:
        # cuDNN searches its algorithm anew for every shape, so only the warmed shapes are run. The rest of the bucket
        # holds the first row, and its results are not read: what stood there before may be a row that no run survives.
        count = len(rows)
        bucket = next(bucket for bucket in self.buckets if bucket >= count)
        for buffer, value in zip(self._buffers, rows[0], strict=True):
            buffer[count:bucket] = value
        if not self._bindings:
            return [output[:count] for output in self._run_plain(bucket)]
        binding, inputs, outputs = self._bindings[bucket]
        for tensor, buffer in zip(inputs, self._buffers, strict=True):
            tensor.update_inplace(buffer[:bucket])
        self._session.run_with_iobinding(binding)
        return [tensor.numpy()[:count] for tensor in outputs]

    def _run_varying(self, rows: Sequence[Row]) -> list[Row]:
        length = max(map(self.measure, rows))
        filled = rows
        if self._pads:
            # Only the warmed shapes are run here too, if without tensors that stay on the device: there are too many.
            # None of this has been measured on a GPU.
            length = self.lanes[find_lane(self.lanes, length)].length
            bucket = next(bucket for bucket in self.buckets if bucket >= len(rows))
            filled = [*rows, *[rows[0]] * (bucket - len(rows))]
        inputs = []
        for position, tensor in enumerate(self._inputs):
            batch = _blank(tensor, len(filled), length)
            for index, row in enumerate(filled):
                own: tuple[Any, ...] = tuple(map(slice, row[position].shape))
                batch[(index, *own)] = row[position]
            inputs.append(batch)
        outputs = self.evaluate(inputs)
        return list(zip(*(output[: len(rows)] for output in outputs), strict=True))

    def _bind(self, rows: int) -> tuple[Any, list[Any], list[Any]]:
        """Tensors on the device for batches of ``rows``, bound to the graph's inputs and outputs."""
        binding = self._session.io_binding()
        inputs = [_on_device(tensor, rows) for tensor in self._inputs]
        outputs = [_on_device(tensor, rows) for tensor in self._outputs]
        for tensor, value in zip(self._inputs, inputs, strict=True):
            binding.bind_ortvalue_input(tensor.name, value)
        for tensor, value in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(tensor.name, value)
        return binding, inputs, outputs


def buckets(max_batch_rows: int) -> tuple[int, ...]:
    """The batch sizes that are warmed: 1, 2, 4, 8, … up to and with ``max_batch_rows``."""
    powers = [2**power for power in range(max_batch_rows.bit_length()) if 2**power < max_batch_rows]
    return (*powers, max_batch_rows)


def _open(graph: Path, provider: Provider, intra_op_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    # On a GPU the CPU's threads have nothing to share: one is fastest.
    options.intra_op_num_threads = intra_op_threads if provider == "cpu" else 1
    options.inter_op_num_threads = 1
    # Spinning threads would take the cores that decode images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    names: list[Any] = [PROVIDERS["cpu"]]
    if provider != "cpu":
        # An arena that grows by what is asked, not to the next power of two: it never gives GPU memory back.
        names.insert(0, (PROVIDERS["cuda"], {"arena_extend_strategy": "kSameAsRequested"}))
    if provider == "tensorrt":
        names.insert(0, PROVIDERS["tensorrt"])
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=names)
    except GRAPH_ERRORS as error:
        raise ArtifactError(f"{graph}: ONNX Runtime cannot load it on {provider}: {error}") from error
    session.disable_fallback()
    in_use = session.get_providers()
    if in_use[0] != PROVIDERS[provider]:
        raise ProviderError(f"provider '{provider}': expected {PROVIDERS[provider]} in use, found {', '.join(in_use)}")
    return session


def _spec(graph: Path, tensor: Any) -> TensorSpec:
    dtype = _DTYPES.get(tensor.type)
    if dtype is None:
        raise ArtifactError(f"{graph}: dtype of '{tensor.name}' is {tensor.type}, expected one of {', '.join(_DTYPES)}")
    # A dimension of which the graph says nothing is None here, and is none that a manifest can have.
    return TensorSpec(
        name=tensor.name, dtype=dtype, shape=tuple("?" if size is None else size for size in tensor.shape)
    )


def _find_longest(graph: Path, inputs: Sequence[TensorSpec], manifest: Manifest) -> int:
    """The length of a row at most. Manifests say it of texts, and of nothing else that varies."""
    if not isinstance(manifest.preprocessing, TextPreprocessing):
        raise _refuse(graph, inputs)
    return manifest.preprocessing.max_tokens


def _refuse(graph: Path, tensors: Sequence[TensorSpec]) -> ArtifactError:
    found = ", ".join(f"'{tensor.name}' is {tensor.dtype}{list(tensor.shape)}" for tensor in tensors)
    return ArtifactError(f"{graph}: {found}, expected a fixed size but for the batch")


def _blank(tensor: TensorSpec, rows: int, length: int = 0) -> NDArray[Any]:
    """Zeros or empty texts, (rows, ...); dimensions that vary are ``length``."""
    shape = (rows, *(length if isinstance(size, str) else size for size in tensor.shape[1:]))
    return np.full(shape, "", object) if tensor.dtype == "string" else np.zeros(shape, tensor.dtype)


def _on_device(tensor: TensorSpec, rows: int) -> Any:
    shape = (rows, *tensor.shape[1:])
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(tensor.dtype), "cuda", 0)
