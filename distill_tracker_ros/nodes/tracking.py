"""A session over a live stream of image messages: one thread owns it, others ask it."""

from __future__ import annotations

import concurrent.futures
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from ..core.engine import Engine
from ..core.frame import Frame
from ..core.session import NotNowError, SavedTarget, Session, Target, TargetError
from ..core.texts import LONGEST_NAME
from ..core.timeline import StampError, Timeline
from ..core.tracker import Remembered, Track, TrackState
from ..messages import ImageError, open_image
from ..runtime.timing import TimedEngine
from .history import History
from .options import Options
from .worker import Busy, Worker

R = TypeVar("R")

# A late target is run through the history this many times faster than the images came, so that it catches up.
CATCH_UP_SPEED = 2.0
KEEP_PERIOD_S = 0.5  # between two hand-outs of the targets for a restart


@dataclass(frozen=True)
class Arrival:
    """An image message, and the time that counts for it."""

    msg: Any  # sensor_msgs/Image or CompressedImage; None if it was refused
    stamp_ns: int  # of its header, or when it arrived if that is zero


@dataclass
class Counts:
    """Images since the start: received = processed + dropped + rejected + those on their way (0 to 2)."""

    received: int = 0
    processed: int = 0
    dropped: int = 0  # replaced by a newer one before the tracker was free
    rejected: int = 0  # could not be used
    odd_stamps: int = 0  # among the rejected: those that were repeated, late or leapt in time


@dataclass(frozen=True)
class Followed:
    """A target after the newest frame."""

    target: Target
    track: Track
    lost_frames: int  # frames since its box was accepted, 0 while TRACKING
    views: int = 0  # held by the model's update rule
    refreshed_s: float | None = None  # since its template was refreshed, by stamps; None = never


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    arrival: Arrival
    frame: Frame | None  # None: the image was rejected
    targets: tuple[Followed, ...]  # in the order in which they were set; the first is the primary one
    processing_ns: int
    engine_ns: int  # the part of it that was spent in the engine


