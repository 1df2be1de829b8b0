"""What strangers wrote cannot become a part of the page."""

import html

import pytest

from training.sentiment.quotation import escape, quote


@pytest.mark.parametrize(
    "text",
    [
        "plain words, 10/10!",
        "<script>alert(1)</script>",
        "**bold** _it_ ~~no~~ `code` $x$ # 1",
        "[a](javascript:b) ![c](d) | cell",
        "write me@example.com or www.example.com or HTTP://example.com",
        "&amp; &lt;",
        "back\\slash",
        "emoji 👍, 很好, naïve",
    ],
)
def test_what_is_escaped_reads_the_same_and_is_no_markup(text: str) -> None:
    escaped = escape(text)
    assert html.unescape(escaped) == text
    assert not set("<>\\`*_[]|~$@") & set(escaped)
    assert "://" not in escaped
    assert "www." not in escaped


def test_what_cannot_be_seen_becomes_a_space() -> None:
    assert escape("a\nb\t c\0d\u202ee\ud800f") == "a b c d e f"


def test_a_short_text_is_quoted_whole_without_line_breaks() -> None:
    assert quote("One.<br /><br />Two.<BR>\nThree & four.", 300) == "“One. Two. Three &#38; four.”"


def test_of_a_long_text_both_ends_are_quoted_between_words() -> None:
    text = " ".join(f"w{number}" for number in range(1000))
    quoted = quote(text, 60)
    assert quoted.startswith("“w0 w1 w2")
    assert quoted.endswith("w998 w999”")
    assert len(quoted) <= 65
    head, tail = quoted.strip("“”").split(" … ")
    assert set(head.split()) | set(tail.split()) <= set(text.split())


def test_a_text_without_spaces_is_cut_all_the_same() -> None:
    assert len(quote("好" * 5000, 300)) == 305
