"""How a training on a CPU holds its memory."""

import ctypes
import os
import platform

# From malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_memory() -> None:
    """Let this process keep the memory that it frees, in huge pages where the kernel grants them.

    glibc gives large blocks back as soon as they are free, so that the kernel clears the same memory anew for every
    step of a training, four kilobytes at a time: a fifth of the time of one of sentiment, and more where a virtual
    machine looks up its pages twice. Call it before PyTorch takes any memory; it does nothing with another C library.
    ``man 3 mallopt``; THP_MEM_ALLOC_ENABLE is PyTorch's switch for huge pages, which a user's own value goes before.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
        mallopt(parameter, value)
