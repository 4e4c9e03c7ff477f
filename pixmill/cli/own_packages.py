"""The top-level packages that come with pixmill beside a project that has its own of these names."""

import sys
from pathlib import Path

import pixmill
from pixmill.errors import UserError

OWN = ("flows", "tasks")


def prefer_own_packages() -> None:
    """Let `flows` and `tasks` be those that pixmill came with, wherever the command is started.

    `python -m pixmill`, or a PYTHONPATH, looks in the project's folder first, where both are common
    names. Raises UserError where one of them was imported already, or was replaced.
    """
    # Beside pixmill in a wheel and in a checkout.
    root = Path(pixmill.__file__).resolve().parents[1]
    for name in OWN:
        if not (root / name).is_dir():
            raise UserError(
                f"pixmill's own package {name!r} is not in {root}",
                hint="install pixmill into an environment of its own",
            )
        known = sys.modules.get(name)
        places = [Path(place).resolve() for place in getattr(known, "__path__", ())]
        if known is not None and places != [root / name]:
            raise UserError(
                f"a package {name!r} of your own is imported ({known.__file__ or name}), and "
                "pixmill brings one of that name",
                hint="scorers and operations of your own can't import it: rename it, or move what "
                "they need into a module of another name",
            )
    for at, entry in enumerate(sys.path):
        place = Path(entry or ".").resolve()
        if place == root:
            return
        if any(
            (place / name).is_dir() or (place / f"{name}.py").is_file() for name in OWN
        ):
            # Only before what would be found first: ahead of the standard library it would hide
            # parts of that. It stays, as worker processes look in the same places.
            sys.path.insert(at, str(root))
            return
