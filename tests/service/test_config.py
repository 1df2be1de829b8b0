"""A setting that cannot be stops the start, with its name, its value and what was expected."""

import re
from pathlib import Path

import pytest

from service.config import MODELS_FOLDER, Canary, Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"MODELYARD_{field.upper()}", raising=False)
    monkeypatch.delenv("MODELYARD_SETTINGS_FILE", raising=False)


def test_without_settings_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.models == MODELS_FOLDER
    assert (settings.max_items, settings.max_body_bytes, settings.max_pixels) == (64, 10 * 2**20, 40_000_000)
    assert settings == Settings.model_construct()


def test_the_environment_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_MODELS", str(tmp_path))
    monkeypatch.setenv("MODELYARD_MAX_BATCH_ROWS", "16")
    monkeypatch.setenv("MODELYARD_DEADLINE_SECONDS", "2.5")
    settings = load_settings()
    assert (settings.models, settings.max_batch_rows, settings.deadline_seconds) == (tmp_path, 16, 2.5)


def test_a_file_sets_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "modelyard.toml"
    file.write_text('provider = "cpu"\nmax_items = 5\nlog_format = "json"\n')
    monkeypatch.setenv("MODELYARD_SETTINGS_FILE", str(file))
    monkeypatch.setenv("MODELYARD_MAX_ITEMS", "7")
    settings = load_settings()
    assert (settings.provider, settings.max_items, settings.log_format) == ("cpu", 7, "json")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().max_items = 3


def test_versions_are_set_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PIN", '{"churn": 1}')
    monkeypatch.setenv("MODELYARD_CANARY", '{"churn": {"version": 2, "share": 0.1}}')
    settings = load_settings()
    assert (settings.pin, settings.canary) == ({"churn": 1}, {"churn": Canary(version=2, share=0.1)})
    monkeypatch.setenv("MODELYARD_CANARY", '{"churn": {"version": 2, "share": 2}}')
    with pytest.raises(SettingsError, match=r"MODELYARD_CANARY.churn.share='2': Input should be less than or equal"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("MODELYARD_PROVIDER", "gpu", "'auto', 'cpu', 'cuda' or 'tensorrt'"),
        ("MODELYARD_INTRA_OP_THREADS", "0", "greater than or equal to 1"),
        ("MODELYARD_MAX_BATCH_ROWS", "many", "valid integer"),
        ("MODELYARD_MAX_BODY_BYTES", "-1", "greater than or equal to 1024"),
        ("MODELYARD_DEADLINE_SECONDS", "nan", "less than or equal to 3600"),
        ("MODELYARD_DEADLINE_SECONDS", "0", "greater than 0"),
        ("MODELYARD_MAX_PENDING_BYTES", "2000", "should be at least max_body_bytes, 10485760"),
        ("MODELYARD_LOG_FORMAT", "xml", "'readable' or 'json'"),
        ("MODELYARD_LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("MODELYARD_MAX_QUEUE_ROWS", "", "valid integer"),
        ("MODELYARD_PIN", '{"churn"', "expected JSON"),
        ("MODELYARD_WATCH_SECONDS", "0", "greater than or equal to 0.05"),
    ],
)
def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, expectation: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(f"{name}='{value}': ") + ".*" + re.escape(expectation)):
        load_settings()


def test_an_unknown_setting_is_refused_with_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_MAX_BATCH_ROW", "3")
    with pytest.raises(SettingsError, match=r"MODELYARD_MAX_BATCH_ROW='3': .*did you mean MODELYARD_MAX_BATCH_ROWS\?"):
        load_settings()


def test_an_unknown_setting_like_no_other_is_refused_with_all_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_ZZZ", "3")
    with pytest.raises(
        SettingsError, match=r"MODELYARD_ZZZ='3': no such setting, expected one of MODELYARD_ADMIN_HOST"
    ):
        load_settings()


@pytest.mark.parametrize(
    ("content", "expectation"),
    [
        ("max_itemz = 3\n", r"max_itemz='3': no such setting, did you mean max_items\?"),
        ('max_items = "three"\n', "max_items='three': .*valid integer"),
        ("max_items = \n", "expected TOML"),
        ("\x00", "expected TOML"),
    ],
)
def test_a_bad_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, expectation: str) -> None:
    file = tmp_path / "modelyard.toml"
    file.write_text(content)
    monkeypatch.setenv("MODELYARD_SETTINGS_FILE", str(file))
    with pytest.raises(SettingsError, match=f"{re.escape(str(file))}.*{expectation}"):
        load_settings()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_SETTINGS_FILE", str(tmp_path / "nowhere.toml"))
    with pytest.raises(SettingsError, match=r"nowhere\.toml': cannot be read: No such file"):
        load_settings()


def test_names_are_separated_by_commas_or_a_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELYARD_ALLOWED_ORIGINS", "https://a.example, https://b.example,")
    assert load_settings().allowed_origins == ("https://a.example", "https://b.example")
    file = tmp_path / "modelyard.toml"
    file.write_text('trusted_proxies = ["10.0.0.0/8", "::1"]\n')
    monkeypatch.setenv("MODELYARD_SETTINGS_FILE", str(file))
    assert load_settings().trusted_proxies == ("10.0.0.0/8", "::1")


def test_a_network_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_TRUSTED_PROXIES", "10.0.0.0/8,proxy")
    with pytest.raises(SettingsError, match=r"MODELYARD_TRUSTED_PROXIES='10\.0\.0\.0/8,proxy': .*'proxy' does not"):
        load_settings()


def test_a_certificate_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_TLS_CERTIFICATE", "server.pem")
    with pytest.raises(SettingsError, match="tls_certificate and tls_key: expected both or neither"):
        load_settings()
