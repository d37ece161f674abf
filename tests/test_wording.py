"""One of a thing is written as one."""

from __future__ import annotations

import pytest

from nas_agent.cli.layout import counts
from nas_agent.principles.constraint import Count
from nas_agent.principles.principle import Evidence
from nas_agent.principles.statistics import sentence
from nas_agent.wording import plural


@pytest.mark.parametrize(("count", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (12345, "12,345 runs")])
def test_a_count_and_its_noun_agree(count: int, words: str) -> None:
    assert plural(count, "run") == words


def test_nouns_that_do_not_end_in_s_are_given() -> None:
    assert plural(1, "architecture obeys", "architectures obey") == "1 architecture obeys"
    assert plural(2, "architecture obeys", "architectures obey") == "2 architectures obey"


def test_sentences_and_evidence_speak_of_one() -> None:
    assert sentence(Count(("wide",), at_least=1), ()) == "Use wide at least 1 time."
    assert sentence(Count(("wide",), at_least=1, at_most=2), ()) == "Use wide at least 1 and at most 2 times."
    assert sentence(Count(("wide",), at_most=1), ()) == "Use wide at most 1 time."
    assert counts(Evidence(others=1)).endswith("0 against, 1 other")
