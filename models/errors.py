"""What can be wrong with a model on disk.

ModelError
├── ManifestError     a manifest that is missing, unreadable, or says something that cannot be
├── ArtifactError     a file that is missing, foreign, or not the one the manifest describes
└── RepositoryError   a folder of versions that cannot be read or added to
"""


class ModelError(Exception):
    """A model that must not be served. The message names file, field, value and expectation."""


class ManifestError(ModelError):
    """The manifest is missing, unreadable, or says something that cannot be."""


class ArtifactError(ModelError):
    """A file of the version is missing, foreign, or not the one the manifest describes."""


class RepositoryError(ModelError):
    """The folder of versions cannot be read or added to."""
