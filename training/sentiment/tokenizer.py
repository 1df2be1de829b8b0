"""The tokenizer: words as they stand, rare ones in pieces, learnt from the training texts."""

import json
from collections import Counter
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

PADDING, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
SPECIAL_TOKENS = (PADDING, UNKNOWN, START, END)  # their ids are their places
UNKNOWN_ID = SPECIAL_TOKENS.index(UNKNOWN)
CONTINUATION = "##"

# What crawled reviews hold of HTML is line breaks.
_LINE_BREAK = r"(?i)<\s*br\s*/?\s*>"
# A word with its apostrophes, a number, or one mark as often as it stands in a row.
_WORD = r"[\p{L}\p{M}]+(?:['\u2019]\p{L}+)*|\p{N}+|([^\s\p{L}\p{M}\p{N}])\1*"
_MAX_CHARACTERS = 150  # different ones in the vocabulary; in English reviews the rest is one in a million


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Tokenizer:
    """A tokenizer with byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) of words in lower case.

    The same texts give the same tokenizer.

    Args:
        texts: what it learns from.
        vocabulary_size: the tokens at most, special ones included.
    """
    tokenizer = Tokenizer(BPE(unk_token=UNKNOWN, continuing_subword_prefix=CONTINUATION, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(_LINE_BREAK), " "), normalizers.NFC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    characters = _count_characters(texts)
    pieces = [CONTINUATION + character for character in characters]
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        # The trainer numbers the pieces of one character as they come out of a table with a random order, and by their
        # numbers it decides which of two equally frequent pairs is joined first. Named here, they have fixed ones.
        special_tokens=[*SPECIAL_TOKENS, *pieces],
        continuing_subword_prefix=CONTINUATION,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _demote(tokenizer, pieces)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in (START, END)],
    )
    return tokenizer


def _count_characters(texts: Sequence[str]) -> list[str]:
    """The characters of the vocabulary: the most frequent ones, in lower case."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.lower())
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    return [character for character in ranked if not character.isspace()][:_MAX_CHARACTERS]


def _demote(tokenizer: Tokenizer, pieces: Sequence[str]) -> Tokenizer:
    """The tokenizer with ``pieces`` as plain tokens of its model, not as special ones that are looked for in texts."""
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = [token for token in description["added_tokens"] if token["content"] not in pieces]
    return Tokenizer.from_str(json.dumps(description))
