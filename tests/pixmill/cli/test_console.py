"""What a person sees on a terminal: lines that fit it, and colours that say what kind of line it is."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pixmill.cli import app
from pixmill.cli.console import echo, print_error
from pixmill.errors import UserError

COLUMNS = 60
END = "that is all"
COLOUR = re.compile(r"\x1b\[\d+m")

Shown = Callable[[], list[str]]


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """Make stderr a terminal of sixty columns; yield what returns the lines that were written to it.

    No fixture: pytest puts its own stderr into place again before the test itself.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    with (
        os.fdopen(theirs, "w", encoding="utf-8") as stream,
        monkeypatch.context() as to,
    ):

        def read() -> list[str]:
            # A terminal hands on what is written to it piece by piece.
            print(END, file=stream, flush=True)
            text = ""
            while END not in text:
                text += os.read(ours, 100_000).decode()
            return text.partition(END)[0].split("\r\n")[:-1]

        to.setattr(sys, "stderr", stream)
        yield read
    os.close(ours)


def test_a_long_line_is_broken_between_words_and_goes_on_below_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with terminal(monkeypatch) as shown:
        echo(
            "  time: about 18 s; 4 calls in flight at 5.9 s each are 0.68 calls/s; of 2 calls/s"
        )
        echo("      in words   what a value is, which is longer than a line has")
        print_error(UserError("a " * 40, hint="b " * 40))
        lines = [COLOUR.sub("", line) for line in shown()]
    assert lines[:2] == [
        "  time: about 18 s; 4 calls in flight at 5.9 s each are 0.68",
        "    calls/s; of 2 calls/s",
    ]
    assert lines[3] == " " * 17 + "line has"
    assert max(map(len, lines)) <= COLUMNS
    assert sum(line.count("a") + line.count("b") for line in lines[4:]) == 80


@pytest.mark.parametrize(
    "line",
    [
        f"next: pixmill export {'folder/' * 12}pets.yaml --format csv",
        f"  out/{'a-long-name/' * 10}dataset.parquet",
        f"  My Drive/pixmill experiments/{'control strength/' * 4}dataset.parquet",
        f"  the table of these rows is My Drive/{'pets-' * 12}of november.csv",
        f"  s3://bucket/{'many names/' * 9}dataset.parquet",
        f"  wrote 12 samples to exports/{'controlled pets ' * 4}",
        f"  see what is there with `pixmill view {'runs of november ' * 4}`",
        f'read it with: load_dataset("imagefolder", data_dir="{"our pets " * 9}")',
        f'      logo_info   {{"add_logo": false, "text": "{"by us " * 9}"}}',
        # Twice as wide as it is long, and nobody would copy it with an end of line in it.
        f"  prompt: {'灯塔 ' * 24}",
    ],
)
def test_what_is_copied_stays_one_line(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    with terminal(monkeypatch) as shown:
        echo(line)
        lines = [COLOUR.sub("", line) for line in shown()]
    assert lines == [line]


def test_colours_say_what_kind_of_line_it_is_unless_somebody_wants_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with terminal(monkeypatch) as shown:
        echo("  warning: 3 prompts are longer than 800 characters")
        monkeypatch.setenv("NO_COLOR", "1")
        echo("next: pixmill run pets.yaml")
        print_error(UserError("there is no such table"))
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "dumb")
        echo("next: pixmill view pets.yaml")
        lines = shown()
    assert lines == [
        "  \x1b[1;35mwarning:\x1b[0m 3 prompts are longer than 800 characters",
        "next: pixmill run pets.yaml",
        "error: there is no such table",
        "next: pixmill view pets.yaml",
    ]


def test_a_wide_first_column_leaves_room_for_what_goes_on_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "the name of a value that takes most of the line"
    with terminal(monkeypatch) as shown:
        echo(f"  {name}  what it is and does")
        lines = shown()
    assert lines == [f"  {name}  what it", "    is and does"]


def test_in_a_file_a_line_is_as_long_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    echo(f"warning: {'word ' * 60}end")
    assert capsys.readouterr().err == f"warning: {'word ' * 60}end\n"


def test_the_list_of_commands_fits_eighty_columns() -> None:
    """`--help` cuts off what is longer: six columns around the longest name, and two that click leaves."""
    for command in app.registered_commands:
        assert command.callback
        first = (command.callback.__doc__ or "").partition(".")[0]
        assert len(" ".join(first.split())) <= 64, command.name
