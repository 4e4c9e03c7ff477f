"""Every number that decides how fast money is spent and how often something is tried again.

They are for every room, and in one place to be compared: the limiter's rate, calls in
flight and shares, the circuit breaker, repeats, and all pauses. What a user may choose is in
the config instead. Under each number: its unit; why it is what it is; what more and less would
do. `docs/how-limits-work.md` lists them, and is written from this file (`make docs`).
"""

from pixmill.backoff import Backoff

# Rate

RATE_MARGIN = 0.98
"""share of the allowed rate

Providers count arrivals, and networks bunch calls up a little on their way.
More: calls are throttled for jitter alone. Less: a part of the allowed rate is never used.
"""

RATE_FLOOR = 0.1
"""calls/s

Goes out whatever the provider says, as only a call can tell that it has recovered.
More: an account that is shut meets more useless calls. Less: its recovery is noticed later.
"""

RATE_FLOOR_SHARE = 0.01
"""share of the ceiling

The same floor for fast accounts; the larger of the two counts.
More: an account that is shut meets more useless calls. Less: the climb back takes longer.
"""

CATCH_UP_SECONDS = 0.1
"""seconds

Turns missed by a late wake-up are made up for, up to this long.
More: a burst after a suspended laptop wakes up. Less: a busy machine loses a part of its rate.
"""

CUT_KEEPS_AT_MOST = 0.97
"""share of the rate

What a cut leaves at most; in between, the calls that got through decide.
More: a cut that changes nothing, so that the next call is throttled too. Less: an unchanged
limit is used less, as the rate swings further around it.
"""

CUT_KEEPS_AT_LEAST = 0.85
"""share of the rate

What a cut leaves at least while the cut before it was enough: counting a few calls is noisy.
More: a limit that dropped takes more cuts to meet. Less: chance costs more of the rate.
"""

RECUT_KEEPS_AT_LEAST = 0.7
"""share of the rate

The same where the cut before it was not enough: then the limit really has dropped.
More: a limit that halved is met later, by more throttled calls. Less: it is undershot.
"""

CUT_WAS_ENOUGH_CALLS = 20
"""calls

So many got through since the last throttled call: the last cut was enough.
More: cuts turn harsh by chance. Less: a limit that dropped is met later.
"""

SURE_CALLS = 6
"""calls

Calls needed between two throttled ones before the measured goodput is trusted as the limit.
More: the climb starts from an estimate that is too high. Less: it starts from one by chance.
"""

BUCKET_SECONDS = 0.75
"""seconds

So many seconds' worth of calls a full token bucket is taken to hold; the first throttled call
comes when it is empty. Most providers hold one second or none.
More: the first cut goes too low. Less: it does not go low enough, and more calls are throttled.
"""

FEW_CALLS = 4
"""calls

Got through before the first throttled one: fewer say nothing about the limit.
More: short bursts are ignored. Less: the rate falls to next to nothing by one early refusal.
"""

SLOW_CLIMB = 0.05
"""share of the estimate

How far above the estimated limit the rate climbs slowly.
More: a limit that was lifted is used later. Less: an unchanged limit throttles more calls.
"""

SHARED_SLOW_CLIMB = 0.15
"""share of the estimate

The same where several processes use the account: of their cuts at the same time the lowest
counts, so that the estimate is lower than it need be.
More: a limit that was lifted is used later. Less: an unchanged limit throttles more calls.
"""

SLOW_CLIMB_CALLS = 300
"""calls

The slow climb takes so many calls, or `SLOW_CLIMB_SECONDS`, whichever is quicker: an unchanged
limit then throttles one call in one to two hundred.
More: a limit that was lifted is used later. Less: a larger share of the calls is throttled.
"""

SLOW_CLIMB_SECONDS = 120.0
"""seconds

The slow climb's other bound: at one call a second 300 calls would take five minutes.
More: slow accounts notice a lifted limit later. Less: they have more calls throttled.
"""

QUICK_CLIMB = 0.1
"""share of the rate, per second

How fast the rate grows away from the estimate: it doubles in seven seconds.
More: the estimated limit is overshot. Less: a drop that is over is made up for later.
"""

SEARCH_CLIMB = 0.5
"""share of the rate, per second

The same after the first cut, when nobody knows yet where the limit is.
More: the second cut comes with several calls throttled. Less: the search takes longer.
"""

