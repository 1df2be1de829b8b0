"""The messages of the service ``inference.GRPCInferenceService``, as far as it is served.

Source: the Open Inference Protocol's gRPC definition and, for the repository, Triton's. The field numbers are those of
Triton's clients, which a test compares. The descriptors stand in a pool of their own, so that they get along with those
of a client in the same process.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"

# name: number and type; "[]" marks a field that repeats, "{}" a map from strings.
_Fields = Mapping[str, tuple[int, str]]
_PARAMETER: Final[_Fields] = {"bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string")}
_NAMES: Final[_Fields] = {"name": (1, "string"), "version": (2, "string")}
_TENSOR: Final[_Fields] = {
    "name": (1, "string"),
    "datatype": (2, "string"),
    "shape": (3, "int64[]"),
    "parameters": (4, "InferParameter{}"),
    "contents": (5, "InferTensorContents"),
}
_CHANGE: Final[_Fields] = {
    "repository_name": (1, "string"),
    "model_name": (2, "string"),
    "parameters": (3, "ModelRepositoryParameter{}"),
}
_MESSAGES: Final[Mapping[str, _Fields]] = {
    "InferParameter": {**_PARAMETER, "double_param": (4, "double"), "uint64_param": (5, "uint64")},
    "ModelRepositoryParameter": {**_PARAMETER, "bytes_param": (4, "bytes")},
    "InferTensorContents": {
        "bool_contents": (1, "bool[]"),
        "int_contents": (2, "int32[]"),
        "int64_contents": (3, "int64[]"),
        "uint_contents": (4, "uint32[]"),
        "uint64_contents": (5, "uint64[]"),
        "fp32_contents": (6, "float[]"),
        "fp64_contents": (7, "double[]"),
        "bytes_contents": (8, "bytes[]"),
    },
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": _NAMES,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {**_NAMES, "extensions": (3, "string[]")},
    "ModelMetadataRequest": _NAMES,
    "ModelMetadataResponse.TensorMetadata": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64[]"),
    },
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "string[]"),
        "platform": (3, "string"),
        "inputs": (4, "ModelMetadataResponse.TensorMetadata[]"),
        "outputs": (5, "ModelMetadataResponse.TensorMetadata[]"),
    },
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "InferParameter{}")},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "InferParameter{}"),
        "inputs": (5, "ModelInferRequest.InferInputTensor[]"),
        "outputs": (6, "ModelInferRequest.InferRequestedOutputTensor[]"),
        "raw_input_contents": (7, "bytes[]"),
    },
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "InferParameter{}"),
        "outputs": (5, "ModelInferResponse.InferOutputTensor[]"),
        "raw_output_contents": (6, "bytes[]"),
    },
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "RepositoryIndexResponse.ModelIndex": {
        "name": (1, "string"),
        "version": (2, "string"),
        "state": (3, "string"),
        "reason": (4, "string"),
    },
    "RepositoryIndexResponse": {"models": (1, "RepositoryIndexResponse.ModelIndex[]")},
    "RepositoryModelLoadRequest": _CHANGE,
    "RepositoryModelLoadResponse": {},
    "RepositoryModelUnloadRequest": _CHANGE,
    "RepositoryModelUnloadResponse": {},
}
# Of these messages one field is set at a time.
_ONE_OF: Final = {"InferParameter": "parameter_choice", "ModelRepositoryParameter": "parameter_choice"}
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    described: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name in sorted(_MESSAGES):  # what stands within another comes after it
        outer, _, inner = name.rpartition(".")
        message = described[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        described[name] = message
        for field, (number, of_type) in _MESSAGES[name].items():
            _add_field(message, name, field, number, of_type)
        if name in _ONE_OF:
            message.oneof_decl.add(name=_ONE_OF[name])
            for described_field in message.field:
                described_field.oneof_index = 0
    return file


def _add_field(
    message: descriptor_pb2.DescriptorProto, message_name: str, name: str, number: int, of_type: str
) -> None:
    repeats = of_type.endswith(("[]", "{}"))
    element = of_type[:-2] if repeats else of_type
    if of_type.endswith("{}"):  # protobuf's maps are repeated pairs
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, message_name, "key", 1, "string")
        _add_field(entry, message_name, "value", 2, element)
        element = f"{message_name}.{entry.name}"
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if repeats else _Field.LABEL_OPTIONAL
    if element in _SCALARS:
        field.type = _SCALARS[element]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{element}"


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_describe())


@cache
def find_message(name: str) -> Any:
    """The class of a message, by its name in the protocol."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
