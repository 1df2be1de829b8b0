"""The server speaks HTTPS where it has a certificate, and its connections end well when it drains."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.config import Settings, SettingsError
from service.server import check_certificate
from tests.reliability.server import run_service
from tests.service.clients import connect
from tests.service.test_classify import PNG

ASK = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def test_with_a_certificate_it_is_https(models: Path, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate[0]))

    def is_ready(port: int) -> bool:
        try:
            return httpx.get(f"https://127.0.0.1:{port}/readyz", verify=trusted, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_TLS_CERTIFICATE": str(certificate[0]),
        "MODELYARD_TLS_KEY": str(certificate[1]),
    }
    with (
        run_service(tmp_path, environment, is_ready=is_ready) as service,
        httpx.Client(base_url=f"https://127.0.0.1:{service.port}", verify=trusted) as client,
    ):
        for _ in range(3):  # on one connection
            answer = client.post("/classify", content=PNG, headers={"content-type": "image/png"})
            assert answer.json()["predictions"][0]["label"] == "red"
        assert client.post("/classify", content=b"x" * 11_000_000).status_code in (413, 415)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{service.port}/livez")


def test_a_certificate_that_cannot_be_stops_the_start(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tls_certificate='.*', tls_key='.*': expected PEM files that belong"):
        check_certificate(Settings(tls_certificate=certificate[0], tls_key=tmp_path / "nowhere.pem"))
    (tmp_path / "other.pem").write_text("junk")
    with pytest.raises(SettingsError, match="expected PEM files that belong together"):
        check_certificate(Settings(tls_certificate=certificate[0], tls_key=tmp_path / "other.pem"))
    check_certificate(Settings(tls_certificate=certificate[0], tls_key=certificate[1]))
    check_certificate(Settings())


def test_while_it_drains_only_readiness_fails_and_each_connection_ends_with_its_answer(
    models: Path, tmp_path: Path
) -> None:
    environment = {"MODELYARD_MODELS": str(models), "MODELYARD_DRAIN_SECONDS": "30"}
    with (
        run_service(tmp_path, environment) as service,
        httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=30) as client,
    ):
        assert "connection" not in client.get("/readyz").headers
        os.kill(service.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while (probe := client.get("/readyz")).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert probe.json()["detail"] == "draining: the service is about to stop"
        for path in ("/v2/health/ready", "/v2/models/image_classifier/ready"):
            assert client.get(path).status_code == 503
        for path in ("/livez", "/v2/health/live", "/models"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        answer = client.post("/classify", content=PNG, headers={"content-type": "image/png"})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        for worker in service.workers():  # does not wait for the end of the drain
            os.kill(worker, signal.SIGINT)
        assert service.process.wait(30) == 0, service.text()
        assert "Traceback" not in service.text()


@contextlib.contextmanager
def connected(
    count: int, models: Path, folder: Path, settings: dict[str, str], timeout_seconds: float
) -> Iterator[list[socket.socket]]:
    """So many connections to a service with these settings, on which nothing has been asked yet."""
    with (
        run_service(folder, {"MODELYARD_MODELS": str(models), **settings}) as service,
        contextlib.ExitStack() as connections,
    ):
        url = f"http://127.0.0.1:{service.port}"
        yield [connections.enter_context(connect(url, timeout_seconds)) for _ in range(count)]


def test_a_connection_may_rest_after_an_answer_for_as_long_as_is_set(models: Path, tmp_path: Path) -> None:
    settings = {"MODELYARD_KEEP_ALIVE_SECONDS": "1"}
    with connected(2, models, tmp_path, settings, timeout_seconds=10) as (resting, asking):
        for pause in (0.0, 0.5, 0.5):  # each rest counts by itself
            time.sleep(pause)
            resting.sendall(ASK)
            assert resting.recv(65536).startswith(b"HTTP/1.1 200")
        asking.sendall(ASK[:10])
        began = time.monotonic()
        assert resting.recv(65536) == b""
        assert 0.9 < time.monotonic() - began < 5
        # One that has begun to ask does not rest.
        asking.sendall(ASK[10:])
        assert asking.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_connection_whose_client_stalls_is_ended(models: Path, tmp_path: Path) -> None:
    settings = {"MODELYARD_DEADLINE_SECONDS": "1"}
    with connected(3, models, tmp_path, settings, timeout_seconds=20) as (silent, stalling, resting):
        began = time.monotonic()
        for connection, sent in ((stalling, ASK + ASK[:10]), (resting, ASK)):
            connection.sendall(sent)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        for connection in (silent, stalling):
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(65536) == b""
        assert 4.9 < time.monotonic() - began < 15
        # A head that begins after a rest has its time too.
        resting.sendall(ASK[:10])
        time.sleep(1.5)
        resting.sendall(ASK[10:])
        assert resting.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_private_port_that_is_taken_stops_the_start(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {"MODELYARD_MODELS": str(models), "MODELYARD_ADMIN_PORT": str(port)}
        message = rf"(?s)ended with status 1.*MODELYARD_ADMIN_PORT='{port}': cannot listen at 127\.0\.0\.1: "
        with pytest.raises(RuntimeError, match=message), run_service(tmp_path, environment):
            pass


def test_it_listens_on_this_machine_alone_unless_it_is_told_otherwise(models: Path, tmp_path: Path) -> None:
    environment = {"MODELYARD_MODELS": str(models)}
    with run_service(tmp_path, environment, host=None) as service:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        addresses = [line[1] for line in lines if line[3] == "0A"]  # those that listen
        port = f"{service.port:04X}"
        assert [address for address in addresses if address.endswith(f":{port}")] == [f"0100007F:{port}"]
        assert "open: no keys are set, so whoever reaches the port may ask" in service.text()
