from training.command import reproducing_command


def test_the_command_that_trains_again_has_the_settings_and_no_places() -> None:
    arguments = ["image_classifier", "--models", "/some/where", "--architecture", "cnn", "--resume", "--output=o o"]
    assert reproducing_command([*arguments, "--no-flip", "--seed", "3", "--cache", "c"]) == (
        "python -m training image_classifier --architecture cnn --no-flip --seed 3"
    )


def test_the_command_that_trains_again_is_quoted_for_a_shell() -> None:
    command = reproducing_command(["image_classifier", "--data", "my pictures"])
    assert command == "python -m training image_classifier --data 'my pictures'"
