"""What a training ran on, in words, for the manifest and the card."""

import logging
import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

# What decides how fast a training runs on a CPU: matrix units, then bfloat16, then the width of vectors.
_CPU_FEATURES = ("amx_bf16", "avx512_bf16", "avx512_f", "avx2")


def describe_hardware() -> str:
    """The processor, its cores, instructions that matter to training, memory and GPUs, in one line.

    For example ``AMD EPYC, 2 cores, avx512_bf16, avx512_f, avx2, 24 GiB; no GPU``.
    """
    capabilities = torch.cpu.get_capabilities()
    features = [name for name in _CPU_FEATURES if capabilities.get(name)]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = ", ".join([_processor_name(), f"{cores} cores", *features, f"{memory:.0f} GiB"])
    return f"{processor}; {_describe_gpus()}"


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each package, by its name.

    Raises:
        importlib.metadata.PackageNotFoundError: one is not installed.
    """
    return {name: version(name) for name in names}


def _processor_name() -> str:
    """The name that the processor gives itself; Python's own answer on Linux is the architecture or nothing."""
    description = Path("/proc/cpuinfo")
    lines = description.read_text(encoding="utf-8").splitlines() if description.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _describe_gpus() -> str:
    if not torch.cuda.is_available():
        return "no GPU"
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GiB" for gpu in properties)


def has_matrix_units() -> bool:
    """Whether the CPU multiplies matrices of bfloat16 in units of their own (Intel's AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


@cache
def can_compile() -> bool:
    """Whether PyTorch can compile for the CPU, which takes a C++ compiler and Python's headers."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where there is no GPU
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1))
    except Exception:  # of whatever is missing
        return False
    return True


def choose_precision(precision: str) -> str:
    """Accelerate's name of the arithmetic: bf16 where asked for, or where ``auto`` finds it in the device."""
    if precision == "auto":
        has_gpu = torch.cuda.is_available()
        has_bf16 = torch.cuda.is_bf16_supported() if has_gpu else torch.cpu.get_capabilities().get("avx512_bf16", False)
        return "bf16" if has_bf16 else "no"
    return {"bf16": "bf16", "fp32": "no"}[precision]
