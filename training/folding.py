"""Takes arithmetic with constants out of a graph, into the weights of the layer beside it.

A served graph should hold no node that could be done once. Normalising the input, batch
normalisation, a temperature: each multiplies by constants and adds constants, before or after a
convolution or a dense layer, which does both anyway. The function stays the same; only float32
rounding differs. The exporter's own optimiser folds a batch normalisation that follows its
convolution directly, and nothing else of this.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnxscript import ir

Array = NDArray[np.float64]

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "BatchNormalization")


@dataclass(frozen=True)
class Affine:
    """``x * scale + shift``. Both broadcast against one item of ``x``: its rank without the batch."""

    scale: Array
    shift: Array

    @classmethod
    def identity(cls, rank: int) -> "Affine":
        """The map that changes nothing."""
        return cls(np.ones((1,) * rank), np.zeros((1,) * rank))

    def then(self, after: "Affine") -> "Affine":
        """The map that applies ``after`` to the result of this one."""
        return Affine(self.scale * after.scale, self.shift * after.scale + after.shift)

    def is_per_channel(self, channels: int) -> bool:
        """Whether it is the same all over each of ``channels``, the first dimension of an item."""
        shapes = (self.scale.shape, self.shift.shape)
        return all(shape[0] in (1, channels) and prod(shape[1:]) == 1 for shape in shapes)


def fold_arithmetic(graph: ir.Graph) -> None:
    """Fold constant scales and shifts around each ``Conv`` and ``Gemm`` into its weights, in place.

    A batch normalisation behind a max-pool goes through it where none of its scales is negative,
    since the largest value of a window then stays the largest; otherwise it is left. A shift in
    front of a padded convolution stays, as one ``Add``: the padding is zero after it, not before.
    Nodes and weights that nothing uses any more are left for the caller to remove.
    """
    for node in list(graph):
        if _is_foldable(node):
            _fold_after(graph, node)
            _fold_before(graph, node)


def _fold_after(graph: ir.Graph, layer: ir.Node) -> None:
    """Fold the arithmetic that follows ``layer``, directly or behind one max-pool."""
    weight, output_axis = _weight(layer), _output_axis(layer)
    rank = 1 if layer.op_type == "Gemm" else weight.ndim - 1
    channels = weight.shape[output_axis]
    start = layer.outputs[0]
    pool = _only_consumer(start)
    pooled = pool is not None and pool.op_type == "MaxPool" and len(pool.outputs) == 1
    if pool is not None and pooled:
        start = pool.outputs[0]
    end, total = start, Affine.identity(rank)
    while (step := _only_consumer(end)) is not None and not step.outputs[0].is_graph_output():
        affine = _affine(step, end, rank)
        if affine is None or not affine.is_per_channel(channels) or (pooled and (affine.scale < 0).any()):
            break
        end, total = step.outputs[0], total.then(affine)
    if end is start:
        return
    scale = np.broadcast_to(total.scale.reshape(-1), channels)
    _set_weight(layer, weight * _along(output_axis, scale, weight.ndim))
    _set_bias(graph, layer, _bias(layer, channels) * scale + total.shift.reshape(-1))
    end.replace_all_uses_with(start)


def _fold_before(graph: ir.Graph, layer: ir.Node) -> None:
    """Fold the arithmetic in front of ``layer``; in front of a ``Gemm`` also that before its flattening."""
    end = _flattened(layer) or layer.inputs[0]
    item = _item_shape(end)
    if end is None or item is None:
        return
    start, total = end, Affine.identity(len(item))
    while (step := start.producer()) is not None and _only_consumer(start) is not None:
        source = _operand(step)
        affine = _affine(step, source, len(item)) if source is not None else None
        if source is None or affine is None or _item_shape(source) != item:
            break
        start, total = source, affine.then(total)
    if start is end:
        return
    if layer.op_type == "Conv":
        _absorb_into_convolution(graph, layer, start, total)
    else:
        _absorb_into_dense(graph, layer, end, start, total, item)


def _absorb_into_convolution(graph: ir.Graph, layer: ir.Node, source: ir.Value, affine: Affine) -> None:
    weight = _weight(layer)
    inputs = weight.shape[1]
    if not affine.is_per_channel(inputs) or not affine.scale.all():
        return
    scale = np.broadcast_to(affine.scale.reshape(-1), inputs)
    shift = np.broadcast_to(affine.shift.reshape(-1), inputs)
    if _is_padded(layer) and shift.any():
        remaining = (shift / scale).reshape(-1, *(1,) * (weight.ndim - 2))
        add = ir.node("Add", [source, _add_initializer(graph, f"{layer.outputs[0].name}.input_shift", remaining)])
        add.outputs[0].name = f"{layer.outputs[0].name}.shifted_input"
        add.outputs[0].type, add.outputs[0].shape = source.type, source.shape
        layer.prepend(add)
        layer.replace_input_with(0, add.outputs[0])
    else:
        kernel_sums = weight.reshape(*weight.shape[:2], -1).sum(axis=2)  # (outputs, inputs)
        _set_bias(graph, layer, _bias(layer, weight.shape[0]) + kernel_sums @ shift)
        layer.replace_input_with(0, source)
    _set_weight(layer, weight * _along(1, scale, weight.ndim))


def _absorb_into_dense(
    graph: ir.Graph, layer: ir.Node, end: ir.Value, source: ir.Value, affine: Affine, item: tuple[int, ...]
) -> None:
    weight, input_axis = _weight(layer), 1 - _output_axis(layer)
    scale = np.broadcast_to(affine.scale, item).reshape(-1)
    shift = np.broadcast_to(affine.shift, item).reshape(-1)
    _set_bias(graph, layer, _bias(layer, weight.shape[1 - input_axis]) + np.tensordot(weight, shift, (input_axis, 0)))
    _set_weight(layer, weight * _along(input_axis, scale, 2))
    end.replace_all_uses_with(source)


def _is_foldable(node: ir.Node) -> bool:
    """Whether ``node`` is a plain convolution or dense layer whose float32 weights are constant and its own."""
    if node.op_type == "Conv":
        plain = node.attributes.get_int("group", 1) == 1
    elif node.op_type == "Gemm":
        factors = (node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0))
        plain = factors == (1.0, 1.0) and not node.attributes.get_int("transA", 0)
    else:
        return False
    return plain and all(_is_constant(value) and _is_own_float32(value) for value in node.inputs[1:])


def _affine(step: ir.Node, value: ir.Value, rank: int) -> Affine | None:
    """What ``step`` does to ``value``, or nothing where that is no arithmetic with constants."""
    if step.op_type not in _ARITHMETIC or step.inputs.count(value) != 1:
        return None
    position = step.inputs.index(value)
    others = [other for other in step.inputs if other is not value]
    if not all(_is_constant(other) for other in others):
        return None
    arrays = [_constant(other) for other in others]
    if step.op_type == "BatchNormalization":
        gamma, beta, mean, variance = arrays
        scale = gamma / np.sqrt(variance + step.attributes.get_float("epsilon", 1e-5))
        channels = (-1, *(1,) * (rank - 1))
        return Affine(scale.reshape(channels), (beta - mean * scale).reshape(channels))
    constant = _without_batch(arrays[0], rank)
    if constant is None or (step.op_type == "Div" and position == 1):
        return None
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if step.op_type == "Add":
        return Affine(one, constant)
    if step.op_type == "Sub":
        return Affine(one, -constant) if position == 0 else Affine(-one, constant)
    return Affine(constant if step.op_type == "Mul" else one / constant, zero)


def _operand(step: ir.Node) -> ir.Value | None:
    """The one input of ``step`` that is not constant."""
    variable = [value for value in step.inputs if value is not None and not value.is_initializer()]
    return variable[0] if len(variable) == 1 else None


def _flattened(layer: ir.Node) -> ir.Value | None:
    """What a ``Reshape`` in front of a dense layer flattens, item by item, if there is one."""
    value = layer.inputs[0]
    reshape = value.producer() if value is not None else None
    if layer.op_type != "Gemm" or reshape is None or reshape.op_type != "Reshape" or _only_consumer(value) is None:
        return None
    source = reshape.inputs[0]
    item = _item_shape(source)
    return source if item is not None and prod(item) == _weight(layer).shape[1 - _output_axis(layer)] else None


def _only_consumer(value: ir.Value | None) -> ir.Node | None:
    if value is None or value.is_graph_output():
        return None
    consumers = [use.node for use in value.uses()]
    return consumers[0] if len(consumers) == 1 else None


def _item_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape without the batch, where all of it is known."""
    if value is None or value.shape is None:
        return None
    sizes = tuple(size for size in value.shape[1:] if isinstance(size, int))
    return sizes if len(sizes) == len(value.shape) - 1 else None


