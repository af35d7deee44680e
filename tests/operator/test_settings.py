"""Settings come from the environment; a mistake names the variable, the value and the fix."""

from pathlib import Path

import pytest

from holdfast_operator.settings import SettingError, Settings, from_environment


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    assert from_environment({}) == Settings()


def test_everything_can_be_set(tmp_path: Path) -> None:
    file = tmp_path / "defaults.yaml"
    file.write_text("image: holdfast-agent:1\nmodel: {provider: echo}\n")
    settings = from_environment(
        {
            "HOLDFAST_NAMESPACES": "b, a,,b",
            "HOLDFAST_DEFAULTS_FILE": str(file),
            "HOLDFAST_HTTP_PORT": "9000",
            "HOLDFAST_LEADER_ELECTION": "True",
            "HOLDFAST_LOG_LEVEL": "DEBUG",
            "HOLDFAST_LOG_FORMAT": "text",
            "HOLDFAST_RESYNC": "1m30s",
            "HOLDFAST_LEASE_DURATION": "30s",
        }
    )

    assert settings.namespaces == ("b", "a")
    assert settings.defaults.image == "holdfast-agent:1"
    assert (settings.http_port, settings.leader_election, settings.log_level) == (9000, True, "debug")
    assert (settings.resync_seconds, settings.lease_seconds) == (90.0, 30.0)


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("HOLDFAST_HTTP_PORT", "0", "from 1 to 65535"),
        ("HOLDFAST_LEADER_ELECTION", "maybe", "give true or false"),
        ("HOLDFAST_LOG_LEVEL", "loud", "give one of debug, info, warning, error"),
        ("HOLDFAST_LOG_FORMAT", "xml", "give one of json, text"),
        ("HOLDFAST_RESYNC", "soon", "write for example 30s"),
        ("HOLDFAST_DEFAULTS_FILE", "/does/not/exist", "mount the file"),
    ],
)
def test_a_mistake_names_variable_value_and_fix(name: str, value: str, fix: str) -> None:
    with pytest.raises(SettingError) as caught:
        from_environment({name: value})

    assert name in str(caught.value)
    assert value in str(caught.value)
    assert fix in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("model: {provider: nobody}", "model.provider"), ("a: [", "is not YAML"), ("imag: x", "imag")])
def test_a_mistake_in_the_defaults_names_the_field(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "defaults.yaml"
    file.write_text(text)

    with pytest.raises(SettingError, match="HOLDFAST_DEFAULTS_FILE") as caught:
        from_environment({"HOLDFAST_DEFAULTS_FILE": str(file)})

    assert words in str(caught.value)
