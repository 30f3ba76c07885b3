"""How an error is told."""

import pytest
from postroom.errors import in_one_line


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("The host cannot be found.", "The host cannot be found. Check it."),
        ("a:25 refused: 535 5.7.8 no", "a:25 refused: 535 5.7.8 no. Check it."),
        ('a:143 said "go away"', 'a:143 said "go away". Check it.'),
        ("Is it there?", "Is it there? Check it."),
        ("", "Check it."),
    ],
)
def test_a_servers_last_words_get_a_full_stop_before_the_next_step(
    sentence: str, told: str
) -> None:
    assert in_one_line(sentence, "Check it.") == told
