"""Versions come, take over and go while requests are answered."""

import asyncio
import gc
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.bodies import Body
from service.catalogue import Catalogue
from service.config import Settings, SettingsError
from service.errors import ConflictError, NotFoundError
from service.kinds import KINDS
from service.metrics import Metrics
from service.queries import read_query
from service.runtime import Model
from service.state import Plan
from tests.table_versions import CUSTOMER, add_predictor
from tests.versions import KIND, add_version, encode, plain_picture

Open = Callable[..., Catalogue]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of models with one version."""
    folder = tmp_path / "models"
    add_version(folder)
    return folder


@pytest.fixture
def open_(root: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens catalogues of that folder, with a state that they share."""
    catalogues = []

    def open_one(**settings: object) -> Catalogue:
        values = {"models": root, "state": tmp_path / "state", **settings}
        catalogues.append(Catalogue(Settings.model_validate(values), Metrics()))
        catalogues[-1].load()
        catalogues[-1].look()
        return catalogues[-1]

    yield open_one
    for catalogue in catalogues:
        catalogue.close()


def states(catalogue: Catalogue) -> dict[int, str]:
    return {entry.version: entry.state for entry in catalogue.list_entries(KIND)}


def set_plan(catalogue: Catalogue, **changes: object) -> None:
    plan = Plan.model_validate(changes, strict=False)
    updates = {name: getattr(plan, name) for name in changes}
    asyncio.run(catalogue.change(KIND, lambda before: before.model_copy(update=updates)))


def test_a_new_version_takes_over_and_the_one_before_stays_for_a_rollback(root: Path, open_: Open) -> None:
    catalogue = open_()
    add_version(root)
    assert catalogue.find(KIND).manifest.version == 1
    catalogue.look()
    assert catalogue.find(KIND).manifest.version == 2
    assert catalogue.find(KIND, 1).manifest.version == 1
    add_version(root)
    catalogue.look()
    assert states(catalogue) == {1: "not loaded", 2: "loaded", 3: "serving"}
    with pytest.raises(NotFoundError, match="version 1 of image_classifier is not loaded, expected 2 or 3"):
        catalogue.find(KIND, 1)


def test_after_a_start_the_version_before_the_newest_is_loaded_too(root: Path, open_: Open) -> None:
    add_version(root)
    add_version(root)
    assert states(open_()) == {1: "not loaded", 2: "loaded", 3: "serving"}
    assert states(open_(loaded_versions=1)) == {1: "not loaded", 2: "not loaded", 3: "serving"}


