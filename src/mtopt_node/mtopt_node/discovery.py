"""Who is at the other end of a topic."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.topic_endpoint_info import TopicEndpointInfo

UNNAMED = '_NODE_NAME_UNKNOWN_'
"""What rmw calls the node of an endpoint it has found before the node itself."""


def node_names(endpoints: Iterable[TopicEndpointInfo]) -> set[str]:
    """Return the full names of the nodes behind a topic's publishers or subscriptions, as far as they are known yet."""
    known = [end for end in endpoints if end.node_name != UNNAMED]
    return {f'{end.node_namespace.rstrip("/")}/{end.node_name}' for end in known}
