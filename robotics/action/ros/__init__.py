"""ROS 2 as it is installed, through rclpy: only where it is sourced."""
