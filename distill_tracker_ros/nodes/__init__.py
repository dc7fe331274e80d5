"""The ROS face. Thin: what can be said without rclpy stands in modules of its own."""
