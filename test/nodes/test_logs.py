"""Log lines: a sentence and fields that nobody can forge, at a limited rate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_tracker_ros.nodes.logs import (
    LONGEST_SENTENCE,
    LONGEST_VALUE,
    MOST_KEYS,
    Limiter,
    Log,
    line,
    parse,
    plain,
)

SECOND = 1_000_000_000
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


class TestLine:
    def test_people_first(self) -> None:
        text = line("target_lost", "target 'a' is LOST", id="a", confidence=0.08, unseen_s=1.03, frames=31)
        assert text == (
            "target 'a' is LOST  [event=target_lost id=a confidence=0.080 unseen_s=1.030 frames=31]"
        )
        assert parse(text) == {
            "event": "target_lost",
            "id": "a",
            "confidence": "0.080",
            "unseen_s": "1.030",
            "frames": "31",
        }

    @pytest.mark.parametrize(
        "id",
        [
            "",
            "two words",
            'a "quoted" one',
            "back\\slash",
            "a=b event=target_found",
            "x]  [event=target_found id=y",
            "new\nline",
            "\r\x1b[2K\x1b[31mred\x1b[0m\x00\x7f",
            "\u2028\u202e\u200b",  # line separator, right to left, no width
            "Fußgänger 歩行者",
            "\ud800",
        ],
    )
    def test_hostile_values(self, id: str) -> None:
        text = line("target_set", f"target {id} is followed", id=id, label="car")
        assert parse(text) == {"event": "target_set", "id": id, "label": "car"}
        assert text.isprintable() and text.count("[") == text.count("]") == 1
        assert text.index("[") == text.index("[event=target_set ")

    @settings(deadline=None)
    @given(ANY_TEXT, ANY_TEXT, st.floats() | st.integers() | st.booleans())
    def test_any_text(self, sentence: str, value: str, number: float) -> None:
        text = line("some_event", sentence, text=value, number=number)
        assert text.isprintable() and text.count("[") == text.count("]") == 1
        found = parse(text)
        assert list(found) == ["event", "text", "number"] and found["event"] == "some_event"
        whole = value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 3] + "..."
        assert found["text"] == whole
        assert len(text) < LONGEST_SENTENCE + 12 * LONGEST_VALUE + 400

    def test_lists_in_a_sentence_stay_readable(self) -> None:
        assert line("x", "tracked are ['1', '2']").startswith("tracked are ('1', '2')  [event=x]")

    @settings(deadline=None)
    @given(ANY_TEXT)
    def test_parse_takes_anything(self, text: str) -> None:
        parse(text)
        parse(f"[{text}]")

    def test_what_is_no_such_line_has_no_fields(self) -> None:
        for text in ("", "just a sentence", "a list [1, 2] in the middle", r'[a="\q"]', '[a="\n"]'):
            assert parse(text) == {}

    def test_what_a_ros_logger_puts_before_it_does_no_harm(self) -> None:
        assert parse(f"[INFO] [1700000000.5] [tracker]: {line('e', 'said', n=1)}\n") == {
            "event": "e",
            "n": "1",
        }

    def test_plain(self) -> None:
        assert plain("a\nb\x1b[0m") == "a\\nb\\x1b[0m"
        assert plain("x" * 41, 40) == "x" * 37 + "..." and plain("x" * 40, 40) == "x" * 40
        assert len(plain("\n" * 40, 40)) == 40


class TestLimiter:
    def test_one_line_a_period_and_the_others_are_counted(self) -> None:
        limiter = Limiter(5.0)
        admitted = [limiter.admit(s * SECOND, "lost", "a") for s in range(12)]
        assert admitted == [0, None, None, None, None, 4, None, None, None, None, 4, None]

    def test_events_and_targets_have_each_their_own(self) -> None:
        limiter = Limiter(5.0)
        pairs = [("lost", "a"), ("lost", "b"), ("found", "a"), ("lost", "")]
        assert [limiter.admit(0, *pair) for pair in pairs] == [0] * 4
        assert [limiter.admit(1, *pair) for pair in pairs] == [None] * 4

    def test_a_clock_that_goes_back_lets_through(self) -> None:
        limiter = Limiter(5.0)
        assert [limiter.admit(ns, "lost") for ns in (100 * SECOND, 101 * SECOND, SECOND)] == [0, None, 1]

    def test_a_flood_of_names_is_bounded_and_counted(self) -> None:
        limiter, sent, admitted, left_out = Limiter(5.0), 20_000, 0, 0
        for i in range(sent):  # for 20 s
            found = limiter.admit(i * SECOND // 1000, "refused", f"name {i}")
            if found is not None:
                admitted, left_out = admitted + 1, left_out + found
        assert admitted <= 4 * (MOST_KEYS + 1) and len(limiter._told) <= MOST_KEYS + 1
        last = limiter.admit(1000 * SECOND, "refused", "at last")
        assert last is not None and admitted + left_out + last == sent

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 2 * SECOND), st.sampled_from("ab"), st.integers(0, 60))),
        st.floats(0.1, 10.0),
    )
    def test_any_order(self, calls: list[tuple[int, str, int]], period_s: float) -> None:
        """No pair is told twice in a period, and what is left out is told, or not yet."""
        limiter, now_ns, last, said = Limiter(period_s), 0, {}, 0
        for gap_ns, event, target in calls:
            now_ns += gap_ns
            left_out = limiter.admit(now_ns, event, str(target))
            if left_out is not None:
                assert now_ns - last.get((event, target), -SECOND * 1000) >= round(period_s * 1e9)
                last[event, target] = now_ns
                said += 1 + left_out
        waiting = sum(told.left_out for told in limiter._told.values()) + sum(limiter._forgotten.values())
        assert said + waiting == len(calls)


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def debug(self, message: str) -> None:
        self.told.append(("debug", message))

    def info(self, message: str) -> None:
        self.told.append(("info", message))

    def warning(self, message: str) -> None:
        self.told.append(("warning", message))

    def error(self, message: str) -> None:
        self.told.append(("error", message))


class TestLog:
    def test_what_was_left_out_is_told_the_next_time(self) -> None:
        lines, now_ns = Lines(), 0
        log = Log(lines, Limiter(5.0), lambda: now_ns)
        for i in range(13):
            log.warning("image_rejected", f"image {i} rejected")
        now_ns = 6 * SECOND
        log.warning("image_rejected", "image 13 rejected")
        assert lines.told == [
            ("warning", "image 0 rejected  [event=image_rejected]"),
            (
                "warning",
                "image 13 rejected (12 more like this were left out)  [event=image_rejected left_out=12]",
            ),
        ]

    def test_the_number_left_out_survives_a_long_sentence(self) -> None:
        lines, now_ns = Lines(), 0
        log = Log(lines, Limiter(5.0), lambda: now_ns)
        for _ in range(2):
            log.error("e", "long " * 1000)
        now_ns = 6 * SECOND
        log.error("e", "long " * 1000)
        assert "(1 more like this were left out)  [event=e left_out=1]" in lines.told[1][1]

    def test_a_ros_logger_takes_every_severity_from_one_place(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        rclpy_logging = pytest.importorskip("rclpy.logging", reason="rclpy is missing: it comes with ROS 2")
        log = Log(rclpy_logging.get_logger("test_logs"))
        for _ in range(2):
            for severity in ("info", "warning", "error", "debug"):
                getattr(log, severity)(f"a_{severity}", "said", id="x\ny")
        written = "".join(capfd.readouterr()).splitlines()
        assert [parse(text)["event"] for text in written if "test_logs" in text] == [
            "a_info",
            "a_warning",
            "a_error",
        ]
