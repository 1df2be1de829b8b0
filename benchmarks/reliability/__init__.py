"""Proofs that the service can be relied on: each with a real server, real clients, a seed and an end."""