class Tracking:
    """Tracks on the newest image, one at a time, in a thread of its own, and keeps a history of images.

    Public methods may be called from any thread. Those that return a future act between two images.
    """

    def __init__(
        self,
        engine: Engine,
        options: Callable[[], Options],
        report: Callable[[Outcome], None],
        failed: Callable[[str, Exception | None], None],
        keep: Callable[[tuple[SavedTarget, ...]], None] | None = None,
        saved: tuple[SavedTarget, ...] = (),
        max_age_s: float = math.inf,
    ) -> None:
        """
        Args:
            engine: stays the caller's, who closes it after `stop`.
            options: asked for the present options once a frame.
            report: is told the outcome of every image, in the tracking thread.
            failed: is told of errors that are no fault of the images: a sentence, and what was raised.
            keep: is given the targets now and then and when they change, in the tracking thread.
            saved: targets to go on with from the first image on, if they were saved at most `max_age_s`
                before its stamp.
        """
        self.counts = Counts()
        self.message = ""  # the last thing worth telling a person
        self._options, self._report, self._failed, self._keep = options, report, failed, keep
        self._applied = options()
        self._engine = TimedEngine(engine)
        self._session = Session(self._engine, self._applied.tracker, self._applied.session)
        self._history: History[Arrival] = History(self._applied.history)
        self._timeline = Timeline()
        self._lost_frames: dict[str, int] = {}
        self._frame_size: tuple[int, int] | None = None
        self._saved, self._max_age_s = saved, max_age_s  # until there is an image to go on with
        self._kept_s = 0.0  # by time.monotonic
        self._failures = 0  # images in a row on which the engine failed
        self._used_s = time.monotonic()  # when an image was tracked on
        self._left_behind = False
        self._refusal: Future[None] = Future()  # the last image that was refused for its stamp
        self._refusal.set_result(None)
        self._worker: Worker[Arrival] = Worker(
            self._process, self._remember, lambda error: failed("publishing failed", error)
        )

    def arrive(self, arrival: Arrival) -> None:
        """Take an image. It waits until the tracker is free, or until a newer one takes its place."""
        self.counts.received += 1
        try:
            _check_header(arrival.msg)
            self._timeline.check(arrival.stamp_ns)
        except (ImageError, StampError) as error:
            if self._refusal.done():
                # Without the picture: what waits must not fill the memory.
                told = Arrival(None, arrival.stamp_ns)
                self._refusal = self._worker.submit(partial(self._refuse, told, error))
            else:  # one waits to be told already
                self.counts.dropped += 1
        else:
            self.counts.dropped += self._worker.offer(arrival)

    def set_target(self, box_xywh: ArrayLike, stamp_ns: int, id: str, label: str) -> Future[str]:
        """Start on the image with this stamp (0 = the newest) and catch up; gives the id or a TargetError."""
        return self._worker.submit(lambda: self._set_target(box_xywh, stamp_ns, id, label))

    def clear_target(self, id: str) -> Future[int]:
        """Drop a target, or all if the id is empty; gives how many were dropped, or a TargetError."""
        return self._worker.submit(lambda: self._clear_target(id))

    def remembered(self, id: str) -> Future[tuple[str, tuple[Remembered, ...]]]:
        """What is remembered of a target (empty id = the primary one): its id and views, or a TargetError."""
        return self._worker.submit(lambda: self._remembered(id))

    def restart(self, reason: str) -> Future[None]:
        """Drop all targets and forget the images kept: what comes next has nothing to do with them."""
        return self._worker.submit(lambda: self._restart(reason))

    def pause(self) -> None:
        """Let go of all images; targets stay. Returns when nothing is being worked on, if that ends.

        Without images, a target that catches up has done so, and those that wait are refused.
        """
        self.counts.dropped += self._worker.discard()
        self._timeline = Timeline()
        self._history.clear()
        with suppress(TargetError):
            answer(self._worker.submit(lambda: None), self._applied.service_timeout_s)

    def stop(self, patience_s: float | None = None) -> bool:
        """End the thread; False if it had to be left behind in a call that does not return.

        What it then does is not heard of any more.
        """
        self._left_behind = not self._worker.stop(patience_s)
        return not self._left_behind

    @property
    def saved(self) -> tuple[SavedTarget, ...]:
        """The targets as they are now; may be asked from any thread once this one has stopped."""
        return (*self._saved, *self._session.saved)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._worker.stopped

    def hangs(self, limit_s: float) -> bool:
        """Whether a call of the engine has not returned for this long, s; 0 = never."""
        return 0 < limit_s < self._engine.waiting_s

    def trouble(self, limit_s: float, failures: int) -> str:
        """What is wrong with the engine now; empty if nothing is.

        Args:
            limit_s: see `hangs`.
            failures: images in a row on which it may fail.
        """
        if self.hangs(limit_s):
            return f"a call of the engine has not returned for {self._engine.waiting_s:.1f} s"
        if self._failures >= failures:
            return f"the engine failed on {self._failures} images in a row"
        return "tracking has stopped" if self._worker.stopped else ""

    def successor(self, engine: Engine, message: str) -> Tracking:
        """Goes on with the targets and the counts of this one, which was stopped, on another engine."""
        next_one = Tracking(engine, self._options, self._report, self._failed, self._keep, self.saved)
        self.counts.dropped += self._worker.discard()
        if self._left_behind and not self._worker.at_command:
            self.counts.rejected += 1  # the image that the engine never came back from
        # A thread that was left behind may still count: it does so in a copy.
        next_one.counts, next_one.message = replace(self.counts), message
        next_one._timeline, next_one._history = self._timeline, self._history
        next_one._frame_size, next_one._lost_frames = self._frame_size, dict(self._lost_frames)
        return next_one

    # In the worker's thread, but for `_remember`.

    def _process(self, arrival: Arrival) -> None:
        began = time.perf_counter_ns()
        self._engine.reset()
        self._take_options()
        frame: Frame | None = None
        try:
            frame = open_image(arrival.msg)
            self._resume(arrival.stamp_ns)
            self._session.update(frame, arrival.stamp_ns)
        except Exception as error:
            frame = None
            self._reject(error)
        else:
            self._note(frame, arrival)
        self._tell(arrival, frame, time.perf_counter_ns() - began, self._engine.elapsed_ns)

    def _refuse(self, arrival: Arrival, error: ImageError | StampError) -> None:
        self.counts.odd_stamps += isinstance(error, StampError)
        self._reject(error)
        try:
            self._tell(arrival, None, 0, 0)
        except Exception as failure:
            self._failed("publishing failed", failure)

    def _tell(self, arrival: Arrival, frame: Frame | None, spent_ns: int, engine_ns: int) -> None:
        if self._left_behind:  # another one tracks by now
            return
        followed = self._followed()
        unseen_s = time.monotonic() - self._used_s
        if frame is None and unseen_s * 1000 >= self._applied.tracker.lost_after_ms:
            followed = tuple(_unseen(each, unseen_s) for each in followed)
        self._report(Outcome(arrival, frame, followed, spent_ns, engine_ns))
        if time.monotonic() - self._kept_s > KEEP_PERIOD_S:
            self._hand_out()

    def _hand_out(self) -> None:
        """Give the targets away for a restart."""
        if self._keep is not None and not self._left_behind:
            self._keep(self.saved)
            self._kept_s = time.monotonic()

    def _resume(self, stamp_ns: int) -> None:
        """Go on with the saved targets, but not with those that were saved too long before this image."""
        if not self._saved:
            return
        most_ns = self._max_age_s * 1e9
        young = [each for each in self._saved if 0 <= stamp_ns - each.snapshot.track.stamp_ns <= most_ns]
        self._session.resume(young)
        if young and not self.message:
            self.message = f"{len(young)} target(s) of before the restart are looked for"
        if given_up := len(self._saved) - len(young):
            self._session.notice = f"{given_up} target(s) were saved too long ago and are given up"
        self._saved = ()

    def _reject(self, error: Exception) -> None:
        self.counts.rejected += 1
        self.message = str(error)
        if not isinstance(error, ImageError | StampError):
            self._failures += 1
            self.message = f"the engine failed on an image ({type(error).__name__}: {error})"
            self._failed(self.message, error)

    def _note(self, frame: Frame, arrival: Arrival) -> None:
        """After a frame that was tracked on."""
        size = (frame.width, frame.height)
        if self._frame_size not in (None, size):
            # Boxes on images of another size would be in other pixels.
            self._history.clear()
            self._remember(arrival)
        self._frame_size, self._failures, self._used_s = size, 0, time.monotonic()
        self.counts.processed += 1
        self.message, self._session.notice = self._session.notice or self.message, ""
        self._lost_frames = {
            id: 0 if track.state is TrackState.TRACKING else self._lost_frames.get(id, 0) + 1
            for id, track in self._session.tracks.items()
        }

    def _followed(self) -> tuple[Followed, ...]:
        tracks = self._session.tracks
        return tuple(
            Followed(
                target,
                tracks[target.id],
                self._lost_frames.get(target.id, 0),
                len(self._session.tracker(target.id).update_rule),
                self._refreshed_s(target.id),
            )
            for target in self._session.targets
        )

    def _refreshed_s(self, id: str) -> float | None:
        tracker = self._session.tracker(id)
        if tracker.refreshed_ns is None:
            return None
        return (tracker.track.stamp_ns - tracker.refreshed_ns) / 1e9

    def _remember(self, arrival: Arrival) -> None:
        """For every image that leaves the waiting place, tracked on or not: an operator saw them all."""
        self._history.add(arrival.stamp_ns, arrival, len(arrival.msg.data))

    def _take_options(self) -> None:
        options = self._options()
        if options is not self._applied:
            self._applied = options
            self._session.configure(options.tracker)
            self._session.config = options.session
            self._history.config = options.history

    def _set_target(self, box_xywh: ArrayLike, stamp_ns: int, id: str, label: str) -> str:
        self._take_options()
        if max(len(id), len(label)) > LONGEST_NAME:
            raise TargetError(
                f"id and label may have {LONGEST_NAME} characters; got {len(id)} and {len(label)}"
            )
        start = self._history.at(stamp_ns)
        try:
            frame = open_image(start.msg)
            if (frame.width, frame.height) != self._frame_size:
                raise TargetError("the size of the images has changed since: mark the target again")
            id = self._session.set_target(frame, box_xywh, start.stamp_ns, id, label, self._catch_up(start))
        except TargetError:
            raise
        except ImageError as error:
            raise TargetError(f"the image of that stamp cannot be used: {error}") from error
        except Exception as error:
            text = f"the engine failed on that image ({type(error).__name__}: {error}): nothing was changed"
            self._failed(text, error)
            raise NotNowError(text) from error
        self._lost_frames[id] = 0
        self.message = f"target {id!r} was set"
        self._hand_out()
        return id

    def _catch_up(self, start: Arrival) -> Iterator[tuple[Frame, int]]:
        """The images after a late start, up to the newest: all of them if the engine is fast enough.

        Images that come meanwhile follow too. It ends after as long as the start is late, at the latest: at
        twice the speed of the stream everything is caught up by then, if stamps are times at all.
        """
        lateness_ns = self._history.at(0).stamp_ns - start.stamp_ns
        budget_ns = min(lateness_ns, int(self._applied.service_timeout_s * 0.8e9))
        began = now = time.perf_counter_ns()
        at_ns, step_ns = start.stamp_ns, 1
        while now - began < budget_ns:
            arrival = self._history.first_from(at_ns + step_ns) or self._history.at(0)
            if arrival.stamp_ns <= at_ns:
                return
            at_ns = arrival.stamp_ns
            try:
                frame = open_image(arrival.msg)
                if (frame.width, frame.height) == self._frame_size:
                    yield frame, at_ns
            except ImageError:
                pass  # it was or will be rejected in its turn
            before, now = now, time.perf_counter_ns()
            step_ns = max(1, int((now - before) * CATCH_UP_SPEED))

    def _clear_target(self, id: str) -> int:
        waiting = tuple(each for each in self._saved if id and each.target.id != id)
        dropped, self._saved = len(self._saved) - len(waiting), waiting
        if not (id and dropped):
            dropped += self._session.clear_target(id)
        self._hand_out()
        if dropped:
            self.message = f"target {id!r} was cleared" if id else f"all targets ({dropped}) were cleared"
        return dropped

    def _remembered(self, id: str) -> tuple[str, tuple[Remembered, ...]]:
        target = self._session.target(id)
        return target.id, self._session.tracker(target.id).remembered

    def _restart(self, reason: str) -> None:
        self._history.clear()
        self._timeline, self._saved = Timeline(), ()
        if dropped := self._session.clear_target():
            # As a notice, too: an image that is refused must not hide it.
            self.message = self._session.notice = f"{reason}: {dropped} target(s) dropped"
            self._hand_out()


