"""The profile generator: its encoding of a table, its network, its training, its measurements."""
