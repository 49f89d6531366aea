"""A folder such as a ROS 2 installation has: definitions of messages, package files, type descriptions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from robotics.action.interfaces import FOLDER, rihs01, types

DEPENDS = {
    "builtin_interfaces": (),
    "unique_identifier_msgs": (),
    "std_msgs": ("builtin_interfaces",),
    "std_srvs": (),
    "service_msgs": ("builtin_interfaces",),
    "action_msgs": ("builtin_interfaces", "unique_identifier_msgs"),
    "geometry_msgs": ("std_msgs",),
    "nav_msgs": ("geometry_msgs",),
    "sensor_msgs": ("geometry_msgs",),
    "trajectory_msgs": ("geometry_msgs",),
    "control_msgs": ("trajectory_msgs", "action_msgs"),
    "edge_msgs": ("nav_msgs", "action_msgs"),
}


def write(root: Path) -> Path:
    """Returns the prefix, for AMENT_PREFIX_PATH."""
    share = root / "share"
    for folder in FOLDER.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            shutil.copytree(folder, share / folder.name)
    for name in types().fielddefs:
        package, kind, last = name.split("/")
        if package in DEPENDS and kind == "msg" and not (FOLDER / package / kind / f"{last}.msg").exists():
            (share / package / "msg").mkdir(parents=True, exist_ok=True)
            text = types().generate_msgdef(name, ros_version=2)[0].split("=" * 80)[0]
            (share / package / "msg" / f"{last}.msg").write_text(text, encoding="utf-8")
    for package in share.iterdir():
        depends = "".join(f"<depend>{d}</depend>" for d in DEPENDS[package.name])
        (package / "package.xml").write_text(
            f'<package format="3"><name>{package.name}</name>{depends}</package>', encoding="utf-8"
        )
        for file in [*package.rglob("*.msg"), *package.rglob("*.srv"), *package.rglob("*.action")]:
            _describe(file, f"{package.name}/{file.parent.name}/{file.stem}")
    return root


def _describe(file: Path, name: str) -> None:
    parts = [n for n in types().fielddefs if n == name or n.startswith(f"{name}_")]
    told = {
        "type_description_msg": {"type_description": {"type_name": name, "fields": []}, "referenced_type_descriptions": []},
        "type_hashes": [{"type_name": n, "hash_string": rihs01(n)} for n in parts],
    }
    file.with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")
