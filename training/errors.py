"""What can go wrong in training that is the user's to mend.

TrainingError
├── SettingError     a setting that cannot be
├── DataError        data that cannot be trained on
├── DivergenceError  a loss that is no longer a number
└── ExportError      an exported graph that does not do what the network does
"""


class TrainingError(Exception):
    """Stops a training with a message for the user; nothing is added to the models."""


class SettingError(TrainingError):
    """A setting cannot be. The message names it, its value and what was expected."""


class DataError(TrainingError):
    """The data cannot be trained on. The message names the file or folder and what was expected."""


class DivergenceError(TrainingError):
    """The loss is no longer a number."""


class ExportError(TrainingError):
    """The exported graph does not do what the network does."""
