import json
from pathlib import Path

import pytest

from tests.training.sentiment.reviews import make_reviews, pack_imdb, write_csv, write_imdb
from training.errors import DataError
from training.sentiment.data import TextData, load_texts


def counts(data: TextData) -> tuple[int, int, int, int]:
    return len(data.train), len(data.validation), len(data.test), len(data.unlabelled)


def test_the_official_split_is_kept_and_validation_is_cut_from_training(tmp_path: Path) -> None:
    data = load_texts(str(write_imdb(tmp_path)), tmp_path / "cache", validation_fraction=0.25)
    assert data.labels == ("negative", "positive")
    assert counts(data) == (30, 10, 40, 20)
    assert sum(data.validation.labels) == 5
    assert not {*data.train.texts} & {*data.validation.texts}


def test_an_archive_gives_what_its_folder_gives_and_is_unpacked_once(tmp_path: Path) -> None:
    archive, cache = pack_imdb(tmp_path), tmp_path / "cache"
    cache.mkdir()
    data = load_texts(str(archive), cache)
    assert data.sha256 == load_texts(str(tmp_path / "aclImdb"), cache).sha256
    archive.unlink()
    assert load_texts("imdb", cache).sha256 == data.sha256
    assert [path.name for path in cache.iterdir()] == ["aclImdb"]


def test_a_damaged_archive_is_refused_and_leaves_no_data_behind(tmp_path: Path) -> None:
    archive = pack_imdb(tmp_path)
    archive.write_bytes(archive.read_bytes()[:300])
    (tmp_path / "cache").mkdir()
    with pytest.raises(DataError, match=r"aclImdb_v1.tar.gz' cannot be unpacked"):
        load_texts(str(archive), tmp_path / "cache")
    assert not (tmp_path / "cache" / "aclImdb").exists()


def test_a_download_of_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"MD5 of .* is [0-9a-f]{32}, expected 7c2ac02c03563afcf9b574c7e56c153a"):
        load_texts("imdb", tmp_path)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_file_of_ones_own_is_read_with_its_labels_in_order_of_their_names(tmp_path: Path, form: str) -> None:
    rows = make_reviews(20, classes=3)
    path = tmp_path / f"own.{form}"
    if form == "jsonl":
        path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows), "utf-8")
    elif form == "tsv":
        path.write_text("\n".join(["text\tlabel", *(f"{text}\t{label}" for text, label in rows)]), "utf-8")
    else:
        write_csv(path, rows)
    data = load_texts(str(path), tmp_path)
    assert data.labels == ("bad", "good", "mixed")
    assert (data.name, data.source) == ("own", path.name)
    assert counts(data) == (43, 5, 12, 0)


def test_columns_of_other_names_are_chosen_by_settings(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "own.csv", make_reviews(20), ("what they said", "mood"))
    with pytest.raises(DataError, match=r"has columns what they said, mood; expected one called text.*--text-column"):
        load_texts(str(path), tmp_path)
    with pytest.raises(DataError, match=r"has columns what they said, mood; expected 'said'"):
        load_texts(str(path), tmp_path, text_column="said", label_column="mood")
    assert load_texts(str(path), tmp_path, text_column="what they said", label_column="mood").labels == ("bad", "good")


def test_an_empty_text_or_label_is_named_by_its_row(tmp_path: Path) -> None:
    rows = make_reviews(20)
    for place, name in ((0, "text"), (1, "label")):
        broken = [*rows]
        broken[6] = ("", "good") if place == 0 else ("fine", "")
        with pytest.raises(DataError, match=rf"row 7: '{name}' is empty"):
            load_texts(str(write_csv(tmp_path / "own.csv", broken)), tmp_path)


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "own.csv", make_reviews(20, classes=1))
    with pytest.raises(DataError, match=r"column 'label' has 1 classes \('good'…\), expected 2 to 100"):
        load_texts(str(path), tmp_path)


def test_a_class_with_one_text_cannot_be_split(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "own.csv", [*make_reviews(20), ("so so", "mixed")])
    with pytest.raises(DataError, match=r"the test split: .* the rarest class has 1: expected at least one"):
        load_texts(str(path), tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"text": "a"\n', "row 1: no JSON"),
        (b'["text"]\n', "row 1: .* is no object"),
        (b"\xff\xfe\x00", "is no UTF-8"),
        (b"\n\n", "has no rows"),
    ],
)
def test_a_file_of_broken_lines_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        load_texts(str(path), tmp_path)


def test_what_is_no_file_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'nothing.csv' is none of 'imdb', its archive or folder, and no CSV"):
        load_texts("nothing.csv", tmp_path)


def test_a_review_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path)
    (folder / "train" / "neg" / "3_7.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"3_7.txt' cannot be read as UTF-8"):
        load_texts(str(folder), tmp_path)


def test_fewer_texts_are_used_where_fewer_are_asked_for(tmp_path: Path) -> None:
    data = load_texts(str(write_imdb(tmp_path)), tmp_path, max_texts=16, validation_fraction=0.25)
    assert counts(data) == (12, 4, 16, 16)
