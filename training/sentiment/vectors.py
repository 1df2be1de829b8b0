"""Word vectors in the text form of GloVe and word2vec: a word and its numbers in each line."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from training.errors import SettingError


@torch.no_grad()
def load_vectors(path: Path, tokenizer: Tokenizer, embedding: nn.Embedding) -> int:
    """Set the embedding of every token that the file has a vector for; the others stay.

    Args:
        path: the file, UTF-8. A first line with two numbers, as word2vec writes it, is passed over.
        tokenizer: whose words are looked up, in lower case.
        embedding: (vocabulary, dimensions), changed in place.

    Returns:
        How many tokens were found.

    Raises:
        SettingError: the file cannot be read, a line is no vector of these dimensions, or no token is in it.
    """
    vocabulary, dimensions, found = tokenizer.get_vocab(), embedding.embedding_dim, 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                word, *values = line.rstrip().split(" ")
                if number == 1 and len(values) == 1:
                    continue
                if len(values) != dimensions:
                    raise SettingError(
                        f"embeddings: '{path}', line {number}: {len(values)} numbers, expected dimensions, {dimensions}"
                    )
                if word in vocabulary:
                    embedding.weight[vocabulary[word]] = torch.tensor([float(value) for value in values])
                    found += 1
    except (OSError, ValueError) as error:
        raise SettingError(f"embeddings: '{path}' cannot be read: {error}") from error
    if not found:
        raise SettingError(f"embeddings: '{path}' has none of the {len(vocabulary):,} tokens, expected some")
    return found
