"""CommonRoad scenarios written here, in both versions of the format: one lanelet, a car, a walker, a parked truck."""

from __future__ import annotations

from pathlib import Path

STEPS = 80


def _state(tag: str, n: int, x: float, y: float, yaw: float, v: float) -> str:
    return (
        f"<{tag}><position><point><x>{x}</x><y>{y}</y></point></position>"
        f"<orientation><exact>{yaw}</exact></orientation><time><exact>{n}</exact></time><velocity><exact>{v}</exact></velocity></{tag}>"
    )


def _obstacle(version: str, number: int, role: str, kind: str, shape: str, states: str) -> str:
    shape = f"<shape>{shape}</shape>"
    if version == "2018b":
        return f'<obstacle id="{number}"><role>{role}</role><type>{kind}</type>{shape}{states}</obstacle>'
    return f'<{role}Obstacle id="{number}"><type>{kind}</type>{shape}{states}</{role}Obstacle>'


def _moving(dt: float, speed: float, y: float) -> str:
    states = [_state("state", n, speed * dt * n, y, 0.0, speed) for n in range(1, STEPS)]
    return _state("initialState", 0, 0.0, y, 0.0, speed) + f"<trajectory>{''.join(states)}</trajectory>"


def text(version: str = "2020a", dt: float = 0.1, name: str = "SITE_Road-1_1_T-1", extra: str = "") -> str:
    bounds = "".join(
        f"<{side}>{''.join(f'<point><x>{x}</x><y>{y}</y></point>' for x in (-20, 50, 200))}</{side}>"
        for side, y in (("leftBound", 1.75), ("rightBound", -1.75))
    )
    car = "<rectangle><length>4.5</length><width>1.8</width></rectangle>"
    parts = [
        f'<lanelet id="1">{bounds}</lanelet>',
        _obstacle(version, 11, "dynamic", "car", car, _moving(dt, 9.0, 0.0)),
        _obstacle(version, 12, "dynamic", "pedestrian", "<circle><radius>0.4</radius></circle>", _moving(dt, 1.4, 6.0)),
        _obstacle(version, 13, "static", "parkedVehicle", car, _state("initialState", 0, 40.0, -5.0, 0.1, 0.0)),
        extra,
        '<planningProblem id="99"><initialState/><goalState/></planningProblem>',
    ]
    head = f'commonRoadVersion="{version}" benchmarkID="{name}" timeStepSize="{dt}" author="" affiliation="" source="" tags=""'
    return f"<?xml version='1.0' encoding='UTF-8'?><commonRoad {head} date=\"2020-01-01\">{''.join(parts)}</commonRoad>"


def write(path: Path, content: str | None = None, **kwargs) -> Path:
    path.write_text(content if content is not None else text(**kwargs))
    return path
