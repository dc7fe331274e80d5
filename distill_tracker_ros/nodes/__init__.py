"""The ROS face. Thin: what can be said without rclpy stands in modules of its own."""

from ..allocator import use_one_arena

use_one_arena()  # here, as importing rclpy begins threads
