"""Modules exported, folded, compared on ONNX Runtime and published."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock

from models.errors import ArtifactError
from models.image import ImagePreprocessing
from models.manifest import (
    CARD_FILE,
    GRAPH_FILE,
    Golden,
    GoldenExample,
    GoldenRequest,
    Manifest,
    TensorSpec,
    save_golden,
)
from models.repository import Repository
from tests.versions import make_manifest, specify
from training.errors import ExportError
from training.export import OPSET, check_parity, export_graph, publish, tensor_specs


class Served(nn.Module):
    """Raw pixels in, probabilities out, as an image classifier is served."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.25, 0.24, 0.26]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).contiguous().float() / 255  # (batch, 3, height, width)
        return torch.softmax(self.network((pixels - self.mean) / self.deviation) / 1.3, dim=1)


def convolutional(padding: int = 0) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 2, padding=padding),
        nn.GELU(),
        nn.Conv2d(8, 12, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(12),
        nn.GELU(),
        nn.Conv2d(12, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(7),
        nn.Flatten(),
        nn.Linear(12, 5, bias=False),
    )


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 20), nn.ReLU(), nn.Linear(20, 5))


def prepared(module: nn.Module) -> nn.Module:
    """``module`` in evaluation mode, with batch norm statistics as a training leaves them."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -1, 1),
                (part.running_var, 0.5, 2),
                (part.weight, 0.5, 2),
                (part.bias, -1, 1),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return module.eval()


def random_images(count: int, size: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


def exported(module: nn.Module, folder: Path, images: Tensor) -> Path:
    path = folder / GRAPH_FILE
    export_graph(module, {"images": images[:2]}, ["probabilities"], path)
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_classifier_keeps_no_arithmetic_that_its_layers_can_do(tmp_path: Path) -> None:
    images = random_images(256)
    module = prepared(Served(convolutional()))
    path = exported(module, tmp_path, images)
    layers = ["Conv", "Gelu", "Conv", "MaxPool", "Gelu", "Conv", "Relu", "MaxPool", "Reshape", "Gemm"]
    assert operators(path) == ["Transpose", "Cast", *layers, "Softmax"]
    assert check_parity(module, path, {"images": images}) < 1e-6


def test_a_padded_first_convolution_keeps_one_addition_in_front(tmp_path: Path) -> None:
    images = random_images(256)
    module = prepared(Served(convolutional(padding=1)))
    path = exported(module, tmp_path, images)
    assert operators(path)[:4] == ["Transpose", "Cast", "Add", "Conv"]
    assert not {"Sub", "Mul", "Div", "BatchNormalization"} & set(operators(path))
    assert check_parity(module, path, {"images": images}) < 1e-6


def test_a_dense_first_layer_takes_in_the_normalisation_before_its_flattening(tmp_path: Path) -> None:
    images = random_images(256)
    module = Served(dense()).eval()
    path = exported(module, tmp_path, images)
    assert operators(path) == ["Transpose", "Cast", "Reshape", "Gemm", "Relu", "Gemm", "Softmax"]
    assert check_parity(module, path, {"images": images}) < 1e-6


def test_batch_norm_with_a_negative_scale_stays_behind_its_pool(tmp_path: Path) -> None:
    images = random_images(256)
    module = prepared(Served(convolutional()))
    with torch.no_grad():
        next(part for part in module.modules() if isinstance(part, nn.BatchNorm2d)).weight[3] = -0.7
    path = exported(module, tmp_path, images)
    assert operators(path).count("BatchNormalization") == 1
    assert check_parity(module, path, {"images": images}) < 1e-6


def test_pooling_is_one_node_after_a_training_in_channels_last_memory(tmp_path: Path) -> None:
    images = random_images(256)
    first = nn.Conv2d(3, 8, 3)
    network = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    module = Served(network.to(memory_format=torch.channels_last)).eval()
    path = exported(module, tmp_path, images)
    assert operators(path) == ["Transpose", "Cast", "Conv", "Relu", "ReduceMean", "Reshape", "Gemm", "Softmax"]
    assert check_parity(module, path, {"images": images}) < 1e-6
    assert first.weight.is_contiguous(memory_format=torch.channels_last), "the module was changed"


def test_weights_that_two_layers_share_are_not_changed_for_one_of_them(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, values: Tensor) -> Tensor:
            return torch.tanh(self.layer(torch.tanh(self.layer(values) * 2)))

    values = torch.randn(256, 6)
    module = Tied().eval()
    export_graph(module, {"values": values[:2]}, ["result"], tmp_path / GRAPH_FILE)
    assert "Mul" in operators(tmp_path / GRAPH_FILE)
    assert check_parity(module, tmp_path / GRAPH_FILE, {"values": values}) < 1e-6


def test_blocks_with_depthwise_convolutions_and_shortcuts_keep_no_batch_norm(tmp_path: Path) -> None:
    images = random_images(256)
    blocks = (InvertedResidual(8, 8, stride=1, expand_ratio=2), BasicBlock(8, 8))
    module = prepared(Served(nn.Sequential(nn.Conv2d(3, 8, 3), *blocks, nn.Flatten(), nn.Linear(8 * 14 * 14, 4))))
    path = exported(module, tmp_path, images)
    assert "BatchNormalization" not in operators(path)
    check_parity(module, path, {"images": images}, batch_sizes=(64,))


@pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm._flat_weights:UserWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:_check_is_size will be removed:FutureWarning")
def test_a_recurrent_net_over_token_ids_varies_in_batch_and_sequence(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 8)
            self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

        def forward(self, tokens: Tensor) -> Tensor:
            states: Tensor = self.lstm(self.embedding(tokens))[0]  # (batch, sequence, 12)
            return states.amax(dim=1)

    path = tmp_path / GRAPH_FILE
    module = Recurrent().eval()
    tokens = torch.randint(0, 50, (256, 9))
    export_graph(module, {"tokens": tokens[:2]}, ["features"], path, {"tokens": {1: "sequence"}})
    graph = onnx.load(path).graph
    (lstm,) = (node for node in graph.node if node.op_type == "LSTM")
    weights = {initializer.name for initializer in graph.initializer}
    assert weights.issuperset(lstm.input[1:4]), "the gates of the weights are put in order at every run"
    assert tensor_specs(path)[0] == (TensorSpec(name="tokens", dtype="int64", shape=("batch", "sequence")),)
    for length in (1, 9, 30):
        check_parity(module, path, {"tokens": torch.randint(0, 50, (256, length))})


def test_the_file_is_plain_and_the_same_each_time(tmp_path: Path) -> None:
    module = prepared(Served(convolutional()))
    first = exported(module, tmp_path, random_images(2)).read_bytes()
    second = exported(module, tmp_path, random_images(2)).read_bytes()
    model = onnx.load_from_string(first)
    assert first == second
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert [path.name for path in tmp_path.iterdir()] == [GRAPH_FILE]
    assert b"test_export" not in first, "the exporter's stack traces name files of this machine"


def test_specs_are_those_of_the_graph(tmp_path: Path) -> None:
    inputs, outputs = tensor_specs(exported(prepared(Served(dense())), tmp_path, random_images(2)))
    assert inputs == (TensorSpec(name="images", dtype="uint8", shape=("batch", 16, 16, 3)),)
    assert outputs == (TensorSpec(name="probabilities", dtype="float32", shape=("batch", 5)),)


def test_a_module_in_training_mode_is_refused(tmp_path: Path) -> None:
    module = Served(dense()).eval()
    module.network.train()
    with pytest.raises(ExportError, match="network is in training mode"):
        exported(module, tmp_path, random_images(2))


def test_an_example_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'images': a batch of 1 as the example, expected 2 or more"):
        exported(Served(dense()).eval(), tmp_path, random_images(1))


def test_an_output_without_a_batch_is_refused(tmp_path: Path) -> None:
    class Total(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.float().sum(dim=(0, 1, 2))

    with pytest.raises(ExportError, match=r"'probabilities' has shape \[3\], expected 'batch' first"):
        exported(Total().eval(), tmp_path, random_images(2))


def test_parity_names_what_differs(tmp_path: Path) -> None:
    images = random_images(256)
    module = Served(dense()).eval()
    path = exported(module, tmp_path, images)
    with torch.no_grad():
        next(iter(module.parameters()))[0] += 0.5
    with pytest.raises(ExportError, match=r"probabilities at batch size 7: \S+ at \(\d+, \d\), expected \S+ as"):
        check_parity(module, path, {"images": images}, batch_sizes=(7,))


def test_parity_refuses_answers_that_are_no_numbers(tmp_path: Path) -> None:
    images = random_images(256)
    module = Served(dense()).eval()
    path = exported(module, tmp_path, images)
    with torch.no_grad():
        next(iter(module.parameters()))[0] = torch.nan
    with pytest.raises(ExportError, match="expected nan as in PyTorch"):
        check_parity(module, path, {"images": images})


def test_parity_on_few_samples_is_refused(tmp_path: Path) -> None:
    module = Served(dense()).eval()
    path = exported(module, tmp_path, random_images(2))
    with pytest.raises(ExportError, match="parity on 255 samples, expected at least 256"):
        check_parity(module, path, {"images": random_images(255)})


def write_version(folder: Path, version: int, classes: int) -> Manifest:
    path = exported(prepared(Served(dense())), folder, random_images(2))
    request = GoldenRequest(content_type="image/png", body="")
    save_golden(folder, Golden(tolerance=1e-3, examples=(GoldenExample(request=request, predictions=({},)),)))
    (folder / CARD_FILE).write_text("# A card\n")
    update = {
        "inputs": tensor_specs(path)[0],
        "outputs": (specify("probabilities", "float32", classes),),
        "preprocessing": ImagePreprocessing(height=16, width=16, channels=3),
    }
    return make_manifest(version, ()).model_copy(update=update)


def test_a_published_version_loads(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    manifest = publish(repository, "image_classifier", lambda folder, version: write_version(folder, version, 5))
    assert repository.load("image_classifier", 1) == manifest


def test_a_version_whose_graph_is_not_the_manifests_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"float32\['batch', 5\], expected probabilities float32\['batch', 6\]"):
        publish(Repository(tmp_path), "image_classifier", lambda folder, version: write_version(folder, version, 6))
    assert list((tmp_path / "image_classifier").iterdir()) == []
