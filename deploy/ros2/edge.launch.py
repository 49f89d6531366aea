"""`ros2 launch edge.launch.py`: the actions of a policy and of the driving planner as a node of this ROS 2.

Build `edge_msgs` first: link robotics/action/interfaces/edge_msgs into a workspace's src, `colcon build --packages-select
edge_msgs`, source its install/setup.bash; and install edge-dvla in the Python that ROS 2 uses. Without a ROS 2 at all, `edge act
serve --transport zenoh` speaks to nodes whose middleware is rmw_zenoh_cpp.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    names = {"policy": "edge/zoo/nano-flow", "planner": "edge/zoo/nano-planner", "hz": "20", "execution": "guided"}
    told = {name: LaunchConfiguration(name) for name in names}
    serve = ["edge", "act", "serve", "--transport", "rclpy", "--model", told["policy"], told["planner"]]
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=value) for name, value in names.items()),
            ExecuteProcess(cmd=[*serve, "--hz", told["hz"], "--execution", told["execution"]], output="screen"),
        ]
    )
