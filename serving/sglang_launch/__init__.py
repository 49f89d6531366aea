"""Starts an SGLang server with our plug-in: the command line of a profile, and a child process that is watched. No `sglang` here.

from serving.sglang_launch import Child, command
child = Child(command("cpu", "edge/zoo/nano-planner", port=30000), port=30000)
child.start(); child.wait()
"""

from serving.sglang_launch.child import Child, LaunchError
from serving.sglang_launch.command import command, printable
from serving.sglang_launch.profiles import Profile, profile, profiles

__all__ = ["Child", "LaunchError", "Profile", "command", "printable", "profile", "profiles"]
