"""The tracker as a managed (lifecycle) node: images and targets in, detections out."""

from __future__ import annotations

import os
import sys
import time
import traceback
from concurrent.futures import Future
from functools import partial
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

from ..core.session import NotNowError, SavedTarget, TargetError
from ..core.timeline import LATE_NS
from ..messages import BoxError, box_from_msg, stamp_ns
from ..runtime.load import Loaded, fallback, load
from ..runtime.manifest import BundleError
from ..runtime.tensorrt.builder import BuildCancelled
from . import diagnostics, state_file
from .bearing import Bearing
from .changes import changes
from .diagnostics import EngineUse, Events, Finding, Source, Stored
from .interfaces import ClearTarget, Detection2D, GetViews, SetTarget
from .lifecycle import answer_impossible_transitions, logged
from .logs import Log
from .options import FIXED_AT_START, FIXED_WHILE_ACTIVE, FIXED_WHILE_CONFIGURED, Options
from .parameters import Parameters
from .resources import resources
from .results import QOS, Results, view_to_msg
from .running import NodeError, ending, run
from .state_file import Keeper, StateFileError
from .supervisor import OutOfEngines, Supervisor
from .topics import image_topic, unless_remapped
from .tracking import Arrival, Counts, Followed, Outcome, Tracking, answer
from .watchdog import sign_of_life

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

LOG_PERIOD_S = 5.0  # of what could be said with every image
DIAGNOSTICS_PERIOD_S = 1.0
WATCH_PERIOD_S = 0.25
# Calls that wait for their turn; the middleware drops those above it without an answer.
SERVICE_QOS = QoSProfile(depth=4096)
_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}


