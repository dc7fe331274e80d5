"""A job run through real nodes: the video node is the camera, the tracker node tracks, we listen."""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np
from tqdm import tqdm

from ..core.tracker import TrackState
from ..messages import box_from_msg, stamp_ns
from ..processes import NodeProcess
from .client import CameraInfo, Client, SetBool, TrackerStatus
from .job import Job
from .recording import Recording, Report

_SILENCE_S = 1.0  # without results, after which the tracker has finished


def record(job: Job) -> Recording:
    """Run the nodes over the whole video; every process has ended when this returns or raises.

    Raises:
        CommandError: a node dies, refuses or hangs.
    """
    log = job.output / "log"
    with ExitStack() as running:
        tracker = running.enter_context(
            NodeProcess("tracker_node", log, model=str(job.model), backend=job.backend)
        )
        video = running.enter_context(
            NodeProcess("video_node", log, path=str(job.source), rate=float(job.rate_hz), start_paused=True)
        )
        client = running.enter_context(Client([tracker, video]))
        statuses, detections = client.statuses(), client.detections()
        sent = client.listen(CameraInfo, "camera_info")  # one for each image, with the same header
        client.activate(tracker)
        client.wait_until(lambda: statuses and sent, "the first frame")
        target = client.set_target(job.box_xywh, sent[0].header.stamp, job.sequence.name)
        client.call(SetBool, "video/pause", SetBool.Request(data=False))
        _wait_for_end(client, video, statuses, job)
        _take_the_rest(client, statuses, sent[-1])
    stamps = list(dict.fromkeys(stamp_ns(info.header.stamp) for info in sent))
    detected = {stamp_ns(message.header.stamp) for message in detections if message.detections}
    reports = {}
    for status in statuses:
        at_ns = stamp_ns(status.header.stamp)
        if report := _report(status, target, at_ns in detected):
            reports[at_ns] = report
    return Recording(stamps, job.box_xywh, reports, statuses[-1].model, statuses[-1].backend)


def _wait_for_end(client: Client, video: NodeProcess, statuses: list[TrackerStatus], job: Job) -> None:
    """Until the video node has sent everything and ended."""
    frames = len(job.sequence.frames)
    patience_s = 30 + 3 * frames / job.rate_hz
    with tqdm(total=frames, desc="tracking", unit="frame", disable=None) as bar:
        before = len(statuses)

        def ended() -> bool:
            bar.update(len(statuses) - before - bar.n)
            return video.ended

        client.wait_until(ended, "the end of the video", patience_s)
    video.check()


def _take_the_rest(client: Client, statuses: list[TrackerStatus], last: CameraInfo) -> None:
    """Until the result of the last image, or silence: images are best effort, so the last may be lost too."""
    known, since = len(statuses), time.monotonic()

    def finished() -> bool:
        nonlocal known, since
        if len(statuses) > known:
            known, since = len(statuses), time.monotonic()
        return statuses[-1].header.stamp == last.header.stamp or time.monotonic() - since > _SILENCE_S

    client.wait_until(finished, "the last result")


def _report(status: TrackerStatus, target: str, is_detected: bool) -> Report | None:
    """What a status says of a target; None if it does not know it."""
    for found in status.targets:
        if found.id == target:
            return Report(
                box_xywh=box_from_msg(found.box),
                confidence=found.confidence,
                state=TrackState(found.state),
                is_detected=is_detected,
                latency_ms=status.latency_ms if status.latency_ms >= 0 else np.nan,
                processing_ms=status.processing_ms,
            )
    return None