def _check_header(msg: Any) -> None:
    """Raise ImageError for a frame_id that is no name: it is kept with the image and sent with results."""
    if (length := len(msg.header.frame_id)) > LONGEST_NAME:
        raise ImageError(f"the image's frame_id has {length} characters: accepted are {LONGEST_NAME}")


def _unseen(followed: Followed, unseen_s: float) -> Followed:
    """What is to be said of a target when no image could be used for longer than it may be unseen."""
    reason = f"no image could be used for {unseen_s:.1f} s"
    return replace(
        followed, track=replace(followed.track, state=TrackState.LOST, confidence=0.0, reason=reason)
    )


def answer(future: Future[R], timeout_s: float) -> R:
    """The result of a call, or a NotNowError that says why there is none in time."""
    try:
        return future.result(timeout_s)
    except Busy as error:
        raise NotNowError(f"the tracker is busy ({error}): nothing was changed, try again") from error
    except concurrent.futures.CancelledError as error:
        raise NotNowError("tracking ended before it could be done") from error
    except concurrent.futures.TimeoutError as error:
        if future.cancel():
            raise NotNowError(
                f"the tracker was busy for {timeout_s:g} s: nothing was changed, try again"
            ) from error
        raise NotNowError(
            f"the tracker is still at it after {timeout_s:g} s: the status will tell how it ends"
        ) from error
