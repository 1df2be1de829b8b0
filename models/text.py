"""How a text becomes the token ids that a network reads. Training and service both call this, so they cannot differ.

The tokenizer is data: ``tokenizer.json`` in the version's folder, a file of the ``tokenizers`` library. Its normaliser
carries the rules for what is no language (``<br />`` becomes a space), its post-processor puts one token before the
text and one behind it, so that even an empty text has something to read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import Encoding, Tokenizer

from models.errors import ArtifactError

TOKENIZER_FILE: Final = "tokenizer.json"

TokenIds = NDArray[np.int32]


class TextPreprocessing(BaseModel):
    """The facts, beside the tokenizer, that turn a text into the graph's input; they travel in the manifest.

    A text of more than ``max_tokens``, the one before and the one behind it counted in, is read at both ends: its
    first ``head_tokens``, and its last for the rest. Shorter texts of a batch are filled up behind with ``padding_id``,
    which the graph does not read. ``unknown_id`` stands for what is not in the vocabulary and, in explanations, for
    what is hidden.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["text"] = "text"
    max_tokens: int = Field(ge=3, le=65_536)
    head_tokens: int = Field(ge=1)
    padding_id: Literal[0] = 0
    unknown_id: int = Field(ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.head_tokens >= self.max_tokens:
            raise ValueError(f"head_tokens: {self.head_tokens}, expected less than max_tokens, {self.max_tokens}")
        return self


class Reading(NamedTuple):
    """What is read of a text: the tokens' ids, and where each stands in the text, as characters from start to end.

    The tokens before and behind the text stand at (0, 0). ``tokens`` counts those of the whole text, without these two.
    """

    ids: TokenIds  # (sequence,)
    offsets: Sequence[tuple[int, int]]
    tokens: int
    truncated: bool


class TextReader:
    """Reads texts with a version's tokenizer.

    Args:
        tokenizer: the version's.
        preprocessing: likewise.
    """

    def __init__(self, tokenizer: Tokenizer, preprocessing: TextPreprocessing) -> None:
        self._tokenizer = tokenizer
        self._head = preprocessing.head_tokens
        self._tail = preprocessing.max_tokens - preprocessing.head_tokens
        self._around: int = tokenizer.num_special_tokens_to_add(False)

    def read(self, text: str) -> Reading:
        """The token ids of ``text``, of its two ends where it is too long. Any string has an answer."""
        return self._cut(self._tokenizer.encode(_mend(text)))

    def read_all(self, texts: Sequence[str]) -> list[Reading]:
        """What :meth:`read` says of each text, on as many threads as there are cores."""
        return [self._cut(encoding) for encoding in self._tokenizer.encode_batch([_mend(text) for text in texts])]

    def _cut(self, encoding: Encoding) -> Reading:
        ids, offsets = encoding.ids, encoding.offsets
        tokens, truncated = len(ids) - self._around, len(ids) > self._head + self._tail
        if truncated:
            ids, offsets = [*ids[: self._head], *ids[-self._tail :]], [*offsets[: self._head], *offsets[-self._tail :]]
        return Reading(np.array(ids, np.int32), offsets, tokens, truncated)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a version.

    Raises:
        ArtifactError: the file is missing, or the library cannot read it.
    """
    path = folder / TOKENIZER_FILE
    try:
        return Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise ArtifactError(f"{path}: cannot be read: {error}") from error


def _mend(text: str) -> str:
    """``text`` without halves of characters, which JSON can carry and UTF-8 cannot; the length stays."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
