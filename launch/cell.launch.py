"""The graph of `mtopt run` under `ros2 launch`: every node of a cell, for a real one without a simulator.

Drivers of arm, gripper and cameras are the cell's own: start them beside it.

    ros2 launch launch/cell.launch.py data:=/data cell_file:=/cell/cell.yaml
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from mtopt_bringup.graph import GraphOptions, graph


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=str(field.default), description=field.description)
        for name, field in GraphOptions.model_fields.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[Node]:
    given = {name: context.launch_configurations[name] for name in GraphOptions.model_fields}
    return [
        Node(
            package=spec.package,
            executable=spec.executable,
            name=spec.name,
            namespace=spec.namespace,
            parameters=[dict(spec.parameters)],
            remappings=list(spec.remappings.items()),
            prefix=f'nice -n {spec.niceness}' if spec.niceness else None,
            output='both',
        )
        for spec in graph(GraphOptions.model_validate(given))
    ]
