"""The table between training and service: the contract in code, and the artifacts it describes."""
