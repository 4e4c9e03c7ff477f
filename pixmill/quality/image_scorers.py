"""All that scores the images of one config: the built-in checks and the user's own scorers."""

import logging
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from pixmill.config.model import Quality
from pixmill.ledger import Ledger
from pixmill.ledger.scores import Score, Scorer, find_scored
from pixmill.quality.scorer_source import find_scorer, version_of
from pixmill.quality.worker_process import Answer, WorkerProcess

log = logging.getLogger(__name__)

CHECK_VERSION = "1"
"""Of the built-in checks: another one whenever a score of theirs may differ."""

BATCH = 16
"""Images whose scores are written together."""


class ScoredImage(NamedTuple):
    """An output image to score."""

    sha256: str
    path: str
    job: Callable[[], Mapping[str, Any]]
    """Tells the job that made it, as plain JSON values; most images were scored before."""
    source: str | None = None
    """The file of its input image, and that image's SHA-256, where there is one at hand."""
    source_sha256: str = ""


def check_scorer(name: str) -> Scorer:
    """Return the identity of a built-in check."""
    return Scorer(name, CHECK_VERSION)


def own_scorers(quality: Quality) -> dict[str, Scorer]:
    """Return the identities of the user's scorers by their names. Raises UserError where one can't
    be found."""
    scorers = {}
    for name, place in quality.scorers.items():
        source = find_scorer(name, place)
        scorers[name] = Scorer(f"own:{name}", version_of(name, source))
    return scorers


class _Unscored(NamedTuple):
    picture: ScoredImage
    wanted: list[str]
    """The checks and scorers that said nothing of it yet."""


class ImageScorers:
    """Scores images that were not scored yet, in processes of their own.

    A context manager. Raises UserError where a scorer can't be found.
    """

    def __init__(
        self,
        quality: Quality,
        ledger: Ledger,
    ) -> None:
        self._ledger = ledger
        self._checks: tuple[str, ...] = tuple(dict.fromkeys(quality.checks))
        self._own = own_scorers(quality)
        built_in = {name: check_scorer(name) for name in self._checks}
        self._scorers = built_in | self._own
        self._processes = {"": WorkerProcess(["checks"])}
        for name, place in quality.scorers.items():
            source = find_scorer(name, place)
            self._processes[name] = WorkerProcess(["scorer", *source])
        self.scored = 0
        """Images that got a score."""
        self.failures: Counter[tuple[str, str]] = Counter()
        """How often a scorer, by its name, gave no score, and for which reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.close()

    @property
    def has_given_up(self) -> bool:
        """Whether images are left without a score that another run may get."""
        return any(process.given_up for process in self._processes.values())

    def score(self, pictures: Iterable[ScoredImage]) -> None:
        """Score those of `pictures` that were not, and write down what was found. Raises
        LedgerError."""
        distinct = {}
        for picture in pictures:
            distinct[picture.sha256, picture.source_sha256] = picture
        pictures = list(distinct.values())
        unscored = self._find_unscored(pictures)
        for begin in range(0, len(unscored), BATCH):
            batch = unscored[begin : begin + BATCH]
            found = self._run_checks(batch)
            for name in self._own:
                of_scorer = [item.picture for item in batch if name in item.wanted]
                found += self._ask_own(name, of_scorer)
            if found:
                self._ledger.record_scores(found)
                images = {score.sha256 for score in found}
                self.scored += len(images)

    def _find_unscored(self, pictures: Sequence[ScoredImage]) -> list[_Unscored]:
        hashes = [picture.sha256 for picture in pictures]
        asked = {}
        for name, scorer in self._scorers.items():
            found = self._ledger.read(
                find_scored,
                scorer,
                hashes,
            )
            # A scorer may give several values of an image, under any names.
            whole_images = {(sha256, "") for sha256, _ in found}
            asked[name] = found | whole_images
        unscored = []
        for picture in pictures:
            wanted = []
            for name, known in asked.items():
                part = ""
                if name == "unchanged":
                    # Without an input image there is nothing to compare with.
                    if picture.source is None:
                        continue
                    part = picture.source_sha256
                if (picture.sha256, part) not in known:
                    wanted.append(name)
            if wanted:
                unscored.append(_Unscored(picture, wanted))
        return unscored

    def _run_checks(self, batch: Sequence[_Unscored]) -> list[Score]:
        asked = []
        questions = []
        for picture, names in batch:
            checks = [name for name in names if name in self._checks]
            if not checks:
                continue
            asked.append(_Unscored(picture, checks))
            questions.append(
                {
                    "path": picture.path,
                    "source": picture.source,
                    "wanted": checks,
                }
            )
        answers = self._processes[""].ask(questions)
        found: list[Score] = []
        for (picture, checks), answer in zip(asked, answers, strict=True):
            # Not written down without an answer: the next run may have more luck.
            if answer is None:
                continue
            for name in checks:
                score = self._check_score(name, picture, answer)
                found.append(score)
        return found

    def _check_score(
        self,
        name: str,
        picture: ScoredImage,
        answer: Answer,
    ) -> Score:
        # The one score that depends on more than the picture.
        part = picture.source_sha256 if name == "unchanged" else ""
        score = Score(
            picture.sha256,
            *check_scorer(name),
            part,
        )
        reason = answer.get("reason")
        if reason is not None:
            self._note_failure(name, reason)
            return score._replace(reason=reason)
        value = answer["found"][name]
        if name == "duplicate":
            return score._replace(signature=b64decode(value))
        return score._replace(value=value)

    def _ask_own(
        self,
        name: str,
        pictures: Sequence[ScoredImage],
    ) -> list[Score]:
        scorer = self._own[name]
        # One picture of several input images is asked about once.
        distinct = {picture.sha256: picture for picture in pictures}
        questions = []
        for picture in distinct.values():
            questions.append(
                {
                    "path": picture.path,
                    "job": picture.job(),
                }
            )
        process = self._processes[name]
        had_given_up = process.given_up
        answers = process.ask(questions)
        found = []
        for sha256, answer in zip(distinct, answers, strict=True):
            if answer is None:
                continue
            reason = answer.get("reason")
            if reason is not None:
                self._note_failure(name, reason)
                failed = Score(sha256, *scorer, reason=reason)
                found.append(failed)
                continue
            for part, value in answer["found"].items():
                score = Score(sha256, *scorer, part, value)
                found.append(score)
        if process.given_up and not had_given_up:
            log.warning(
                "the scorer %s is not asked any more: %s",
                name,
                process.given_up,
            )
        return found

    def _note_failure(
        self,
        name: str,
        reason: str,
    ) -> None:
        # Said once: thousands of pictures may fail for the same reason.
        if not self.failures[name, reason]:
            log.warning(
                "no score of %s for an image: %s",
                name,
                reason,
            )
        self.failures[name, reason] += 1
