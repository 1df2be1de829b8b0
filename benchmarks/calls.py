"""Measures what gRPC costs beside HTTP: one row in binary to the same graph by the Open Inference Protocol, by both.

    python -m benchmarks.calls                                    the shipped predictor of churn
    python -m benchmarks.calls --kind image_classifier --seconds 5 --rounds 5

Starts the service on one core, where it speaks both, and asks it from another, so many requests at a time: by gRPC over
one channel, by HTTP over as many connections. Each round measures the run of the graph alone in this process, then one
after the other both protocols, in an order that shifts; the table has medians over the rounds of the CPU time that the
service takes for a request. Before it is measured, both must answer the same bytes. Needs Linux, two cores and the
extra ``grpc``.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc.aio
import httpx
import onnxruntime as ort
import orjson

from benchmarks.measurement import ROOT
from benchmarks.process import Server, free_port
from benchmarks.workloads import KINDS
from models.manifest import GRAPH_FILE, TensorSpec, load_manifest
from models.repository import Repository
from service import tensors
from service.grpc.messages import SERVICE, find_message

WARM_UP_SECONDS: Final = 1.0

Ask = Callable[[], Awaitable[bytes]]


class Bench:
    """One request to the service in both forms, and the same without it.

    Args:
        folder: the version that is asked.
    """

    def __init__(self, folder: Path) -> None:
        manifest = load_manifest(folder)
        self._kind = manifest.kind
        self._inputs = manifest.inputs
        # Zeros and empty texts: the graph takes them as it takes any others.
        self._row = {spec.name: tensors.stack(_fill(spec), spec.dtype) for spec in manifest.inputs}
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(folder / GRAPH_FILE, options, providers=["CPUExecutionProvider"])
        self.http_port, self.grpc_port = free_port(), free_port()
        self.protocols: dict[str, Callable[[], AbstractAsyncContextManager[Ask]]] = {
            "HTTP": self._connect_http,
            "gRPC": self._connect_grpc,
        }

    def measure_limit(self, seconds: float) -> float:
        """The microseconds of CPU of one run."""
        for _ in range(10):
            self._session.run(None, self._row)
        runs, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            self._session.run(None, self._row)
            runs += 1
        return (time.process_time() - began) / runs * 1e6

    async def check(self) -> None:
        """Ask by both protocols once.

        Raises:
            RuntimeError: their answers differ.
        """
        async with self._connect_http() as ask_http, self._connect_grpc() as ask_grpc:
            head, _, content = (await ask_http()).partition(b"\r\n\r\n")
            outputs = orjson.loads(content[: _read_header(head, b"inference-header-content-length")])["outputs"]
            answer = find_message("ModelInferResponse").FromString(await ask_grpc())
            size = sum(output["parameters"]["binary_data_size"] for output in outputs)
            if content[-size:] != b"".join(answer.raw_output_contents):
                raise RuntimeError("gRPC answers other bytes than HTTP")

    async def load(self, protocol: str, at_a_time: int, seconds: float) -> int:
        """Ask for ``seconds``, so many at a time; returns how many answers came."""
        ends = time.monotonic() + seconds

        async def go_on(ask: Ask) -> int:
            count = 0
            while time.monotonic() < ends:
                await ask()
                count += 1
            return count

        async with AsyncExitStack() as stack:
            if protocol == "gRPC":
                asks = [await stack.enter_async_context(self._connect_grpc())] * at_a_time
            else:
                asks = [await stack.enter_async_context(self._connect_http()) for _ in range(at_a_time)]
            return sum(await asyncio.gather(*map(go_on, asks)))

    @asynccontextmanager
    async def _connect_grpc(self) -> AsyncIterator[Ask]:
        """A channel; a question is a message and its answer another."""
        request = find_message("ModelInferRequest")(model_name=self._kind)
        for spec in self._inputs:
            array = self._row[spec.name]
            request.inputs.add(name=spec.name, datatype=tensors.DATATYPES[spec.dtype], shape=array.shape)
            request.raw_input_contents.append(tensors.write_binary(array))
        message = request.SerializeToString()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")

            async def ask() -> bytes:
                answer: bytes = await call(message)
                return answer

            yield ask

    @asynccontextmanager
    async def _connect_http(self) -> AsyncIterator[Ask]:
        """A connection; an answer is its headers and its body."""
        contents = [tensors.write_binary(self._row[spec.name]) for spec in self._inputs]
        inputs = [
            {
                "name": spec.name,
                "datatype": tensors.DATATYPES[spec.dtype],
                "shape": self._row[spec.name].shape,
                "parameters": {"binary_data_size": len(content)},
            }
            for spec, content in zip(self._inputs, contents, strict=True)
        ]
        header = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
        body = b"".join([header, *contents])
        head = f"POST /v2/models/{self._kind}/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        head += f"content-type: application/octet-stream\r\ninference-header-content-length: {len(header)}\r\n\r\n"
        message = head.encode() + body
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http_port)

        async def ask() -> bytes:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"HTTP answers {head!r}")
            return head + await reader.readexactly(_read_header(head, b"content-length"))

        try:
            yield ask
        finally:
            writer.close()


def _fill(spec: TensorSpec) -> list[Any]:
    """The elements of one row of an input, in lists by its shape; what varies is one long."""
    filled: Any = "" if spec.dtype == "string" else 0
    for size in reversed(spec.shape[1:]):
        filled = [filled] * (size if isinstance(size, int) else 1)
    return [filled]


def _read_header(head: bytes, name: bytes) -> int:
    """The number in a header of an answer."""
    return int(head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0])


def _measure(bench: Bench, server: Server, options: argparse.Namespace) -> dict[tuple[str, int], list[float]]:
    """The microseconds of CPU by what was measured and how many at a time, a figure for each round."""
    costs: dict[tuple[str, int], list[float]] = {}
    for round_ in range(options.rounds):
        costs.setdefault(("the graph alone", 1), []).append(bench.measure_limit(options.seconds / 4))
        protocols = list(bench.protocols)
        for protocol in protocols[round_ % 2 :] + protocols[: round_ % 2]:
            for at_a_time in options.at_a_time:
                asyncio.run(bench.load(protocol, at_a_time, WARM_UP_SECONDS))
                began = server.cpu_seconds()
                count = asyncio.run(bench.load(protocol, at_a_time, options.seconds))
                costs.setdefault((protocol, at_a_time), []).append((server.cpu_seconds() - began) / count * 1e6)
    return costs


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="churn", help="what is asked (churn)")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models (models/)")
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[1, 16], help="requests at a time (1 16)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError(f"{len(cores)} core: the service and what asks it need one each")
    os.sched_setaffinity(0, {cores[1]})
    repository = Repository(options.models.resolve())
    folder = repository.folder(options.kind, repository.newest(options.kind))
    bench = Bench(folder)
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:ModelService", "--working-dir", str(ROOT)]
    command += ["--host", "127.0.0.1", "--port", str(bench.http_port)]
    with tempfile.TemporaryDirectory(prefix="modelyard-benchmark-") as workspace:
        models = Path(workspace) / "models"  # of that version alone
        shutil.copytree(folder, models / options.kind / folder.name)
        environment = {
            "BENTOML_HOME": workspace,
            "BENTOML_DO_NOT_TRACK": "True",
            "MODELYARD_MODELS": str(models),
            "MODELYARD_GRPC_PORT": str(bench.grpc_port),
        }
        with Server(command, environment, cores[0], Path(workspace) / "log") as server:
            server.wait(lambda: _is_ready(bench.http_port))
            asyncio.run(bench.check())
            costs = _measure(bench, server, options)
    print("| | at a time | CPU us per request |\n|---|---|---|")
    for (name, at_a_time), figures in costs.items():
        print(f"| {name} | {at_a_time} | {median(figures):.0f} ({min(figures):.0f} to {max(figures):.0f}) |")


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
