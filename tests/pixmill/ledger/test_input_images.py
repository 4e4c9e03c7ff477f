"""What is known of input images: found by the exact URL, always the last answer."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from pixmill.errors import LedgerError
from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.input_images import InputImage, look_up, record

URL = "https://images.example.com/a.jpg"
GOOD = InputImage(URL, 1, None, None, "images/ab/abc.jpg", "abc", 40, 30, "JPEG", 1234)
BAD = InputImage(URL, 2, "input_not_found", "images.example.com: its answer is 404")


NO_PATTERN = "".join(sha256(bytes([at])).hexdigest() for at in range(125))
"""8,000 characters that can't be compressed much: too long for the usual index of PostgreSQL."""


@pytest.mark.parametrize("image", [GOOD, GOOD._replace(file_name=None), BAD])
def test_an_answer_comes_back_as_it_was_written(
    ledger: Ledger, image: InputImage
) -> None:
    ledger.record_input(image)
    assert ledger.inputs([URL]) == {URL: image}


@pytest.mark.parametrize("answers", [(GOOD, BAD), (BAD, GOOD)])
def test_the_last_answer_replaces_all_of_the_one_before(
    ledger: Ledger, answers: tuple[InputImage, ...]
) -> None:
    for answer in answers:
        ledger.record_input(answer)
    assert ledger.inputs([URL]) == {URL: answers[-1]}


def test_of_two_answers_in_one_commit_the_later_stands(ledger: Ledger) -> None:
    with ledger.database.writing.begin() as connection:
        assert record(connection, [GOOD, BAD]) == [None, None]
        assert look_up(connection, [URL]) == {URL: BAD}


def test_only_the_urls_that_were_asked_for_come_back(ledger: Ledger) -> None:
    ledger.record_input(GOOD)
    ledger.record_input(BAD._replace(url="https://images.example.com/b.jpg"))
    assert ledger.inputs([]) == {}
    assert ledger.inputs(["https://images.example.com/c.jpg"]) == {}
    assert list(ledger.inputs([URL, "https://images.example.com/c.jpg", URL])) == [URL]


def test_a_url_is_its_exact_text(ledger: Ledger) -> None:
    """Neither case nor an escape is folded, and no character of a URL is special to the database."""
    urls = [
        URL,
        URL.upper(),
        f"{URL}?",
        f"{URL}?a='%22;--",
        "https://images.example.com/画像.jpg",
        "https://images.example.com/%E7%94%BB.jpg",
        f"https://images.example.com/{NO_PATTERN}",
        f"https://images.example.com/{NO_PATTERN}y",
    ]
    for at, url in enumerate(urls):
        ledger.record_input(GOOD._replace(url=url, bytes=at))
    assert {url: image.bytes for url, image in ledger.inputs(urls).items()} == {
        url: at for at, url in enumerate(urls)
    }


def test_answers_of_many_threads_are_all_there_when_the_ledger_is_opened_again(
    address: str,
) -> None:
    images = [
        GOOD._replace(url=f"{URL}?{number}", bytes=number) for number in range(2_000)
    ]
    first = open_ledger(address)
    assert first
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(first.record_input, images))
    first.close()
    second = open_ledger(address, read_only=True)
    assert second
    assert second.inputs([image.url for image in images]) == {
        image.url: image for image in images
    }
    with pytest.raises(LedgerError, match="read-only"):
        second.record_input(GOOD)
    second.close()
