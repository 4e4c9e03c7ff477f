"""Whether the owner of a claim is dead: said at once only where its pid means the same as here, else by its lease."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixmill.ledger.process_owner import is_dead, this_owner
from tests.conftest import ROOT
from tests.fork_server import fork_code

HOUR = 3600 * 1_000_000
PLACE = ("host", "machine", "namespace", "boot")


def lease(microseconds: int) -> int:
    """The end of a lease that has so much left."""
    return time.time_ns() // 1000 + microseconds


def owner_of(script: str = "", *wrapped_in: str) -> str:
    """The owner text of a process that has ended by now."""
    code = f"from pixmill.ledger.process_owner import this_owner; print(this_owner()); {script}"
    if not wrapped_in:
        with fork_code(code) as ended:
            return ended.communicate(60)[0].strip()
    command = [*wrapped_in, sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


@pytest.fixture(scope="module")
def dead() -> str:
    """The owner text of a process of this machine that is gone."""
    return owner_of()


@pytest.fixture
def neighbour() -> Iterator[str]:
    """The owner text of a process of this machine that lives."""
    code = """import signal
from pixmill.ledger.process_owner import this_owner
print(this_owner(), flush=True)
signal.pause()"""
    with fork_code(code) as process:
        yield process.stdout.readline().strip()


def moved(owner: str, part: str, value: str) -> str:
    """The same pid and start in a place that differs in one part."""
    fields = owner.rsplit("|", 5)
    fields[PLACE.index(part)] = value
    return "|".join(fields)


@pytest.mark.parametrize("left", [HOUR, -HOUR], ids=["lease runs", "lease is over"])
def test_a_process_of_this_place_is_dead_or_alive_whatever_its_lease_says(
    left: int, dead: str, neighbour: str
) -> None:
    """A1, A9: what was killed is known at once, and what was only suspended is never given up."""
    assert is_dead(dead, lease(left))
    assert not is_dead(neighbour, lease(left))
    assert not is_dead(this_owner(), lease(left))


def test_a_pid_that_was_given_to_another_process_is_no_sign_of_life(
    neighbour: str,
) -> None:
    assert is_dead(f"{neighbour}0", lease(HOUR))


def test_a_process_that_nobody_has_waited_for_is_dead() -> None:
    """Its pid is still there, but it will never send anything."""
    code = "from pixmill.ledger.process_owner import this_owner; print(this_owner(), flush=True)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout
        owner = process.stdout.read().strip()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(owner, lease(HOUR))


ELSEWHERE = {
    "another host": lambda owner: moved(owner, "host", "another-host"),
    "a machine of the same name": lambda owner: moved(owner, "machine", "0123456789ab"),
    "a machine without an id": lambda owner: moved(owner, "machine", "-"),
    "a container of the same name": lambda owner: moved(owner, "namespace", "pid:[1]"),
    "no namespace known": lambda owner: moved(owner, "namespace", "-"),
    "another boot": lambda owner: moved(owner, "boot", "0" * 36),
    "no boot known": lambda owner: moved(owner, "boot", "-"),
    "an earlier version, of this host and boot": lambda owner: "|".join(
        (socket.gethostname(), *owner.rsplit("|", 3)[1:])
    ),
    "an earlier version, of another boot": lambda _: f"{socket.gethostname()}|boot|1|2",
    "an earlier version, without /proc": lambda _: (
        f"{socket.gethostname()}|-|1|running"
    ),
    "an earlier version, of another host": lambda _: "another-host|boot|1|2",
    "a later version": lambda owner: f"new|{owner}|more",
    "no owner at all": lambda _: "nonsense",
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_owner_whose_pid_means_nothing_here_is_believed_until_its_lease_ends(
    elsewhere: Any, dead: str
) -> None:
    """H3, H10: two machines or containers of one name do not declare each other dead."""
    assert not is_dead(elsewhere(dead), lease(HOUR))
    assert is_dead(elsewhere(dead), lease(-HOUR))
    assert is_dead(elsewhere(dead), None)


def namespaces(*options: str, inside: str = "") -> tuple[str, ...]:
    """What runs a command in namespaces of its own, after `inside`. Skips the test where that is not permitted."""
    wrapped = ("unshare", "--user", "--map-root-user", *options)
    wrapped += ("sh", "-c", f'{inside or "true"} && "$@"', "sh")
    tried = subprocess.run(
        [*wrapped, "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"namespaces can't be made here: {tried.stderr.strip()}")
    return wrapped


CONTAINERS = {
    "its own /proc": ("--pid", "--fork", "--mount-proc"),
    "the /proc of its host": ("--pid", "--fork"),
}


@pytest.mark.slow
@pytest.mark.parametrize("options", CONTAINERS.values(), ids=CONTAINERS)
def test_a_container_is_believed_here_and_believes_this_process(
    options: tuple[str, ...],
) -> None:
    """H10: it has the name, the machine and the boot of its host, but counts its pids by itself."""
    wrapped = namespaces(*options)
    assert not is_dead(owner_of("", *wrapped), lease(HOUR))
    judging = f"from pixmill.ledger.process_owner import is_dead; print(is_dead({this_owner()!r}, 2**62))"
    assert owner_of(judging, *wrapped).splitlines()[1:] == ["False"]


@pytest.mark.slow
@pytest.mark.parametrize("options", CONTAINERS.values(), ids=CONTAINERS)
def test_processes_of_one_container_do_not_mistake_each_other_for_dead(
    options: tuple[str, ...],
) -> None:
    """H10: also where what is mounted on /proc counts the pids of another namespace."""
    living = "from pixmill.ledger.process_owner import this_owner; print(this_owner(), flush=True); input()"
    script = f"""import subprocess, sys
from pixmill.ledger.process_owner import is_dead
command = [sys.executable, "-c", {living!r}]
with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as child:
    print(is_dead(child.stdout.readline().strip(), 2**62)); child.communicate(chr(10))"""
    code = f"exec({script!r})"
    assert owner_of(code, *namespaces(*options)).splitlines()[1:] == ["False"]


def test_without_proc_every_process_has_a_name_of_its_own_and_is_believed_until_its_lease_ends() -> (
    None
):
    """H10: as on macOS, where neither a boot nor a start is to be read, and a pid may be one of another machine."""
    wrapped = namespaces("--mount", inside="mount -t tmpfs none /proc")
    one = owner_of("", *wrapped)
    judging = (
        "from pixmill.ledger.process_owner import is_dead; "
        f"print(*(is_dead({one!r}, until) for until in {[lease(HOUR), lease(-HOUR)]}))"
    )
    other, judged = owner_of(judging, *wrapped).splitlines()
    assert one.rpartition("|")[2] != other.rpartition("|")[2]
    assert judged == "False True"


def test_a_process_that_can_open_no_more_files_takes_nobody_for_dead(
    neighbour: str,
) -> None:
    """A11: that it can't read /proc says nothing about the others."""
    script = f"""import os, resource
from pixmill.ledger.process_owner import is_dead, this_owner
this_owner()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print(is_dead({neighbour!r}, 2**62))"""
    assert owner_of(f"exec({script!r})").splitlines()[1:] == ["False"]


def test_the_id_of_the_machine_is_not_told() -> None:
    """It is to be kept confidential: ledgers and their backups go from hand to hand."""
    machine = Path("/etc/machine-id")
    if not machine.exists() or not machine.read_text().strip():
        pytest.skip("this machine has no id")
    assert machine.read_text().strip() not in this_owner()
