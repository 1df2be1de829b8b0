"""Words of strangers, quoted so that neither Markdown nor HTML takes a part of them for its own."""

import re
from typing import Final

_LINE_BREAK = re.compile(r"<\s*br\s*/?\s*>", re.IGNORECASE)
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
# A character reference cannot stand for a mark of the syntax: CommonMark 0.31, section 2.5. Nor can one end the cell of
# a table, as an escaped bar can where a table is written.
_MARKS: Final = {ord(mark): f"&#{ord(mark)};" for mark in "&<>\\`*_[]|~$#@{}"}


def escape(text: str) -> str:
    """``text`` on one line that reads the same and holds no Markdown, no HTML and no link."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return _ADDRESS.sub(lambda mark: f"&#{ord(mark[0])};", " ".join(visible.split()).translate(_MARKS))


def quote(text: str, length: int) -> str:
    """``text`` in quotation marks, escaped; of a longer one, ``length`` characters from both ends.

    People say what they think at the beginning and at the end. Line breaks of HTML are left out.
    """
    whole = " ".join(_LINE_BREAK.sub(" ", text).split())
    if len(whole) <= length:
        return f"“{escape(whole)}”"
    head, tail = whole[: length // 2].rsplit(" ", 1)[0], whole[-(length // 2) :].split(" ", 1)[-1]
    return f"“{escape(head)} … {escape(tail)}”"
