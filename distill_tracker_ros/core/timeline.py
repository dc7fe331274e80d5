"""Which images can follow each other: cameras, networks and clocks give some of them odd stamps."""

from __future__ import annotations

LATE_NS = 500_000_000  # an image that is older than the newest by less was overtaken by it on the way
LEAP_NS = 10_000_000_000  # a stamp that is ahead by more is believed when the next one agrees


class StampError(ValueError):
    """An image that cannot be used because of its stamp; the text says why."""


class Timeline:
    """The stamps of a stream, in the order in which the images came.

    One image with an odd stamp is left out and changes nothing. Two in a row that agree are a new time: a
    recording that begins again, a clock that was set, a camera that was away.
    """

    def __init__(self) -> None:
        self._newest_ns: int | None = None
        self._odd_ns: int | None = None  # the stamp before, if it was not believed

    def check(self, stamp_ns: int) -> None:
        """Take the stamp of the next image, ns.

        A stamp that goes back can pass, when the time is a new one: who tracks has to look for that.

        Raises:
            StampError: the image is to be left out: it has the stamp of the newest one, is a little older, or
                has the first stamp of what may be another time.
        """
        newest_ns, odd_ns, self._odd_ns = self._newest_ns, self._odd_ns, None
        if newest_ns is None or 0 < stamp_ns - newest_ns <= LEAP_NS:
            self._newest_ns = stamp_ns
            return
        ahead_s = (stamp_ns - newest_ns) / 1e9
        if stamp_ns == newest_ns:
            raise StampError("the image has the stamp of the one before and was skipped")
        if -LATE_NS < stamp_ns - newest_ns < 0:
            raise StampError(
                f"the image is {-ahead_s:.3f} s older than the newest one, out of order: it was skipped"
            )
        if odd_ns is not None and _agree(odd_ns, stamp_ns, newest_ns):
            self._newest_ns = stamp_ns
            return
        self._odd_ns = stamp_ns
        raise StampError(
            f"the stamp leaps by {ahead_s:+.3f} s from the image before: skipped until the next one agrees"
        )


def _agree(odd_ns: int, stamp_ns: int, newest_ns: int) -> bool:
    """Whether two odd stamps in a row are of one new time; ahead it may be that of a very slow camera."""
    return odd_ns < stamp_ns and (newest_ns < odd_ns or stamp_ns - odd_ns <= LEAP_NS)
