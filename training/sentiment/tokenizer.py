"""The tokenizer: words as they stand, rare ones in pieces, learnt from the training texts."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

PADDING, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
SPECIAL_TOKENS = (PADDING, UNKNOWN, START, END)  # their ids are their places
UNKNOWN_ID = SPECIAL_TOKENS.index(UNKNOWN)
CONTINUATION = "##"

# What crawled reviews hold of HTML is line breaks.
_LINE_BREAK = r"<\s*br\s*/?\s*>"
# A word with its apostrophes, a number, or one mark as often as it stands in a row.
_WORD = r"[\p{L}\p{M}]+(?:['\u2019]\p{L}+)*|\p{N}+|([^\s\p{L}\p{M}\p{N}])\1*"
_MAX_CHARACTERS = 150  # different ones in the vocabulary; in English reviews the rest is one in a million


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A tokenizer with byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) of words in lower case.

    Args:
        texts: what it learns from.
        vocabulary_size: the tokens at most, special ones included.
    """
    tokenizer = Tokenizer(BPE(unk_token=UNKNOWN, continuing_subword_prefix=CONTINUATION, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(_LINE_BREAK), " "), normalizers.NFC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        continuing_subword_prefix=CONTINUATION,
        limit_alphabet=_MAX_CHARACTERS,
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in (START, END)],
    )
    return tokenizer
