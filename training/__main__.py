"""Train a model of a kind and add it to the models.

python -m training image_classifier --help
"""

import logging
import sys
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

from training.command import Places, add_settings, build_config
from training.errors import TrainingError
from training.memory import keep_memory

KINDS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/train.py"))
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run the command line; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    parser = ArgumentParser(prog="python -m training", description="Train a model of a kind and add it to the models.")
    parser.add_argument("kind", choices=KINDS, help="what to train")
    kind = parser.parse_args(arguments[:1]).kind
    train = import_module(f"training.{kind}.train")

    parser = ArgumentParser(prog=f"python -m training {kind}", description=str(train.__doc__).partition("\n")[0])
    parser.add_argument("--models", type=Path, default=Path("models"), help="the folder that the version is added to")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where downloaded data is kept")
    parser.add_argument("--output", type=Path, help="checkpoint and curves (default: runs/KIND/ARCHITECTURE-SEED)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    parser.add_argument("--smoke", action="store_true", help="a few steps on a little data, to see that it works")
    add_settings(parser, train.Config)
    given = vars(parser.parse_args(arguments[1:]))
    models, cache, output = given.pop("models"), given.pop("cache"), given.pop("output")
    resume, smoke = given.pop("resume"), given.pop("smoke")
    try:
        config = build_config(train.Config, train.RECIPES, {**(train.SMOKE if smoke else {}), **given})
        output = output or Path("runs") / kind / f"{config.architecture}-{config.seed}"
        manifest = train.run(config, Places(models, cache, output), resume=resume)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on from the last whole epoch", file=sys.stderr)
        return INTERRUPTED
    if manifest:
        print(f"added {models / kind / str(manifest.version)}")
    return 0


if __name__ == "__main__":
    keep_memory()
    sys.exit(main(sys.argv[1:]))
