"""Bugs to plant, one at a time: the text of the code, what takes its place, and the tests that have to notice."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """`old` is there once in `function` (qualified name, or "" for the module) of `file`, however it is formatted.

    `caught_by` are pytest arguments, of which at least one test has to fail.
    """

    name: str
    file: str
    function: str
    old: str
    new: str
    caught_by: tuple[str, ...]


LEDGER = "tests/pixmill/ledger/test_ledger.py"
AGAIN = "tests/pixmill/ledger/test_payment_marks.py"
BUDGETS = "tests/pixmill/ledger/test_budgets.py"
TASKS = "tests/pixmill/ledger/test_tasks.py"
BUSINESS = "tests/faults/provider/test_answers_of_the_provider.py"
TRANSPORT = "tests/faults/link/test_link_to_the_provider.py"
LIMITER = "tests/pixmill/limits/test_limiter.py"
BREAKER = "tests/pixmill/limits/test_circuit_breaker.py"
POWER = "tests/crash/test_power_loss.py"
REVISION = "tests/pixmill/ledger/test_revision.py"
TAKEN = "tests/pixmill/datasets/test_published_outcomes.py"

MUTANTS = (
    # Paying once
    Mutant(
        "drop the intent",
        "pixmill/ledger/claims.py",
        "_claim_values",
        '"state": State.IN_FLIGHT.value,\n        "owner": this_owner()',
        '"state": State.PENDING.value,\n        "owner": None',
        (LEDGER,),
    ),
    Mutant(
        "drop the sync of the ledger",
        "pixmill/ledger/sqlite.py",
        "connect.settings",
        '"synchronous=FULL"',
        '"synchronous=NORMAL"',
        (POWER,),
    ),
    Mutant(
        "ignore the dead owner",
        "pixmill/ledger/process_owner.py",
        "is_dead",
        "return found != start",
        "return False",
        (LEDGER,),
    ),
    Mutant(
        "take the pids of another place for those of this one",
        "pixmill/ledger/process_owner.py",
        "is_dead",
        "if place == _certain_place() else None",
        "if place else None",
        ("tests/pixmill/ledger/test_process_owner.py",),
    ),
    Mutant(
        "believe that the owner of another host is dead",
        "pixmill/ledger/process_owner.py",
        "is_dead",
        "return lease_until is None or lease_until < clock()",
        "return True",
        (
            "tests/virtual",
            "tests/pixmill/execution/test_run_upgrade.py",
            AGAIN,
            "tests/faults",
        ),
    ),
    Mutant(
        "take a key that is in doubt",
        "pixmill/ledger/claims.py",
        "_claim_statement",
        "is_state(State.PENDING)",
        "is_state(State.PENDING, State.IN_DOUBT)",
        (LEDGER,),
    ),
    Mutant(
        "take a key that is in flight",
        "pixmill/ledger/claims.py",
        "_claim_statement",
        "is_state(State.PENDING)",
        "is_state(State.PENDING, State.IN_FLIGHT)",
        (LEDGER,),
    ),
    Mutant(
        "overwrite an outcome when it is asked for again",
        "pixmill/ledger/claims.py",
        "_claim_statement",
        "case((may_pay_again, jobs.c[name]), else_=new.excluded[name])",
        "new.excluded[name]",
        (AGAIN,),
    ),
    Mutant(
        "leave the mark when a call for it is sent",
        "pixmill/ledger/claims.py",
        "_claim_statement",
        '"again": case((has_mark, in_use), else_=no_mark)',
        '"again": jobs.c.again',
        (AGAIN,),
    ),
    Mutant(
        "throw a late answer away",
        "pixmill/ledger/writes.py",
        "",
        "or_(and_(_IS_HELD, not_(_OUTCOME_STAYS)), _COUNTS_LATE)",
        "and_(_IS_HELD, not_(_OUTCOME_STAYS))",
        (LEDGER,),
    ),
    Mutant(
        "retry a transient failure for ever",
        "pixmill/ledger/payment_marks.py",
        "retryable_failure",
        'jobs.c.transient == literal_column("1"), jobs.c.runs < max_runs',
        'jobs.c.transient == literal_column("1")',
        (LEDGER,),
    ),
    Mutant(
        "retry an answer that may have been charged",
        "pixmill/provider/error_codes.py",
        "",
        '_IN_DOUBT = CodePolicy(Verdict.IN_DOUBT, "unknown")',
        '_IN_DOUBT = CodePolicy(Verdict.RETRY, "unknown")',
        (TRANSPORT,),
    ),
    Mutant(
        "retry a connection that ended after sending",
        "pixmill/provider/client.py",
        "Client._ask",
        "return no_answer(error)",
        "return not_sent(NotSent(str(error)))",
        (TRANSPORT,),
    ),
    Mutant(
        "send a refused picture again without end",
        "pixmill/execution/outcomes.py",
        "decide",
        "can_redraw and claim.rerolls < retry.rerolls",
        "claim.rerolls < retry.rerolls",
        (BUSINESS,),
    ),
    Mutant(
        "call an unknown code transient",
        "pixmill/provider/error_codes.py",
        "classify",
        "_warn_of(code)\n    return _FAILED",
        "_warn_of(code)\n    return _FAULT",
        ("tests/pixmill/provider/test_error_codes.py", BUSINESS),
    ),
    Mutant(
        "leave the seed out of the key",
        "pixmill/request/fingerprint.py",
        "request_shape",
        'tail = f\',"req_key":{key},"seed":\'',
        'tail = f\',"req_key":{key},"seed2":\'',
        ("tests/pixmill/request/test_fingerprint.py",),
    ),
    # Money
    Mutant(
        "count refused claims against the budget",
        "pixmill/ledger/claims.py",
        "_claim",
        '"number": len(claims)}])',
        '"number": len(asked)}])',
        (LEDGER, BUSINESS, "tests/pixmill/execution/test_retry.py", "tests/virtual"),
    ),
    Mutant(
        "allow one call more than the cap",
        "pixmill/ledger/budgets.py",
        "Budgets.room",
        "calls = max(0, limits.max_calls - used)",
        "calls = max(0, limits.max_calls - used) + 1",
        (LEDGER,),
    ),
    Mutant(
        "forget the calls in flight in a cap on money",
        "pixmill/ledger/budgets.py",
        "_Meter.spent",
        "return self._ended + self._in_flight(connection, price)",
        "return self._ended",
        (BUDGETS,),
    ),
    Mutant(
        "forget the tasks that nobody waits for in a cap on money",
        "pixmill/ledger/budgets.py",
        "_Meter._in_flight",
        "for is_claimed in (jobs.c.owner.is_not(None), is_unattended()):",
        "for is_claimed in (jobs.c.owner.is_not(None),):",
        (TASKS,),
    ),
    Mutant(
        "count every call at the price of the run",
        "pixmill/ledger/claims.py",
        "ClaimRequest.units",
        "self.limits.price if self.amount is None else self.amount",
        "self.limits.price",
        (BUDGETS,),
    ),
    Mutant(
        "record what becomes of a task as often as it is said",
        "pixmill/ledger/tasks.py",
        "leave_out_repeated",
        "if of_task not in known:",
        "if True:",
        (TASKS,),
    ),
    Mutant(
        "put the task of a dead process into doubt",
        "pixmill/ledger/writes.py",
        "_recover",
        "rows = [row for row in held if row.claim_task is None]",
        "rows = held",
        (TASKS,),
    ),
    Mutant(
        "pay for a job whose task is out",
        "pixmill/ledger/claims.py",
        "_claim_statement",
        "and_(jobs.c.owner.is_(None), jobs.c.claim_task.is_(None))",
        "jobs.c.owner.is_(None)",
        (TASKS,),
    ),
    Mutant(
        "count only what was surely charged",
        "pixmill/ledger/budgets.py",
        "_money",
        'attempts.c.charged != "no", calls',
        'attempts.c.charged == "yes", calls',
        (BUDGETS,),
    ),
    Mutant(
        "begin a month's sum anew in every process",
        "pixmill/ledger/budgets.py",
        "_Meter._read_on",
        "_money(connection, self._first & COUNTS, price)",
        "0",
        (BUDGETS,),
    ),
    # Limits
    Mutant(
        "ignore Retry-After",
        "pixmill/execution/settlement.py",
        "Settlement._follow_up",
        "if response.retry_after:",
        "if response.retry_after and False:",
        (TRANSPORT,),
    ),
    Mutant(
        "let one call more in flight than the limit",
        "pixmill/limits/limiter.py",
        "CallLimiter._has_room",
        "self._in_flight < self.limit",
        "self._in_flight <= self.limit",
        ("tests/pixmill/limits/test_limiter_in_virtual_time.py", LIMITER),
    ),
    Mutant(
        "cut once for every throttled answer of a burst",
        "pixmill/limits/rate.py",
        "AdaptiveRateLimit.cut",
        "if permit.number <= self._last_call_before_cut:\n            return False",
        "",
        ("tests/pixmill/limits/test_limiter_in_virtual_time.py",),
    ),
    Mutant(
        "grow a limit that is not in use",
        "pixmill/tuning.py",
        "",
        "IN_USE_SHARE = 0.8",
        "IN_USE_SHARE = 0.0",
        ("tests/pixmill/limits/test_limiter_in_virtual_time.py",),
    ),
    Mutant(
        "never open the breaker",
        "pixmill/limits/circuit_breaker.py",
        "CircuitBreaker.record_answer",
        "if not self.is_open and not is_outage:",
        "if not self.is_open:",
        (BREAKER,),
    ),
    Mutant(
        "probe with all calls at once",
        "pixmill/limits/circuit_breaker.py",
        "CircuitBreaker.state",
        "if self._probe is not None:",
        "if False:",
        (BREAKER,),
    ),
    Mutant(
        "let repeats go without a budget",
        "pixmill/limits/retry_budget.py",
        "RetryBudget.book_repeat",
        "return max(0.0, -self._tokens",
        "return 0 * max(0.0, -self._tokens",
        (BREAKER,),
    ),
    Mutant(
        "tell every step of a limit that stands",
        "pixmill/tuning.py",
        "",
        "NOTABLE_CHANGE = 0.2",
        "NOTABLE_CHANGE = 0.0",
        ("tests/pixmill/limits/test_limit_history.py",),
    ),
    Mutant(
        "give away more slots than there are",
        "pixmill/limits/fair_share.py",
        "allocate",
        "max(0, min(fair, account.limit - held_by_others))",
        "max(0, fair)",
        ("tests/pixmill/limits/test_account_lease.py",),
    ),
    # Files
    Mutant(
        "drop the sync of an image",
        "pixmill/storage/image_store.py",
        "_write",
        "put_in_place(part, path)",
        "part.replace(path)",
        ("tests/pixmill/storage/test_image_fetcher.py",),
    ),
    Mutant(
        "tell lost pictures of one mode only",
        "pixmill/datasets/schema.py",
        "ResultTable.__init__",
        'self._by_file = config.output.images != "url"',
        'self._by_file = config.output.images == "download"',
        ("tests/pixmill/execution/test_image_modes.py",),
    ),
    Mutant(
        "take a half of a living process for that of a dead one",
        "pixmill/storage/atomic_write.py",
        "clear_parts",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n            path.unlink()",
        "path.unlink()",
        ("tests/faults/test_files_under_us.py",),
    ),
    Mutant(
        "drop the sync of a published file",
        "pixmill/storage/atomic_write.py",
        "put_in_place",
        "sync(path)\n    path.replace(target)",
        "path.replace(target)",
        (POWER, "tests/pixmill/datasets/test_publishing.py"),
    ),
    Mutant(
        "verify sizes only",
        "pixmill/storage/image_store.py",
        "_holds",
        "return same_size and path.read_bytes() == data",
        "return same_size",
        ("tests/pixmill/storage/test_image_fetcher.py",),
    ),
    # What is taken from the published dataset
    Mutant(
        "take outcomes that the ledger has changed",
        "pixmill/datasets/published_outcomes.py",
        "PublishedOutcomes._find",
        "is_here & ~self._is_changed[at]",
        "is_here",
        (TAKEN,),
    ),
    Mutant(
        "take the outcomes of jobs that did not succeed",
        "pixmill/datasets/published_outcomes.py",
        "PublishedOutcomes._find",
        'pc.equal(published["status"], State.SUCCEEDED.value)',
        'pc.is_valid(published["status"])',
        (TAKEN,),
    ),
    Mutant(
        "take one job for another whose key begins like its own",
        "pixmill/datasets/published_outcomes.py",
        "PublishedOutcomes._find",
        "pc.and_(is_same, is_complete)",
        "is_complete",
        (TAKEN,),
    ),
    Mutant(
        "believe a file to be the published one",
        "pixmill/datasets/published_outcomes.py",
        "open_published",
        'hash_of(path) != manifest.get("sha256")',
        'not manifest.get("sha256")',
        (TAKEN,),
    ),
    Mutant(
        "know a revision by its number",
        "pixmill/ledger/revision.py",
        "changed_since",
        "connection.execute(of).scalar() != revision",
        "connection.execute(of).scalar() is None",
        (REVISION,),
    ),
    Mutant(
        "log no key that a job had before",
        "pixmill/ledger/revision.py",
        "",
        'f"{_LOG_OLD} WHERE OLD.job_key IS NOT NEW.job_key", _LOG_NEW',
        "_LOG_NEW,",
        (REVISION,),
    ),
    # Security
    Mutant(
        "connect to an address that was not checked",
        "pixmill/http/connections.py",
        "ConnectionPool._connect",
        "self._check_address(address)",
        "pass",
        ("tests/pixmill/http/test_connections.py",),
    ),
    Mutant(
        "trust any certificate",
        "pixmill/http/connections.py",
        "ConnectionPool.tls",
        "context.set_alpn_protocols",
        "context.check_hostname = False\n        context.verify_mode = ssl.CERT_NONE\n"
        "        context.set_alpn_protocols",
        ("tests/pixmill/http/test_transport_tls.py",),
    ),
    Mutant(
        "let a secret be pickled",
        "pixmill/provider/credentials.py",
        "Secret.__reduce__",
        "def __reduce__(self)",
        "def _reduce(self)",
        ("tests/pixmill/provider/test_credentials.py",),
    ),
    Mutant(
        "let the ledger's read error count as absence",
        "pixmill/ledger/ledger.py",
        "Ledger.read",
        "with _translate_errors(self.database):\n            return retry_while_unavailable(",
        "if True:\n            return retry_while_unavailable(",
        (LEDGER, "tests/pixmill/planning/test_plan.py", "tests/faults"),
    ),
    # Tables
    Mutant(
        "let Arrow parse a quote that no cell begins with",
        "pixmill/tables/plain_blocks.py",
        "_are_structural",
        "bool(np.isin(before, outside).all() and np.isin(after, outside).all())",
        "bool(np.isin(after, outside).all())",
        ("tests/pixmill/tables/test_plain_blocks.py",),
    ),
    Mutant(
        "end a block inside of a cell",
        "pixmill/tables/plain_blocks.py",
        "parse_rows",
        "np.searchsorted(quotes, line_ends) % 2 == 0",
        "np.searchsorted(quotes, line_ends) >= 0",
        ("tests/pixmill/tables/test_plain_blocks.py",),
    ),
    Mutant(
        "take the keys of other rows",
        "pixmill/planning/plan.py",
        "Plan.batches",
        "self.computed.read(start * variants, jobs)",
        "self.computed.read(end * variants, jobs)",
        ("tests/pixmill/planning/test_computed_jobs.py",),
    ),
)
