"""How well what was typed fits a name: the order of the command palette.

Each word must be found as letters in order. Runs of neighbouring letters and beginnings of words
count more, so that ``ktb`` finds *Kill the broker* and ``orders`` puts the topic before its partitions.
``^`` at the start and ``$`` at the end anchor the word.
"""

from __future__ import annotations

from typing import Final

NO_MATCH: Final = -1
_RUN_BONUS: Final = 6
_WORD_START_BONUS: Final = 8
_PREFIX_BONUS: Final = 20
_WHOLE_BONUS: Final = 40


def score(query: str, text: str) -> int:
    """A number that grows with the fit; :data:`NO_MATCH` where a word of ``query`` is not in ``text``."""
    lowered = text.casefold()
    total = 0
    for word in query.casefold().split():
        fit = _score_word(word, lowered)
        if fit == NO_MATCH:
            return NO_MATCH
        total += fit
    # Of two equal fits the shorter name is the nearer one.
    return max(0, total * 100 - len(lowered)) if total else 0


def _score_word(word: str, text: str) -> int:
    at_start, at_end = word.startswith("^"), word.endswith("$")
    word = word.removeprefix("^").removesuffix("$")
    if (at_start and not text.startswith(word)) or (at_end and not text.endswith(word)):
        return NO_MATCH
    if not word:
        return 0
    found = text.find(word)
    if found >= 0:
        fit = len(word) * (_RUN_BONUS + 1)
        if _starts_word(text, found):
            fit += _WORD_START_BONUS
        if found == 0:
            fit += _PREFIX_BONUS
        if text == word:
            fit += _WHOLE_BONUS
        return fit
    fit, position, previous = 0, 0, -2
    for letter in word:
        found = text.find(letter, position)
        if found < 0:
            return NO_MATCH
        fit += 1
        if found == previous + 1:
            fit += _RUN_BONUS // 2
        if _starts_word(text, found):
            fit += _WORD_START_BONUS // 2
        previous, position = found, found + 1
    return fit


def _starts_word(text: str, position: int) -> bool:
    return position == 0 or not text[position - 1].isalnum()
