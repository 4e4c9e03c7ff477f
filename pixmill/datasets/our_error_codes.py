"""The error codes that are pixmill's own, beside those of the provider. `docs/error-codes.md` is
made from these."""

from typing import NamedTuple


class OurCode(NamedTuple):
    """A code that pixmill gives, in words where the provider's are mostly numbers."""

    code: str
    status: str
    """What the row's `status` is."""
    charged: str
    meaning: str
    remedy: str
    """What its owner can do, in Markdown."""


OUR_CODES: tuple[OurCode, ...] = (
    OurCode(
        "not_attempted",
        "skipped",
        "no",
        "not attempted: a limit, a cap, a run that ended early, or another run that has it in "
        "flight",
        "run the same command again; the report says why the run ended",
    ),
    OurCode(
        "still_running",
        "skipped",
        "not yet",
        "submitted, and its task still worked at the provider when the run left it: "
        "`limits.task_timeout_seconds` were over, or the run was interrupted or killed",
        "run the same command again: it asks for the task, and pays nothing for it",
    ),
    OurCode(
        "not_sent",
        "failed, or skipped where the run ended before its last try",
        "no",
        "no byte of the request left this machine: the name, the connection or TLS failed",
        "fix the network or `provider.base_url`, then run again: it is retried, in at most"
        " `retry.max_runs` runs",
    ),
    OurCode(
        "no_answer",
        "in_doubt",
        "unknown",
        "the request was sent, and the connection broke or timed out before a whole answer came",
        "check the provider's console for whether it was charged; `pixmill retry --in-doubt` "
        "pays again",
    ),
    OurCode(
        "broken_answer",
        "in_doubt",
        "unknown",
        "an HTTP success whose body is cut off or is not an answer of the service; image URLs "
        "that can be"
        " read in it are in `output_urls`",
        "as `no_answer`",
    ),
    OurCode(
        "process_died",
        "in_doubt",
        "unknown",
        "the process that sent the request died before it saw an answer",
        "as `no_answer`",
    ),
    OurCode(
        "internal_error",
        "in_doubt",
        "as the answer says, unknown without one",
        "a bug in pixmill while it made the call or processed its answer",
        "report it with `error_message` and the log; otherwise as `no_answer`",
    ),
    OurCode(
        "no_image",
        "failed",
        "yes",
        "the provider reported success, and its answer contains no image",
        "change the row or the parameters; `pixmill retry --code no_image` pays again",
    ),
    OurCode(
        "no_task_id",
        "in_doubt",
        "unknown",
        "a submit was answered with success, and the answer names no task",
        "as `no_answer`",
    ),
    OurCode(
        "not_passed_on",
        "skipped",
        "unknown",
        "a gateway answered a submit with something else than this API's body: it does not pass "
        "asynchronous operations on",
        "use a gateway that does, with its `provider.path`, or a synchronous operation",
    ),
    OurCode(
        "task_not_found",
        "in_doubt",
        "unknown",
        "the provider does not know the task any more: it keeps results for 12 hours",
        "as `no_answer`",
    ),
    OurCode(
        "task_expired",
        "failed, or skipped where the run ended before its last try",
        "unknown",
        "the provider let the task expire before it was done",
        "run again: it is submitted once more, in at most `retry.max_runs` runs",
    ),
    OurCode(
        "task_failed",
        "failed",
        "unknown",
        "the provider ended the task without a result and without a code",
        "change the row or the parameters; `pixmill retry --code task_failed` pays again",
    ),
    OurCode(
        "image_pending",
        "succeeded",
        "yes",
        "the image is paid for, and not in the store yet: its download failed, was interrupted, or"
        " the store refused it",
        "`pixmill repair`, or the next run, before `url_expires_at`; neither pays for it again",
    ),
    OurCode(
        "image_lost",
        "succeeded",
        "yes",
        "the image is paid for and can't be fetched any more: its URL has expired, or what it "
        "returned is not an image",
        "restore a backup of `images/`, or `pixmill retry --code image_lost`, which pays again",
    ),
)
"""All but `http_…`, which stands for answers without a code and is ruled by their HTTP status."""
