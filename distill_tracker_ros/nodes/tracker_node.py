"""The tracker as a managed (lifecycle) node: images and targets in, detections out."""

from __future__ import annotations

import sys
import time
import traceback
from concurrent.futures import Future
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ..core.session import TargetError
from ..messages import BoxError, box_from_msg, stamp_ns
from ..runtime.load import Loaded, load
from ..runtime.manifest import BundleError
from ..runtime.tensorrt.builder import BuildCancelled
from . import diagnostics
from .diagnostics import Events, Source
from .interfaces import ClearTarget, Detection2D, SetTarget
from .lifecycle import answer_impossible_transitions, logged
from .options import FIXED_WHILE_ACTIVE, FIXED_WHILE_CONFIGURED, Options
from .parameters import Parameters
from .results import QOS, Results
from .running import ending, run
from .tracking import Arrival, Counts, Outcome, Tracking, answer

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

LOG_PERIOD_S = 5.0  # of what could be said with every image
DIAGNOSTICS_PERIOD_S = 1.0


class TrackerNode(LifecycleNode):
    """Loads the model in *configure*, takes images in *activate*, keeps its targets in *deactivate*.

    Services and /diagnostics are there in every state, so that a caller gets a sentence and not silence.
    """

    def __init__(self) -> None:
        super().__init__("tracker")
        self._settings = Parameters(self, Options(), self._refusal)
        self._tracking: Tracking | None = None  # from configure to cleanup
        self._loaded: Loaded | None = None  # from configure to cleanup, too
        self._engine_error = ""
        self._subscription: Subscription | None = None  # while active
        self._topic = ""  # of the images
        self._events = Events()
        self._header = Header()  # of the newest processed image

        self._results = Results(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QOS)

        # A service waits for the tracker: in a group of its own, it keeps nothing else waiting.
        services = MutuallyExclusiveCallbackGroup()
        self.create_service(SetTarget, "~/set_target", self._on_set_target, callback_group=services)
        self.create_service(ClearTarget, "~/clear_target", self._on_clear_target, callback_group=services)
        self.create_subscription(Detection2D, "~/target", self._on_target, QOS)

        # Not by the node's clock: it may stand still, and that is worth a diagnosis.
        steady, alone = Clock(clock_type=ClockType.STEADY_TIME), MutuallyExclusiveCallbackGroup()
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, callback_group=alone, clock=steady)
        if self._options.autostart:
            self._starter = self.create_timer(0.0, self._autostart, clock=steady)
        answer_impossible_transitions(self)
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(back, post_callback=self._on_time_jump)

    # Lifecycle.

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        options = self._options
        self._engine_error = ""
        began = time.perf_counter()
        try:
            self._loaded = load(
                options.model,
                options.backend,
                options.onnx,
                options.tensorrt,
                say=self.get_logger().info,
                cancelled=ending,  # a build takes minutes
            )
        except (BundleError, ValueError, ImportError, BuildCancelled) as error:
            self._engine_error = str(error)
            self.get_logger().error(f"configure: {error}")
            return TransitionCallbackReturn.FAILURE
        engine, backend, device, notes = self._loaded
        self._tracking = Tracking(engine, lambda: self._options, self._report, self._on_failure)
        took = time.perf_counter() - began
        for note in notes:
            self.get_logger().info(f"not faster, because: {note}")
        self.get_logger().info(f"model {engine.spec.name!r} loaded by {backend} ({device}) in {took:.1f} s")
        return super().on_configure(state)

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._tracking is not None
        self._tracking.counts = Counts()
        self._events = Events(began_ns=self._now_ns())
        result = super().on_activate(state)
        self._subscribe()
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unsubscribe()
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_cleanup(state)

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_shutdown(state)

    @logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        self.get_logger().error("everything was freed; the node is unconfigured and can be configured again")
        return super().on_error(state)

    def destroy_node(self) -> None:
        self._free()
        super().destroy_node()

    def _autostart(self) -> None:
        self._starter.cancel()
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _free(self) -> None:
        self._unsubscribe()
        if self._tracking is not None:
            self._tracking.stop()
            self._tracking = None
        if self._loaded is not None:
            self._loaded.engine.close()
            self._loaded = None

    def _subscribe(self) -> None:
        options = self._options
        is_raw = options.image_transport == "raw"
        topic = self.resolve_topic_name("image") if is_raw else self._compressed_topic()
        reliability = ReliabilityPolicy[options.image_reliability.upper()]
        qos = QoSProfile(depth=1, reliability=reliability)
        self._topic = topic
        for events in (
            SubscriptionEventCallbacks(incompatible_qos=self._on_other_qos, message_lost=self._on_lost),
            SubscriptionEventCallbacks(),
        ):
            try:
                self._subscription = self.create_subscription(
                    Image if is_raw else CompressedImage, topic, self._on_image, qos, event_callbacks=events
                )
                break
            except UnsupportedEventTypeError:  # not every middleware knows them
                continue

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
            if self._tracking is not None:
                self._tracking.pause()

    def _compressed_topic(self) -> str:
        """A remapping of `image` moves it as well, as with image_transport, unless it has one of its own."""
        own = self.resolve_topic_name("image/compressed")
        if own != self.resolve_topic_name("image/compressed", only_expand=True):
            return own
        return self.resolve_topic_name("image") + "/compressed"

    # Images in, results out. `_report` and `_on_failure` run in the tracking thread.

    def _on_image(self, msg: Image | CompressedImage) -> None:
        if self._tracking is None:
            return
        now_ns, stamp = self._now_ns(), stamp_ns(msg.header.stamp)
        self._events.arrivals.add(now_ns)
        if not stamp:
            self._events.unstamped.add(now_ns)
            self.get_logger().warning("images have no stamp: the time of their arrival is used", once=True)
        self._tracking.arrive(Arrival(msg, stamp or now_ns))

    def _report(self, outcome: Outcome) -> None:
        began, tracking, loaded = time.perf_counter_ns(), self._tracking, self._loaded
        assert tracking is not None and loaded is not None  # they outlive the thread that this runs in
        latency_ms: float | None = None
        if outcome.frame is None:
            self._events.rejection = tracking.message
            self._events.rejections.add(self._now_ns())
            self.get_logger().warning(
                f"image rejected: {tracking.message}", throttle_duration_sec=LOG_PERIOD_S
            )
        else:
            self._header = outcome.arrival.msg.header
            self._results.publish_detections(self._header, outcome.targets)
            latency_ms = self._latency_ms(self._header)
        self._results.publish_status(
            self._header,
            outcome.targets,
            tracking.counts,
            model=loaded.engine.spec.name,
            backend=loaded.backend,
            processing_ms=outcome.processing_ns / 1e6,
            latency_ms=latency_ms,
            message=tracking.message,
        )
        if outcome.frame is not None:
            self._record(outcome, latency_ms, outcome.processing_ns + time.perf_counter_ns() - began)
            self._results.publish_overlay(self._header, outcome.frame, outcome.targets, self._options.overlay)

    def _record(self, outcome: Outcome, latency_ms: float | None, spent_ns: int) -> None:
        now_ns, events = self._now_ns(), self._events
        events.processed = outcome
        events.engine_ms.add(now_ns, outcome.engine_ns / 1e6)
        events.node_ms.add(now_ns, (spent_ns - outcome.engine_ns) / 1e6)
        if latency_ms is not None:
            events.latency_ms.add(now_ns, latency_ms)

    def _latency_ms(self, header: Header) -> float | None:
        now_ns, stamp = self._now_ns(), stamp_ns(header.stamp)
        return (now_ns - stamp) / 1e6 if now_ns and stamp else None

    def _on_failure(self, text: str, error: Exception) -> None:
        if not self.context.ok():  # publishing fails while the process ends
            return
        self._events.failure = text
        self._events.failures.add(self._now_ns())
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.get_logger().error(f"{text}\n{trace}", throttle_duration_sec=LOG_PERIOD_S)

    # Targets.

    def _on_set_target(self, request: Any, response: Any) -> Any:
        try:
            future = self._set_target(request.box, stamp_ns(request.stamp), request.id, request.label)
            response.id = answer(future, self._options.service_timeout_s)
            response.success, response.message = True, f"target {response.id!r} is followed"
        except (TargetError, BoxError) as error:
            response.success, response.message = False, str(error)
        self.get_logger().info(f"set_target: {response.message}")
        return response

    def _on_clear_target(self, request: Any, response: Any) -> Any:
        try:
            cleared = answer(self._active().clear_target(request.id), self._options.service_timeout_s)
            response.success, response.message = True, f"{cleared} target(s) cleared"
        except TargetError as error:
            response.success, response.message = False, str(error)
        self.get_logger().info(f"clear_target: {response.message}")
        return response

    def _on_target(self, msg: Detection2D) -> None:
        """The same as the service, for those that cannot wait for an answer: it is logged."""
        label = msg.results[0].hypothesis.class_id if msg.results else ""
        try:
            future = self._set_target(msg.bbox, stamp_ns(msg.header.stamp), msg.id, label)
            future.add_done_callback(self._log_target)
        except (TargetError, BoxError) as error:
            self._log_refusal(error)

    def _set_target(self, box: Any, stamp: int, id: str, label: str) -> Future[str]:
        return self._active().set_target(box_from_msg(box), stamp, id, label)

    def _log_target(self, future: Future[str]) -> None:
        try:
            self.get_logger().info(f"~/target: target {answer(future, 0)!r} is followed")
        except TargetError as error:
            self._log_refusal(error)

    def _log_refusal(self, error: Exception) -> None:
        self.get_logger().warning(f"~/target: {error}", throttle_duration_sec=LOG_PERIOD_S)

    def _active(self) -> Tracking:
        """The tracking, or a TargetError that says how to start it."""
        name = self.get_fully_qualified_name()
        if self._tracking is None:
            how = f"'ros2 lifecycle set {name} configure', then activate"
            raise TargetError(f"the node is not configured: {how}")
        if self._subscription is None:
            raise TargetError(f"the node is inactive: 'ros2 lifecycle set {name} activate'")
        return self._tracking

    # Time, parameters, events of the middleware, diagnostics.

    @property
    def _options(self) -> Options:
        return self._settings.value

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_time_jump(self, jump: TimeJump) -> None:
        self._events.began_ns = self._now_ns()
        if self._tracking is not None:
            self._tracking.restart(f"the clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s")

    def _refusal(self, parameter: str) -> str:
        """Why a parameter cannot change now."""
        name = self.get_fully_qualified_name()
        if self._tracking is not None and parameter.startswith(FIXED_WHILE_CONFIGURED):
            return (
                f"{parameter} cannot change while a model is loaded: deactivate the node and clean it up "
                f"('ros2 lifecycle set {name} cleanup'), set it, configure the node again"
            )
        if self._subscription is not None and parameter in FIXED_WHILE_ACTIVE:
            return (
                f"{parameter} cannot change while the node is active: "
                f"'ros2 lifecycle set {name} deactivate', set it, activate the node again"
            )
        return ""

    def _on_other_qos(self, event: Any) -> None:
        self._events.incompatible_qos = (
            f"a publisher of {self._topic} offers a weaker QoS than is asked for: "
            "set image_reliability to best_effort"
        )
        self.get_logger().error(self._events.incompatible_qos)

    def _on_lost(self, event: Any) -> None:
        self._events.lost_in_transport = event.total_count

    def _publish_diagnostics(self) -> None:
        now, name = self.get_clock().now(), self.get_name()
        statuses = self._diagnose(now.nanoseconds)
        for status in statuses:
            status.name = f"{name}: {status.name}"
            status.hardware_id = name
        self._diagnostics.publish(DiagnosticArray(header=Header(stamp=now.to_msg()), status=statuses))

    def _diagnose(self, now_ns: int) -> list[DiagnosticStatus]:
        tracking, loaded, options = self._tracking, self._loaded, self._options
        if tracking is None or loaded is None:
            text = self._engine_error or "the node is not configured"
            return [diagnostics.idle_status("engine", text, bool(self._engine_error))]
        running = diagnostics.engine_status(now_ns, self._events, loaded)
        if self._subscription is None:
            return [running, diagnostics.idle_status("input", "the node is inactive")]
        source = Source(self._topic, options.image_reliability, self.count_publishers(self._topic))
        return [
            diagnostics.input_status(now_ns, self._events, tracking.counts, source),
            running,
            diagnostics.latency_status(now_ns, self._events, options.latency_budget_ms),
            diagnostics.targets_status(now_ns, self._events),
        ]


def main() -> int:
    """Run the node until it is told to end."""
    return run(TrackerNode)


if __name__ == "__main__":
    sys.exit(main())
