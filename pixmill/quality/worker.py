"""The process in which pictures are scored: `python -m pixmill.quality.worker checks`, or
`… scorer PLACE FUNCTION`.

It reads a JSON list of pictures a line from standard input and answers each line with a JSON list
of what was found. What a scorer itself prints goes nowhere; how much memory it takes is limited,
and so is how much of the processor it takes from those who pay.
"""

import json
import math
import os
import resource
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import IO, Any

from PIL import Image

from pixmill.quality.checks import (
    SOURCE_SIDE,
    Sample,
    open_sample,
    score_blank,
    score_blurred,
    score_dark,
    score_unchanged,
)
from pixmill.quality.duplicates import sign
from pixmill.quality.scorer_source import ScorerSource, load_scorer
from pixmill.storage.image_decoding import FORMATS

NICENESS = 10
PARENT_SECONDS = 2.0
MEMORY_MB = 1024
"""What a scorer may take unless its attribute `memory_mb` says otherwise."""

Question = Mapping[str, Any]
"""A picture, and what is asked about it."""

Answer = dict[str, Any]
"""What was `found`, or the `reason` why nothing was."""

Scorer = Callable[[Sequence[Question]], list[Answer]]

_CHECKS: Mapping[str, Callable[[Sample], float]] = {
    "blank": score_blank,
    "dark": score_dark,
    "blurred": score_blurred,
}


def check_pictures(pictures: Sequence[Question]) -> list[Answer]:
    """Return what the built-in checks named in `wanted` find, or the `reason` why they can't."""
    answers: list[Answer] = []
    for picture in pictures:
        found: dict[str, Any] = {}
        try:
            sample = open_sample(Path(picture["path"]))
            for name in picture["wanted"]:
                if name == "duplicate":
                    signature = sign(sample)
                    found[name] = b64encode(signature).decode()
                elif name != "unchanged":
                    found[name] = _CHECKS[name](sample)
                elif picture["source"]:
                    source = _open_source(picture["source"])
                    found[name] = score_unchanged(sample, source)
        except Exception as error:
            answers.append({"reason": _describe(error)})
        else:
            answers.append({"found": found})
    return answers


@lru_cache(maxsize=4)
def _open_source(path: str) -> Sample:
    """Return an input image, which the points of a sweep share."""
    return open_sample(Path(path), SOURCE_SIDE)


def scorer_answers(function: Callable[..., Any]) -> Scorer:
    """Return what asks a scorer of the user's own, one picture at a time or a list of them where
    its attribute `batch` says how many."""
    takes_lists = _attribute(function, "batch") > 1

    def ask(pictures: Sequence[Question]) -> list[Answer]:
        images = []
        for picture in pictures:
            image = Image.open(picture["path"], formats=FORMATS)
            # Opening reads the header alone.
            image.load()
            images.append(image)
        jobs = [picture["job"] for picture in pictures]
        if takes_lists:
            values = list(function(images, jobs))
            if len(values) != len(images):
                raise ValueError(f"{len(values)} scores for {len(images)} images")
        else:
            value = function(images[0], jobs[0])
            values = [value]
        return [_as_answer(value) for value in values]

    def ask_or_say_why(pictures: Sequence[Question]) -> list[Answer]:
        try:
            return ask(pictures)
        except Exception as error:
            return [{"reason": _describe(error)} for _ in pictures]

    return ask_or_say_why


def main() -> None:
    """Answer until nobody asks any more."""
    questions, answers = _take_over_standard_streams()
    watch = Thread(
        target=_end_with_parent,
        args=(os.getppid(),),
        daemon=True,
    )
    watch.start()
    os.nice(NICENESS)
    batch = 1
    if sys.argv[1] == "checks":
        answer: Scorer = check_pictures
    else:
        try:
            source = ScorerSource(*sys.argv[2:4])
            function = load_scorer(source)
            batch = max(1, _attribute(function, "batch"))
            limit = (_attribute(function, "memory_mb") or MEMORY_MB) << 20
        except BaseException as error:
            _say(answers, {"reason": _describe(error)})
            return
        # Behind the imports: what a process may hold includes what it holds already.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        answer = scorer_answers(function)
    _say(answers, {"batch": batch})
    for line in questions:
        _say(answers, answer(json.loads(line)))


def _end_with_parent(parent: int) -> None:
    """End this process soon after the one that asks: a scorer may hang and read nothing more."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _take_over_standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return the streams to the process that asks, out of reach of what a scorer reads and
    prints."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    return questions, answers


def _say(answers: IO[bytes], said: Any) -> None:
    line = json.dumps(said, allow_nan=False) + "\n"
    answers.write(line.encode())
    answers.flush()


def _as_answer(value: Any) -> Answer:
    """Return a scorer's value, or its values by name, as an answer."""
    values = value if isinstance(value, Mapping) else {"": value}
    found: dict[str, float] = {}
    for part, number in values.items():
        found[str(part)] = float(number)
    if not found:
        return {"reason": "it returned no score"}
    for part, number in found.items():
        if not math.isfinite(number):
            return {"reason": f"it returned {number} {part}".strip()}
    return {"found": found}


def _attribute(
    function: Callable[..., Any],
    name: str,
) -> int:
    return int(getattr(function, name, 0))


def _describe(error: BaseException) -> str:
    first_line, _, _ = str(error).partition("\n")
    text = first_line[:200]
    kind = type(error).__name__
    return f"it raised {kind}: {text}" if text else f"it raised {kind}"


if __name__ == "__main__":
    main()