HEARD_SECONDS = 2.0
"""seconds

After which the other processes of an account know of a cut. What is throttled meanwhile may be
their doing, so it only cuts by `CUT_KEEPS_AT_MOST`.
More: a second drop is met later. Less: one drop is cut for by every process.
"""

# Calls in flight

AUTO_CONCURRENCY_START = 2
"""calls in flight

What `limits.concurrency: auto` begins with; a number in the config begins at itself.
More: the first seconds may be throttled. Less: the search takes one round more.
"""

IN_USE_SHARE = 0.8
"""share of the limit

So much of the limit must have been in use for a round of successes to raise it.
More: a limit that is needed grows late. Less: it grows though nothing has shown that it may.
"""

STEADY_CALLS = 120
"""calls

Successes between two tries of a number that was too many twice: an unchanged limit throttles
one call in these.
More: a limit that was lifted is used later. Less: more calls are throttled.
"""

IN_FLIGHT_RECUT_KEEPS = 0.7
"""share of the calls in flight

What is left where a cut to the calls that were out was not enough.
More: a limit that dropped takes more cuts to meet. Less: it is undershot.
"""

# The limiter

CALM_CALLS = 20
"""calls

Answers without a fault after which both limits may grow again.
More: brown-outs are left slowly. Less: a service in trouble is asked for more.
"""

NOTABLE_CHANGE = 0.2
"""share of the limit

A limit that moved so far since it was last told is told at INFO and kept in the history; every
step is told at DEBUG.
More: an operator misses a drop. Less: the swing around an unchanged limit fills the log.
"""

CHANGES_KEPT = 40
"""changes

The newest of these are in the run's report and in `pixmill status`.
More: longer reports. Less: the beginning of a long run is not to be seen.
"""

# Shares of an account

KEEPS_UP_SHARE = 0.9
"""share of its rate

A process that uses at least this much of its rate is assumed to want more.
More: a busy process is given less. Less: an idle one holds on to what it has no use for.
"""

CONTENT_SHARE = 0.5
"""share of its fair share

A process whose part of the rate is below this fraction of its fair share reports again at once.
More: more writes to the ledger. Less: newcomers get up to speed later.
"""

SHARE_LEASE_SECONDS = 15.0
"""seconds

A share that is not renewed is left to its owner for so long; then the owner stops by itself.
More: what a dead host had lies idle longer. Less: a ledger that stalls stops paying sooner.
"""

CLAIM_LEASE_TIMEOUTS = 3
"""times `limits.timeout_seconds`

A claim whose owner nobody can check is honoured for so long: a call may take its whole timeout, and its
process may stall as long twice.
More: jobs of a host that died wait longer. Less: a call of a host that stalls may be paid for twice.
"""

ROTATION_SECONDS = 20
"""seconds

Where there are fewer slots than processes, the slots are rotated among them: each that has none
gets one after so long.
More: a process waits longer. Less: more time is lost between rotations.
"""

RENEW_CALLS = 10
"""calls

Made between two reports, within the bounds below: shares follow what is used.
More: shares follow later. Less: more writes to the ledger.
"""

RENEW_SECONDS_LEAST = 1.0
"""seconds

At least between two reports, however fast calls go out.
More: shares follow later. Less: more writes to the ledger.
"""

RENEW_SECONDS_MOST = 5.0
"""seconds

At most between two reports: a third of a lease, so that two may be late.
More: leases end while their owner lives. Less: more writes to the ledger.
"""

RENEW_SECONDS_SHORT = 0.5
"""seconds

Between two reports while shares are on the move.
More: a newcomer waits longer. Less: more writes to the ledger.
"""

# Circuit breaker

FAULTS_TO_OPEN = 5
"""faults in a row

Taken for an outage. At one call in ten failing this is chance once in 100,000 calls.
More: an outage costs more calls. Less: bad luck stops the run for a moment.
"""

PROBE_BACKOFF = Backoff(first=0.5, cap=15.0)
"""seconds

Before each probe of a service that is out, without jitter. The cap, and a call after it, is how
late the end of an outage is noticed.
More: the end is noticed later. Less: more probes, each of which may leave a job in doubt.
"""

OUTAGE_SECONDS = 1800.0
"""seconds

Of one outage, after which the run ends with exit code 5.
More: a run waits for longer outages. Less: it has to be started again by hand.
"""

# Repeats

