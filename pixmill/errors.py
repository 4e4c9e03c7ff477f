"""Errors, grouped by what the caller should do about them.

PixmillError
├── UserError               fix an input; printed without a traceback, exit 2
│   ├── ConfigError         the YAML, an override, an environment variable that it names
│   ├── TableError          the input table as a whole (a bad row is an invalid row, not an error)
│   └── SpendingRefused     the run would pay in a way that its owner has not agreed to
├── StoreError              the bucket of images and datasets can't be read or written
├── LedgerError             the record of payments can't be read or written: nothing may be paid
└── TransportError          one HTTP exchange failed
    ├── NotSent             before its first byte left: nothing can have been charged
    └── AnswerUnknown       after bytes left: it may have been charged
        └── BodyTooLarge    the answer is larger than the caller takes

Beside them, of runs that Python code starts:
Interrupted (a KeyboardInterrupt), RunWarning (a UserWarning)
"""

from typing import Any


class PixmillError(Exception):
    """The message says what and where, `hint` how to fix it.

    One positional argument, so it pickles.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            # Below the message in a traceback, where nobody prints it.
            self.add_note(f"hint: {hint}")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message says where the mistake is, a hundred lines of frames do not."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class UserError(PixmillError):
    """Something that the user gave has to change."""


class ConfigError(UserError):
    """The configuration can't be used; the message lists every mistake with its path."""


class TableError(UserError):
    """The input table can't be read as a whole."""


class SpendingRefused(UserError):
    """The run would spend money without the consent or the cap that it needs."""


class StoreError(PixmillError):
    """The bucket of images and datasets can't be read or written."""


class LedgerError(PixmillError):
    """The ledger can't be read or written, so nothing may be paid."""


class TransportError(PixmillError):
    """One HTTP exchange ended without an answer."""


class NotSent(TransportError):
    """No byte of the request left this machine."""


class AnswerUnknown(TransportError):
    """The request was sent, at least in part, and no complete answer came back."""


class BodyTooLarge(AnswerUnknown):
    """The answer has more bytes than the caller takes; the rest was not read."""


class Interrupted(KeyboardInterrupt):
    """Somebody interrupted `pixmill.run`. What was paid for is published: `results` has it."""

    def __init__(self, message: str, results: Any = None) -> None:
        super().__init__(message)
        self.results = results

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"{type(self).__name__}: {self}"]


class PlanWarning(UserWarning):
    """What `pixmill plan` warns of, said by `pixmill.run` before it pays."""


class RunWarning(UserWarning):
    """A run of `pixmill.run` ended with an exit code other than 0; the text says why."""
