"""The tensors of a ``ModelInferRequest``, and of its answer.

They stand beside the message as bytes (``raw_input_contents``) or in fields of their types. An answer has the form of
its request, but that numbers of 16 bits, for which there is no field, are always bytes, and all others with them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service import tensors
from service.bodies import check_document
from service.errors import UnprocessableError
from service.exchange import Answer
from service.grpc.messages import find_message
from service.inference import Inference, InferenceFormat, InferenceRequest
from service.session import Row

ModelInferRequest: Final = find_message("ModelInferRequest")
ModelInferResponse: Final = find_message("ModelInferResponse")
PROTOBUF: Final = b"application/protobuf"

# Where a message has the elements of each datatype.
_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# By this name a plan knows that an input is in binary, and how long it is.
_SIZE: Final = "binary_data_size"


class MessageEncoding:
    """One request's, which is taken apart by it.

    Args:
        request: a ``ModelInferRequest``.
    """

    media_type = PROTOBUF.decode()

    def __init__(self, request: Any) -> None:
        self._request = request
        self._id = request.id
        self._is_raw = bool(request.raw_input_contents)

    def read(self, graph: InferenceFormat) -> Inference:
        """The rows that the request brings.

        Raises:
            UnprocessableError: it does not fit the graph; it says where.
        """
        request = self._request
        contents = list(request.raw_input_contents)
        if self._is_raw:
            if len(contents) != len(request.inputs):
                message = f"{len(contents):,} of them, expected one for each of the {len(request.inputs):,} inputs"
                raise UnprocessableError([("raw_input_contents", message)])
            for tensor, content in zip(request.inputs, contents, strict=True):
                tensor.parameters[_SIZE].int64_param = len(content)
            del request.raw_input_contents[:]
        request.id = ""
        # Clients send the same but for the tensors, so that this can be looked up.
        plan = graph.plan(request.SerializeToString(deterministic=True), _read_head)
        return graph.fill(plan, memoryview(b"".join(contents)))

    def write(self, graph: InferenceFormat, inference: Inference, results: Sequence[Row]) -> Answer:
        """The answer: the graph's outputs for each row."""
        outputs = list(graph.arrange(inference, results))
        is_raw = self._is_raw or any(datatype not in _CONTENTS for _, datatype, _ in outputs)
        response = ModelInferResponse(model_name=graph.kind, model_version=graph.version, id=self._id)
        for output, datatype, array in outputs:
            tensor = response.outputs.add(name=output.spec.name, datatype=datatype, shape=array.shape)
            if is_raw:
                response.raw_output_contents.append(tensors.write_binary(array))
            else:
                elements = array.ravel().tolist()
                if datatype == "BYTES":
                    elements = [text.encode() for text in elements]
                getattr(tensor.contents, _CONTENTS[datatype]).extend(elements)
        return Answer(200, PROTOBUF, response.SerializeToString())


def _read_head(head: bytes) -> InferenceRequest:
    """A request whose tensors, where they are bytes, have left their sizes."""
    request = ModelInferRequest.FromString(head)
    inputs = [_read_input(tensor, f"inputs[{index}]") for index, tensor in enumerate(request.inputs)]
    outputs = [
        {
            "name": output.name,
            "parameters": read_parameters(output.parameters, f"outputs[{index}].parameters", ("classification",)),
        }
        for index, output in enumerate(request.outputs)
    ]
    parameters = read_parameters(request.parameters, "parameters", ("timeout",))
    # An answer's form is no matter of the plan; HTTP's JSON alone cannot hold every datatype.
    parameters["binary_data_output"] = True
    return check_document(InferenceRequest, {"parameters": parameters, "inputs": inputs, "outputs": outputs})


def _read_input(tensor: Any, location: str) -> dict[str, object]:
    parameters = read_parameters(tensor.parameters, f"{location}.parameters", (_SIZE,))
    data = None
    if _SIZE not in parameters:
        data = _read_contents(tensor, f"{location}.contents")
    elif tensor.HasField("contents"):
        raise UnprocessableError([(f"{location}.contents", "expected none beside raw_input_contents")])
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "datatype": tensor.datatype,
        "parameters": parameters,
        "data": data,
    }


def _read_contents(tensor: Any, location: str) -> list[Any]:
    """The elements of a tensor that has them in the field of its type."""
    if tensor.datatype == "FP16":
        raise UnprocessableError([(location, "has no field for FP16, expected raw_input_contents")])
    field = _CONTENTS.get(tensor.datatype)
    elements: list[Any] = [] if field is None else list(getattr(tensor.contents, field))
    if tensor.datatype != "BYTES":
        return elements
    try:
        return [text.decode() for text in elements]
    except UnicodeDecodeError as error:
        raise UnprocessableError([(location, f"a text is not UTF-8: {error.reason}")]) from error


def read_parameters(parameters: Mapping[str, Any], location: str, known: Sequence[str]) -> dict[str, object]:
    """The values of a message's parameters by their names.

    Raises:
        UnprocessableError: there is one that is not known.
    """
    for name in parameters:
        if name not in known:
            raise UnprocessableError([(f"{location}.{name[:60]}", "unknown, expected no such parameter")])
    chosen = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: None if choice is None else getattr(value, choice) for name, (value, choice) in chosen.items()}
