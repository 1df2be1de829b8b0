"""The priority of a thread: for work that others need not wait for."""

import os
import sys
import threading
from typing import Final

# For what is nearly all done outside the interpreter.
LOWEST: Final = 19
# For Python: whoever holds the interpreter's lock and gets no time on a processor that others fill keeps those waiting
# that need the lock, and at the lowest priority that would be for long. This has a tenth of the usual weight.
LOW: Final = 10


def lower_priority(nice: int) -> None:
    """Let other threads of the machine go before the calling one. Only Linux has a priority for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
