"""Names of the camera's topics."""

from __future__ import annotations

from rclpy.node import Node


def image_topic(node: Node, transport: str) -> str:
    """The full name of the topic with the images; `transport` is raw or compressed."""
    raw = node.resolve_topic_name("image")
    return raw if transport == "raw" else unless_remapped(node, "image/compressed", f"{raw}/compressed")


def unless_remapped(node: Node, topic: str, beside_image: str) -> str:
    """A remapping of `image` moves others as well, as with image_transport, unless they have their own."""
    own = node.resolve_topic_name(topic)
    return own if own != node.resolve_topic_name(topic, only_expand=True) else beside_image