def test_a_version_that_is_refused_is_tried_again_once_its_files_have_changed(
    root: Path, open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = open_()
    add_version(root)
    whole = root / KIND / "2"
    away = root.parent / "away"
    whole.rename(away)
    whole.mkdir()
    for name in ("model.onnx", "golden.json", "card.md", "manifest.json"):
        catalogue.look()
        catalogue.look()
        assert states(catalogue) == {1: "serving", 2: "refused"}
        assert catalogue.find(KIND).manifest.version == 1
        shutil.copy(away / name, whole / name)
    catalogue.look()
    assert states(catalogue) == {1: "loaded", 2: "serving"}
    # The folder was looked at eight times, and always lacked the same.
    assert len([message for message in caplog.messages if message.startswith("refused")]) == 1


def test_what_becomes_of_the_folder_that_serves_changes_nothing_until_told(root: Path, open_: Open) -> None:
    catalogue = open_()
    add_version(root)
    catalogue.look()
    model = catalogue.find(KIND)
    (root / KIND / "2" / "model.onnx").write_bytes(b"damaged")
    catalogue.look()
    assert catalogue.find(KIND) is model
    with pytest.raises(ConflictError, match=r"version 2 of image_classifier was refused: .*model.onnx: sha256 is"):
        asyncio.run(catalogue.take(KIND, None))
    assert catalogue.find(KIND) is model
    shutil.rmtree(root / KIND / "2")
    catalogue.look()
    assert catalogue.find(KIND) is model
    assert states(catalogue) == {1: "loaded", 2: "serving"}
    # A whole version under the same number: it is taken when somebody asks for it, and not before.
    add_version(root, labels=("rouge", "vert", "bleu"))
    catalogue.look()
    assert catalogue.find(KIND) is model
    asyncio.run(catalogue.take(KIND, None))
    assert catalogue.find(KIND).manifest.labels == ("rouge", "vert", "bleu")


def test_a_version_that_nobody_uses_is_gone_with_its_session_and_threads(root: Path, open_: Open) -> None:
    catalogue = open_(loaded_versions=1)
    gc.collect()
    gc.freeze()  # as the service does after its start
    gc.disable()
    try:
        gone = weakref.ref(catalogue.find(KIND))
        session = weakref.ref(catalogue.find(KIND)._session)
        add_version(root)
        catalogue.look()
        assert (gone(), session()) == (None, None)
    finally:
        gc.enable()
        gc.unfreeze()


def test_a_version_that_explains_is_gone_with_its_threads(root: Path, open_: Open) -> None:
    add_predictor(root)
    catalogue = open_(loaded_versions=1)
    gc.disable()
    try:
        gone = weakref.ref(catalogue.find("churn"))
        content = orjson.dumps({"customers": [CUSTOMER], "explain": True})
        body = Body("application/json", b"application/json", content)
        query = read_query(catalogue.find("churn").kind.Query, b"")
        asyncio.run(catalogue.find("churn").answer(body, query, b"", float("inf")))
        threads = {thread for thread in threading.enumerate() if "churn" in thread.name}
        assert threads
        add_predictor(root)
        catalogue.look()
        assert gone() is None
        for thread in threads:
            thread.join(timeout=5)
            assert not thread.is_alive()
    finally:
        gc.enable()


def test_the_old_version_finishes_what_it_has(root: Path, open_: Open) -> None:
    catalogue = open_(loaded_versions=1)
    query = read_query(catalogue.find(KIND).kind.Query, b"")
    body = Body("image/png", b"image/png", encode(plain_picture((200, 10, 10))))

    async def ask_and_replace() -> bytes:
        model: Model | None = catalogue.find(KIND)
        assert model is not None
        gone = weakref.ref(model)
        answers = [asyncio.create_task(model.answer(body, query, b"", float("inf"))) for _ in range(8)]
        model = None
        await asyncio.sleep(0)
        add_version(root)
        catalogue.look()
        assert catalogue.find(KIND).manifest.version == 2
        assert gone() is not None
        contents = {(await answer).content for answer in answers}
        answers.clear()
        await asyncio.sleep(0)
        assert gone() is None
        (content,) = contents
        assert isinstance(content, bytes)
        return content

    assert b'"version":"1"' in asyncio.run(ask_and_replace())


def test_a_pinned_version_serves_whatever_comes(root: Path, open_: Open) -> None:
    add_version(root)
    catalogue = open_(pin={KIND: 1})
    add_version(root)
    catalogue.look()
    assert states(catalogue) == {1: "serving", 2: "not loaded", 3: "not loaded"}


def test_a_version_that_is_pinned_and_cannot_be_served_leaves_its_kind_unserved(
    root: Path, open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    add_predictor(root)
    catalogue = open_(pin={KIND: 7})
    with pytest.raises(NotFoundError, match="no version of image_classifier is loaded"):
        catalogue.find(KIND)
    assert "refused image_classifier version 7: image_classifier/7/manifest.json: cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pin": {"toaster": 1}}, "MODELYARD_PIN: 'toaster' is none of churn"),
        ({"shadow": {"profile_generator": 1}}, "MODELYARD_SHADOW: 'profile_generator' makes things up"),
    ],
)
def test_a_kind_that_cannot_be_set_stops_the_start(open_: Open, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        open_(**settings)


def test_a_rollback_goes_to_the_version_before_and_not_further(root: Path, open_: Open) -> None:
    catalogue = open_()
    add_version(root)
    catalogue.look()
    asyncio.run(catalogue.roll_back(KIND))
    assert catalogue.find(KIND).manifest.version == 1
    with pytest.raises(ConflictError, match="has no earlier default version"):
        asyncio.run(catalogue.roll_back(KIND))
    # The version that was rolled back does not come again by itself.
    catalogue.look()
    assert states(catalogue) == {1: "serving", 2: "loaded"}
    set_plan(catalogue, default=None)
    assert catalogue.find(KIND).manifest.version == 2


def test_a_canary_answers_its_share_of_what_names_no_version(root: Path, open_: Open) -> None:
    add_version(root)
    catalogue = open_(pin={KIND: 1}, canary={KIND: {"version": 2, "share": 0.25}})
    versions = [catalogue.find(KIND).manifest.version for _ in range(4000)]
    assert 0.2 < versions.count(2) / len(versions) < 0.3
    assert {catalogue.find(KIND, 1).manifest.version for _ in range(100)} == {1}
    assert catalogue.find_default(KIND).manifest.version == 1
    assert states(catalogue) == {1: "serving", 2: "canary"}


def test_a_rollback_ends_the_canary(root: Path, open_: Open) -> None:
    add_version(root)
    add_version(root)
    catalogue = open_()
    set_plan(catalogue, default=2)
    set_plan(catalogue, canary={"version": 3, "share": 1.0})
    assert catalogue.find(KIND).manifest.version == 3
    asyncio.run(catalogue.roll_back(KIND))
    assert catalogue.find_plan(KIND).canary is None
    assert catalogue.find(KIND).manifest.version == 3  # the default before it was set to 2


def test_a_plan_with_a_version_that_is_refused_changes_nothing(root: Path, open_: Open) -> None:
    add_version(root, golden_shift=0.5)
    catalogue = open_()
    for changes in ({"default": 2}, {"shadow": 2}, {"canary": {"version": 9, "share": 0.5}}):
        with pytest.raises(ConflictError, match="was refused: image_classifier/"):
            set_plan(catalogue, **changes)
        assert catalogue.find_plan(KIND) == Plan()
    assert states(catalogue) == {1: "serving", 2: "refused"}


def test_without_a_folder_for_the_state_nothing_can_be_set(open_: Open) -> None:
    with pytest.raises(ConflictError, match="keeps no state"):
        set_plan(open_(state=None), default=1)


def test_a_kind_can_be_unloaded_and_loaded(root: Path, open_: Open) -> None:
    catalogue = open_()
    gone = weakref.ref(catalogue.find(KIND))
    set_plan(catalogue, unloaded=True)
    with pytest.raises(NotFoundError, match="no version of image_classifier is loaded"):
        catalogue.find(KIND)
    assert gone() is None
    assert states(open_()) == {1: "not loaded"}  # as after a restart
    asyncio.run(catalogue.take(KIND, None))
    assert catalogue.find(KIND).manifest.version == 1


def test_a_version_is_loaded_by_its_number_beside_the_others(root: Path, open_: Open) -> None:
    add_version(root)
    add_version(root)
    catalogue = open_()
    asyncio.run(catalogue.take(KIND, 1))
    assert states(catalogue) == {1: "loaded", 2: "loaded", 3: "serving"}
    catalogue.look()
    assert catalogue.find(KIND, 1).manifest.version == 1


def test_processes_agree_and_a_restart_changes_nothing(root: Path, open_: Open) -> None:
    first, second = open_(), open_()
    for _ in range(2):
        add_version(root)
        first.look()
        second.look()
    set_plan(first, default=2, canary={"version": 1, "share": 0.5}, shadow=3)
    second.look()
    expected = {1: "canary", 2: "serving", 3: "shadow"}
    assert states(first) == states(second) == states(open_()) == expected
    asyncio.run(second.roll_back(KIND))
    first.look()
    assert states(first) == states(second)
    assert open_().find(KIND).manifest.version == first.find(KIND).manifest.version == 3
    assert first.find_default(KIND).manifest.version == 3
    assert first.find_previous(KIND) is None


def test_a_state_that_cannot_be_read_leaves_what_serves(
    root: Path, open_: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = open_()
    (tmp_path / "state" / "versions.json").write_text('{"plans": 3}')
    add_version(root)
    for _ in range(3):
        catalogue.look()
    assert catalogue.find(KIND).manifest.version == 1
    assert len([record for record in caplog.records if "stay as they are" in record.message]) == len(KINDS)
    (tmp_path / "state" / "versions.json").unlink()
    catalogue.look()
    assert catalogue.find(KIND).manifest.version == 2
