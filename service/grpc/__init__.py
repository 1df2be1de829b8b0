"""The Open Inference Protocol (V2) by gRPC, for who sets ``MODELYARD_GRPC_PORT``: nothing of it is loaded otherwise."""
