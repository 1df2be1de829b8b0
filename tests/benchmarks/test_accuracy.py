"""The accuracy over HTTP, by a real server."""

from pathlib import Path

import pytest

from benchmarks.accuracy import main
from tests.conftest import Serve
from tests.text_versions import KIND, SENTIMENTS, add_sentiment, expected_prediction, make_text
from tests.versions import add_version, encode, plain_picture

REVIEWS = 40


def write_reviews(data: Path) -> int:
    """Test reviews that are called positive and negative in turn; the answer is how many the model calls the same."""
    right = 0
    for number in range(REVIEWS):
        text, positive = make_text(number), number % 2
        path = data / "test" / ("neg", "pos")[positive] / f"{number}_5.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        right += expected_prediction(text)["label"] == SENTIMENTS[positive]
    return right


def write_pictures(data: Path) -> None:
    """Plain pictures, one of which is in the wrong folder."""
    for label, colour in (("red", (200, 0, 0)), ("green", (0, 200, 0)), ("blue", (0, 0, 200)), ("blue", (99, 0, 0))):
        (data / label).mkdir(parents=True, exist_ok=True)
        (data / label / f"{colour[0]}.png").write_bytes(encode(plain_picture(colour)))


def test_both_kinds_accuracies_are_measured_and_set_beside_the_manifests(
    tmp_path: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    models, reviews, pictures = tmp_path / "models", tmp_path / "aclImdb", tmp_path / "pictures"
    add_sentiment(models, metrics={"accuracy": 0.75})
    add_version(models)
    right = write_reviews(reviews)
    write_pictures(pictures)
    with serve(environment={"MODELYARD_MODELS": str(models)}) as url:
        with pytest.raises(SystemExit) as ended:
            main(["--kind", KIND, "--url", url, "--data", str(reviews)])
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        assert f"{right} of {REVIEWS} right, 0 failed" in printed
        assert f"accuracy {right / REVIEWS:.4f} " in printed
        assert "the manifest of version 1 says 0.7500" in printed

        with pytest.raises(SystemExit) as ended:
            main(["--url", url, "--data", str(pictures)])
        assert ended.value.code == 0
        assert "3 of 4 right, 0 failed" in capsys.readouterr().out

        (pictures / "violet").mkdir()
        (pictures / "red" / "200.png").rename(pictures / "violet" / "200.png")
        with pytest.raises(ValueError, match="is 'violet', which is none of the model's labels: "):
            main(["--url", url, "--data", str(pictures)])
