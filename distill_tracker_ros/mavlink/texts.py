"""Sentences to the pilot as STATUSTEXT: in pieces that fit, and not more than can be read."""

from __future__ import annotations

from typing import Any

from .dialect import mavlink

WARNING, NOTICE = mavlink.MAV_SEVERITY_WARNING, mavlink.MAV_SEVERITY_NOTICE

PIECE = 50  # bytes of a message
LONGEST = 250  # bytes of a sentence
PERIOD_S = 2.0  # the same sentence comes again after so long
MOST_SENTENCES = 8  # different ones in a period


class Texts:
    """Makes the messages; leaves out what was said a moment ago, or would be too much."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._number = 0  # of a sentence of several pieces

    def say(self, severity: int, sentence: str, now_s: float) -> list[Any]:
        """The messages for a sentence; none if it is left out."""
        self._said = {text: at_s for text, at_s in self._said.items() if 0 <= now_s - at_s < PERIOD_S}
        if sentence in self._said or len(self._said) >= MOST_SENTENCES:
            return []
        self._said[sentence] = now_s
        encoded = sentence.encode(errors="replace")[:LONGEST].decode(errors="ignore").encode()
        if len(encoded) <= PIECE:
            return [_message(severity, encoded)]
        self._number = self._number % 65_535 + 1
        # The first piece that is not full ends the sentence; it may be empty.
        starts = range(0, len(encoded) + 1, PIECE)
        pieces = [encoded[start : start + PIECE] for start in starts]
        return [_message(severity, piece, self._number, place) for place, piece in enumerate(pieces)]


def _message(severity: int, text: bytes, number: int = 0, place: int = 0) -> Any:
    return mavlink.MAVLink_statustext_message(severity, text, number, place)
