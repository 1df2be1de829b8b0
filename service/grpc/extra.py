"""What gRPC needs and the base install has not: the extra ``grpc``, and a port."""

import socket
from importlib.util import find_spec

from service.config import PREFIX, Settings, SettingsError


def check_grpc(settings: Settings) -> None:
    """Find out whether calls can be served, where they are wanted.

    Raises:
        SettingsError: what serves them is not installed, or the port is taken.
    """
    if not settings.grpc_port:
        return
    setting = f"{PREFIX}GRPC_PORT='{settings.grpc_port}'"
    if find_spec("grpc") is None:
        raise SettingsError(f"{setting}: needs the extra: pip install 'modelyard[grpc]'")
    family = socket.AF_INET6 if ":" in settings.grpc_host else socket.AF_INET
    try:
        # The workers share the port; another service that does so would be given a share of its connections.
        socket.create_server((settings.grpc_host, settings.grpc_port), family=family).close()
    except OSError as error:
        raise SettingsError(f"{setting}: cannot listen at {settings.grpc_host}: {error.strerror}") from error
