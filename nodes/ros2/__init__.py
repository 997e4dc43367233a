"""Exchange messages with robots that speak ROS 2, where no ROS is installed."""