def _without_batch(constant: Array, rank: int) -> Array | None:
    """``constant`` as it broadcasts against one item of ``rank`` dimensions."""
    if constant.ndim > rank + 1 or (constant.ndim == rank + 1 and constant.shape[0] != 1):
        return None
    missing = (1,) * (rank - constant.ndim)
    return constant[0] if constant.ndim == rank + 1 else constant.reshape(missing + constant.shape)


def _is_padded(layer: ir.Node) -> bool:
    automatic = layer.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return automatic or any(layer.attributes.get_ints("pads", ()))


def _output_axis(layer: ir.Node) -> int:
    return 1 if layer.op_type == "Gemm" and not layer.attributes.get_int("transB", 0) else 0


def _along(axis: int, values: Array, rank: int) -> Array:
    return values.reshape([-1 if place == axis else 1 for place in range(rank)])


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer() and value.const_value is not None


def _is_own_float32(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT and len(value.uses()) == 1


def _constant(value: ir.Value | None) -> Array:
    if value is None or value.const_value is None:
        raise ValueError(f"{value}: not a constant of the graph, expected the weights of a layer or a number")
    return value.const_value.numpy().astype(np.float64)


def _weight(layer: ir.Node) -> Array:
    return _constant(layer.inputs[1])


def _bias(layer: ir.Node, channels: int) -> Array:
    bias = _constant(layer.inputs[2]) if len(layer.inputs) > 2 else np.zeros(1)
    return np.broadcast_to(bias.reshape(-1), channels)


def _set_weight(layer: ir.Node, weight: Array) -> None:
    _set_constant(layer.inputs[1], weight)


def _set_bias(graph: ir.Graph, layer: ir.Node, bias: Array) -> None:
    """Give ``layer`` this bias; none where it has none and needs none."""
    if len(layer.inputs) > 2:
        _set_constant(layer.inputs[2], bias)
    elif bias.any():
        layer.resize_inputs(3)
        layer.replace_input_with(2, _add_initializer(graph, f"{layer.outputs[0].name}.bias", bias))


def _set_constant(value: ir.Value | None, array: Array) -> None:
    if value is None:
        raise ValueError("no value, expected the weights of a layer")
    value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
    value.shape = ir.Shape(array.shape)


def _add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array.astype(np.float32), name=name))
    graph.register_initializer(value)
    return value
