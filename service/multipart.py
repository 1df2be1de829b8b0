"""A body of ``multipart/form-data``: what a form in a web page and most HTTP clients send for files."""

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.bodies import Body
from service.errors import BadBodyError, UnprocessableError

if TYPE_CHECKING:  # it exists for type checkers alone
    from python_multipart.multipart import MultipartCallbacks


def read_parts(body: Body, name: str, max_parts: int) -> list[bytes]:
    """The contents of the parts of a ``multipart/form-data`` body, all of which are called ``name``.

    Raises:
        BadBodyError: it is not multipart, or not complete.
        UnprocessableError: a part has another name, or there are more than ``max_parts``.
    """
    boundary = parse_options_header(body.content_type)[1].get(b"boundary")
    if not boundary:
        raise BadBodyError("the Content-Type multipart/form-data has no boundary")
    form = _Form(name, max_parts)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body.content)
        parser.finalize()
    except FormParserError as error:
        raise BadBodyError(f"the body is not multipart/form-data: {error}") from error
    if not form.complete:
        raise BadBodyError("the body is not multipart/form-data: it ends before its last boundary")
    return form.parts


class _Form:
    """Gathers the parts that the parser finds."""

    def __init__(self, name: str, max_parts: int) -> None:
        self.parts: list[bytes] = []
        self.complete = False
        self._name = name.encode()
        self._max_parts = max_parts
        self._field = self._value = self._disposition = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        if len(self.parts) == self._max_parts:
            raise UnprocessableError([(self._name.decode() + "s", f"expected at most {self._max_parts} parts")])
        self._disposition = b""
        self._chunks = []

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _on_headers_finished(self) -> None:
        found = parse_options_header(self._disposition)[1].get(b"name")
        if found != self._name:
            shown = "no name" if found is None else f"the name '{found[:60].decode('utf-8', 'replace')}'"
            expected = self._name.decode()
            raise UnprocessableError([(f"{expected}s[{len(self.parts)}]", f"has {shown}, expected '{expected}'")])

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _on_part_end(self) -> None:
        self.parts.append(b"".join(self._chunks))

    def _on_end(self) -> None:
        self.complete = True