class TrackerNode(LifecycleNode):
    """Loads the model in *configure*, takes images in *activate*, keeps its targets in *deactivate*.

    Services and /diagnostics are there in every state, so that a caller gets a sentence and not silence.
    """

    def __init__(self) -> None:
        super().__init__("tracker")
        self._settings = Parameters(self, Options(), self._refusal)
        self._supervisor: Supervisor | None = None  # from configure to cleanup
        self._keeper: Keeper | None = None  # as well, if targets are to be restored
        self.left_behind = False  # a thread that does not end
        self._failed = False  # the node ends because it cannot go on
        self._engine_error = ""
        self._subscription: Subscription | None = None  # while active
        self._topic = ""  # of the images
        self._events = Events()
        self._log = Log(self.get_logger())
        self._followed: tuple[Followed, ...] = ()  # what the log knows of the targets
        self._header, self._size = Header(), (0, 0)  # of the newest processed image

        self._results = Results(self)
        self._bearing = Bearing(self, self._log, lambda: self._options.bearing)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QOS)

        # A service waits for the tracker: in a group of its own, it keeps nothing else waiting.
        services = MutuallyExclusiveCallbackGroup()
        for kind, name, callback in (
            (SetTarget, "~/set_target", self._on_set_target),
            (ClearTarget, "~/clear_target", self._on_clear_target),
            (GetViews, "~/get_views", self._on_get_views),
        ):
            self.create_service(kind, name, callback, qos_profile=SERVICE_QOS, callback_group=services)
        self.create_subscription(Detection2D, "~/target", self._on_target, QOS)

        # Not by the node's clock: it may stand still, and that is worth a diagnosis.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, callback in (
            (DIAGNOSTICS_PERIOD_S, self._publish_diagnostics),
            (WATCH_PERIOD_S, self._watch),
        ):
            group = MutuallyExclusiveCallbackGroup()
            self.create_timer(period_s, callback, callback_group=group, clock=steady)
        if self._options.autostart:
            self._starter = self.create_timer(0.0, self._autostart, clock=steady)
        answer_impossible_transitions(self)
        # Two sources of /clock differ a little.
        step = Duration(nanoseconds=-LATE_NS)
        back = JumpThreshold(min_forward=None, min_backward=step, on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(back, post_callback=self._on_time_jump)

    # Lifecycle.

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        options = self._options
        self._engine_error = ""
        began = time.perf_counter()
        try:
            loaded = load(
                options.model,
                options.backend,
                options.onnx,
                options.tensorrt,
                say=self.get_logger().info,
                cancelled=ending,  # a build takes minutes
            )
        except (BundleError, ValueError, ImportError, BuildCancelled) as error:
            self._engine_error = str(error)
            self._log.error("configure_failed", f"configure: {error}")
            return TransitionCallbackReturn.FAILURE
        name, took = loaded.engine.spec.name, time.perf_counter() - began
        for note in loaded.notes:
            self.get_logger().info(f"not faster, because: {note}")
        how = f"{loaded.backend} ({loaded.device})"
        self._log.info("model_loaded", f"model {name!r} loaded by {how} in {took:.1f} s", model=name, s=took)
        self._supervisor = self._supervise(loaded)
        return super().on_configure(state)

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._tracking is not None
        self._tracking.counts = Counts()
        self._events = Events(began_ns=self._now_ns(), began_with=resources())
        result = super().on_activate(state)
        try:
            self._subscribe()
        except RuntimeError as error:  # of the middleware
            hint = "under SROS2 the node's enclave needs the right to it"
            self._log.error("no_subscription", f"activate: no subscription to {self._topic}: {error}; {hint}")
            self._unsubscribe()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
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
        self._followed = ()
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            self.left_behind |= not supervisor.stop()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop(forget=not self._failed)

    # The engine, and what is done when it does not work.

    @property
    def _tracking(self) -> Tracking | None:
        return self._supervisor.tracking if self._supervisor else None

    def _supervise(self, loaded: Loaded) -> Supervisor:
        """Tracking with this engine; if an earlier process was killed, from its targets on."""
        options, model = self._options, loaded.engine.spec.name
        saved: tuple[SavedTarget, ...] = ()
        if options.restore.targets:
            path = state_file.path_of(options.restore, self.get_fully_qualified_name())
            try:
                saved = state_file.load(path, model)
            except StateFileError as error:
                self._log.warning("not_restored", f"no target is restored: {error}")
            self._keeper = Keeper(path, model)
        if saved:
            self._log.warning("restored", f"the node was killed: it looks for its {len(saved)} target(s)")
        return Supervisor(
            loaded,
            partial(fallback, onnx=options.onnx),
            lambda: self._options,
            self._report,
            self._on_failure,
            self._keeper.keep if self._keeper else None,
            saved,
            options.restore.max_age_s,
        )

    def _watch(self) -> None:
        sign_of_life(self._options.watchdog.frozen_s)
        supervisor = self._supervisor
        if supervisor is not None:
            try:
                supervisor.watch()
            except OutOfEngines as error:
                self._failed = True
                raise NodeError(f"{error}: the process ends, for launch to start it again") from error

    def _subscribe(self) -> None:
        options = self._options
        is_raw = options.image_transport == "raw"
        topic = image_topic(self, options.image_transport)
        reliability = ReliabilityPolicy[options.image_reliability.upper()]
        qos = QoSProfile(depth=1, reliability=reliability)
        self._topic = topic
        # First, so that it is there when the images are.
        beside = topic.removesuffix("/compressed").rpartition("/")[0]
        self._bearing.listen(unless_remapped(self, "camera_info", f"{beside}/camera_info"))
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
        self._bearing.stop()
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
            if self._tracking is not None:
                self._tracking.pause()

    # Images in, results out. `_report` and `_on_failure` run in the tracking thread.

    def _on_image(self, msg: Image | CompressedImage) -> None:
        tracking = self._tracking
        if tracking is None:
            return
        now_ns, stamp = self._now_ns(), stamp_ns(msg.header.stamp)
        self._events.arrivals.add(now_ns)
        if not stamp:
            self._events.unstamped.add(now_ns)
            self._log.warning("no_stamp", "images have no stamp: the time of their arrival is used")
        counts = tracking.counts
        dropped = counts.dropped
        # Not by the node's clock: simulated time may stand still from image to image.
        tracking.arrive(Arrival(msg, stamp or time.time_ns()))
        if counts.dropped > dropped:
            self._events.drops.add(now_ns)

    def _report(self, outcome: Outcome) -> None:
        began, supervisor = time.perf_counter_ns(), self._supervisor
        if supervisor is None:  # it is being stopped
            return
        tracking, loaded = supervisor.tracking, supervisor.loaded
        for change in changes(self._followed, outcome.targets):
            change.tell(self._log)
        self._followed = outcome.targets
        latency_ms: float | None = None
        if outcome.frame is None:
            self._events.rejection = tracking.message
            self._events.rejections.add(self._now_ns())
            self._log.warning("image_rejected", f"image rejected: {tracking.message}")
        else:
            self._header = outcome.arrival.msg.header
            self._size = (outcome.frame.width, outcome.frame.height)
            self._results.publish_detections(self._header, outcome.targets)
            self._bearing.publish(self._header, outcome.targets, self._size)
            latency_ms = self._latency_ms(self._header)
        self._results.publish_status(
            self._header,
            outcome.targets,
            tracking.counts,
            size=self._size,
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
        events.processing_ms.add(now_ns, spent_ns / 1e6)
        events.engine_ms.add(now_ns, outcome.engine_ns / 1e6)
        events.node_ms.add(now_ns, (spent_ns - outcome.engine_ns) / 1e6)
        if latency_ms is not None:
            events.latency_ms.add(now_ns, latency_ms)

    def _latency_ms(self, header: Header) -> float | None:
        now_ns, stamp = self._now_ns(), stamp_ns(header.stamp)
        return (now_ns - stamp) / 1e6 if now_ns and stamp else None

    def _on_failure(self, text: str, error: Exception | None) -> None:
        if not self.context.ok():  # publishing fails while the process ends
            return
        self._events.failure = text
        self._events.failures.add(self._now_ns())
        self._log.error("failure", text)
        if error is not None:
            trace = "".join(traceback.format_exception(error))
            self.get_logger().error(trace, throttle_duration_sec=LOG_PERIOD_S)

    # Targets.

    def _on_set_target(self, request: Any, response: Any) -> Any:
        try:
            future = self._set_target(request.box, stamp_ns(request.stamp), request.id, request.label)
            response.id = answer(future, self._options.service_timeout_s)
            response.success, response.message = True, f"target {response.id!r} is followed"
        except (TargetError, BoxError) as error:
            _refuse(response, error)
        self._log_answer("set_target", response)
        return response

    def _on_clear_target(self, request: Any, response: Any) -> Any:
        try:
            cleared = answer(self._active().clear_target(request.id), self._options.service_timeout_s)
            response.success, response.message = True, f"{cleared} target(s) cleared"
        except TargetError as error:
            _refuse(response, error)
        self._log_answer("clear_target", response)
        return response

    def _on_get_views(self, request: Any, response: Any) -> Any:
        try:
            future = self._active().remembered(request.id)
            response.id, remembered = answer(future, self._options.service_timeout_s)
            response.views = [view_to_msg(each) for each in remembered]
            response.success = True
        except TargetError as error:
            _refuse(response, error)
        self._log_answer("get_views", response)
        return response

    def _log_answer(self, service: str, response: Any) -> None:
        """What was done is logged with the targets' states; what was not done is told here."""
        if response.success:
            self._log.debug(service, f"{service}: {response.message}")
        else:
            self._log.warning(f"{service}_refused", f"{service}: {response.message}")

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
            self._log.debug("target_topic", f"~/target: target {answer(future, 0)!r} is followed")
        except TargetError as error:
            self._log_refusal(error)

    def _log_refusal(self, error: Exception) -> None:
        self._log.warning("target_topic_refused", f"~/target: {error}")

    def _active(self) -> Tracking:
        """The tracking, or a NotNowError that says how to start it."""
        name = self.get_fully_qualified_name()
        if self._tracking is None:
            how = f"'ros2 lifecycle set {name} configure', then activate"
            raise NotNowError(f"the node is not configured: {how}")
        if self._subscription is None:
            raise NotNowError(f"the node is inactive: 'ros2 lifecycle set {name} activate'")
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
            by_s = jump.delta.nanoseconds / 1e9
            self._tracking.restart(f"the clock jumped by {by_s:.3f} s" if by_s else "the clock was changed")

    def _refusal(self, parameter: str) -> str:
        """Why a parameter cannot change now."""
        name = self.get_fully_qualified_name()
        if parameter.startswith(FIXED_AT_START):
            return f"{parameter} is fixed when the node starts: start it again with '-p {parameter}:=...'"
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
        self._log.error("other_qos", self._events.incompatible_qos)

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
        supervisor, events, config = self._supervisor, self._events, self._options.diagnostics
        not_kept = self._keeper.problem if self._keeper else ""
        found = [diagnostics.examine_node(resources(), events, config, self._namesake(), not_kept)]
        otherwise = "the node is not configured"
        if supervisor is not None:
            otherwise = "the node is inactive"
            use = EngineUse(time.monotonic() - supervisor.since_s, supervisor.trouble, supervisor.replaced)
            found.append(diagnostics.examine_engine(now_ns, events, supervisor.loaded, use))
            if self._subscription is not None:
                found += self._examine_results(now_ns, supervisor.tracking.counts)
        elif self._engine_error:
            found.append(diagnostics.failed("engine", self._engine_error))
        return diagnostics.statuses(now_ns, found, events, config, otherwise)

    def _examine_results(self, now_ns: int, counts: Counts) -> list[Finding]:
        events, options, topic = self._events, self._options, self._topic
        config = options.diagnostics
        own_type = _TYPES[options.image_transport]
        types = [each.topic_type for each in self.get_publishers_info_by_topic(topic)]
        others = tuple(sorted({each for each in types if each != own_type}))
        reliability, bearing = options.image_reliability, self._bearing.state
        source = Source(topic, reliability, types.count(own_type), others, bearing)
        targets = events.processed.targets if events.processed else ()
        return [
            diagnostics.examine_input(now_ns, events, counts, source, config),
            diagnostics.examine_latency(now_ns, events, options.latency_budget_ms, config),
            diagnostics.examine_targets(events),
            diagnostics.examine_store({f.target.id: Stored(f.views, f.refreshed_s) for f in targets}),
        ]

    def _namesake(self) -> str:
        """What is wrong if another node has the name of this one; empty if none has."""
        own = (self.get_name(), self.get_namespace())
        if (count := self.get_node_names_and_namespaces().count(own)) < 2:
            return ""
        return (
            f"{count} nodes are called {self.get_fully_qualified_name()}, and any of them answers a service: "
            "give each a name or a namespace of its own (one that was killed counts for some seconds more)"
        )


def _refuse(response: Any, error: TargetError | BoxError) -> None:
    response.success, response.message = False, str(error)
    response.retry = isinstance(error, NotNowError)


def main() -> int:
    """Run the node until it is told to end."""
    nodes: list[TrackerNode] = []

    def make() -> TrackerNode:
        nodes.append(TrackerNode())
        return nodes[-1]

    code = run(make)
    if any(node.left_behind for node in nodes):
        os._exit(code)  # the orderly end of Python and its libraries would wait for a call that never returns
    return code


if __name__ == "__main__":
    sys.exit(main())