REPEATS_PER_CALL = 0.1
"""repeats

That each call allows: a service in trouble gets a tenth more calls, not several times as many.
More: an overload is kept up by its own repeats. Less: passing faults wait at the end of a run.
"""

REPEATS_PER_SECOND = 1.0
"""repeats per second

However few calls there are: what is left at the end of a run needs its turns too.
More: a slow service gets more load. Less: the end of a run takes longer.
"""

REPEATS_AT_ONCE = 10.0
"""repeats

That may come together, so that small runs never notice the budget.
More: a larger burst into an overload. Less: the first few faults of a run wait.
"""

CALL_BACKOFF = Backoff(first=0.5, cap=30.0)
"""seconds

Before a job that was throttled or met a fault is sent again, drawn from nothing to this bound.
More: jobs wait longer than the service is busy. Less: more repeats meet the same trouble.
"""

THROTTLES_PER_JOB = 50
"""throttled answers

Of one job, after which it waits for the next run; they use up no attempts.
More: a job may go round for hours. Less: a long drop of a limit fails jobs.
"""

IMAGE_ATTEMPTS = 3
"""attempts

To fetch one output image in a run; the next run tries again.
More: a dead host holds a thread longer. Less: passing faults leave images for the next run.
"""

INPUT_IMAGE_ATTEMPTS = 2
"""attempts

To look at one input image before anything is paid.
More: checking a table with dead links takes longer. Less: passing faults make rows invalid.
"""

IMAGE_BACKOFF = Backoff(first=1.0, cap=30.0)
"""seconds

Between the attempts to fetch an image, drawn from nothing to this bound.
More: runs end later. Less: all attempts meet the same passing fault.
"""

BUCKET_ATTEMPTS = 5
"""attempts

For one request to a bucket, and for one write that others get in the way of.
More: a bucket that is down is noticed later. Less: passing faults reach the run.
"""

BUCKET_BACKOFF = Backoff(first=0.05, cap=30.0)
"""seconds

Between these attempts, drawn from nothing to this bound: it spreads writers of the same object.
More: publications take longer. Less: writers keep getting in each other's way.
"""

# Asynchronous operations

SUBMIT_THREADS = 4
"""threads

That start the tasks of one `req_key`: a submit takes a tenth of a second, and the task keeps no
thread.
More: threads that have nothing to do. Less: a large account is filled more slowly.
"""

POLL_THREADS = 4
"""threads

That ask for results, of all tasks of a process.
More: threads that have nothing to do. Less: slow answers delay the next polls.
"""

FIRST_POLL_SECONDS = 0.25
"""seconds

Before the first poll of a task while no duration is known; the pauses after it are half of what
the task has worked so far.
More: the first tasks of a quick operation keep their slot for longer. Less: more polls in vain.
"""

POLL_STEP = 1 / 50
"""share of the usual duration

Between two polls of a task after the first, which comes after the usual duration, though never
more than `limits.poll_seconds`.
More: ended tasks keep their slot for longer. Less: more polls find a task that still works.
"""

SHARE_DONE = 0.25
"""share of the tasks

That are done when a task of their operation is polled for the first time. Polls are free as long as
`limits.poll_qps` leaves room for them; where it does not, they come later by themselves.
More: ended tasks keep their slot for longer. Less: more polls find a task that still works.
"""

EARLIER_POLL = 0.985
"""share of the duration

What a duration counts as where the first poll found the task done: it may have been for long.
More: the first poll stays late after operations became quicker. Less: it comes too early.
"""

LATE_POLL = 0.05
"""seconds

A poll that went out so long after it was due says little of the duration: it had to wait for its turn.
More: polls that wait make the next ones late, too. Less: on a busy machine few polls count.
"""

DURATIONS_KEPT = 20
"""tasks

Whose durations say when the next ones of their `req_key` are polled first.
More: a change of pace is noticed late. Less: chance moves the first poll about.
"""

NOT_FOUND_SECONDS = 30.0
"""seconds

After its submit in which a task that the provider does not know yet is asked for again.
More: a lost task keeps its slot for longer. Less: one that is only slow to appear is in doubt.
"""

POLL_BACKOFF = Backoff(first=1.0, cap=30.0)
"""seconds

Before a poll that brought no answer about the task is made again, drawn from nothing to this bound.
More: results come later after an outage. Less: an outage meets more polls.
"""
