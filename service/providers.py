"""Where ONNX Runtime computes: its execution providers by the names that the settings give them."""

import ctypes
import logging
from collections.abc import Mapping
from typing import Final, Literal

import onnxruntime

Provider = Literal["cpu", "cuda", "tensorrt"]

PROVIDERS: Final[Mapping[Provider, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

logger = logging.getLogger(__name__)


class ProviderError(Exception):
    """The execution provider that was asked for is not in use. The message names it and what is."""


def choose_provider(wanted: Literal["auto", "cpu", "cuda", "tensorrt"]) -> Provider:
    """The provider to load models on: the one wanted, or for ``auto`` CUDA where there is a device for it.

    Whether the provider is really in use shows when a session is opened on it.
    """
    chosen: Provider
    if wanted == "auto":
        chosen = "cuda" if PROVIDERS["cuda"] in onnxruntime.get_available_providers() and has_gpu() else "cpu"
        logger.info("provider auto: %s", "found a CUDA device" if chosen == "cuda" else "no CUDA device, so the CPU")
    else:
        chosen = wanted
    if chosen != "cpu":
        # CUDA and cuDNN may come as wheels, where the dynamic linker does not look.
        onnxruntime.preload_dlls()
    return chosen


def has_gpu() -> bool:
    """Whether NVIDIA's driver finds a device. ONNX Runtime itself only says that it was built for CUDA."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    found: bool = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return found and count.value > 0
