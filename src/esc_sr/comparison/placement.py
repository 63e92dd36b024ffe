"""Place labels around bubbles so that nothing covers anything: plane geometry, in points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Distances from the bubble's edge that are tried, and from which on a line leads to it.
_GAPS = (1.5, 4.0, 8.0, 13.0, 19.0, 26.0, 34.0, 43.0, 53.0)
_LEADER_FROM = 6.0
_DIRECTIONS = 24
_SWEEPS = 10
# A bubble has few good places if the one of this rank is bad.
_FEW = 20
# Free space that a label needs, and that it likes to have from others.
_MARGIN, _COMFORT = 1.0, 5.0
# What is bad: a point of depth in a bubble, a point² on another label or beyond the frame, a line
# through something, a point of distance, a point² of comfort.
_IN_BUBBLE, _ON_LABEL, _OUTSIDE, _CROSSING = 30.0, 20.0, 50.0, 60.0
_DISTANCE, _CROWDED = 1.0, 0.05
# Not much farther from another bubble than from its own, a label may be read as the other's.
_MISLEADING, _CLEARLY = 14.0, 8.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Bubble:
    """A disc in points.

    Attributes:
        x: Of its centre.
        y: Of its centre.
        radius: May be 0.
    """

    x: float
    y: float
    radius: float

    def distance(self, point: Point) -> float:
        """Return the distance of a point from the edge, negative inside."""
        return math.hypot(point[0] - self.x, point[1] - self.y) - self.radius


@dataclass(frozen=True)
class Box:
    """An upright rectangle in points.

    Attributes:
        x: Of its lower left corner.
        y: Of its lower left corner.
        width: To the right.
        height: Upwards.
    """

    x: float
    y: float
    width: float
    height: float

    def nearest(self, x: float, y: float) -> Point:
        """Return the point of the rectangle that is nearest to another."""
        return (
            min(max(x, self.x), self.x + self.width),
            min(max(y, self.y), self.y + self.height),
        )

    def shared_area(self, other: Box) -> float:
        """Return the area that two rectangles share."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(width, 0.0) * max(height, 0.0)

    def grown(self, margin: float) -> Box:
        """Return the rectangle with a margin around it."""
        return Box(
            self.x - margin, self.y - margin, self.width + 2 * margin, self.height + 2 * margin
        )


@dataclass(frozen=True)
class Label:
    """Where a label goes.

    Attributes:
        box: What it fills.
        leader: Ends of a line from the bubble's edge to the label; None: it is near enough.
    """

    box: Box
    leader: tuple[Point, Point] | None


def place_labels(
    bubbles: Sequence[Bubble], sizes: Sequence[tuple[float, float]], frame: tuple[float, float]
) -> list[Label]:
    """Find a place for every label.

    Each bubble offers places all around it, near ones first. Starting from several orders, every
    label in turn takes the place that is best beside the others, until none moves; the best
    outcome counts. The same input always gives the same places.

    Args:
        bubbles: Where they are, the frame's lower left corner being the origin.
        sizes: Width and height of their labels.
        frame: Width and height of the frame.

    Returns:
        The labels, in order.
    """
    options = [
        [(label, _static_cost(label, i, bubbles, frame)) for label in _places(bubble, size)]
        for i, (bubble, size) in enumerate(zip(bubbles, sizes, strict=True))
    ]
    indices = range(len(bubbles))
    orders = [
        sorted(indices, key=lambda i: bubbles[i].x),
        sorted(indices, key=lambda i: -bubbles[i].x),
        sorted(indices, key=lambda i: bubbles[i].y),
        sorted(indices, key=lambda i: -bubbles[i].y),
        # Those with few good places first.
        sorted(indices, key=lambda i: -sorted(cost for _, cost in options[i])[_FEW]),
    ]
    outcomes = [_settle(options, order) for order in orders]
    return min(outcomes, key=lambda outcome: outcome[0])[1] if bubbles else []


def _settle(
    options: Sequence[Sequence[tuple[Label, float]]], order: Sequence[int]
) -> tuple[float, list[Label]]:
    """Let every label choose in turn until none moves; return the total cost and the labels."""
    chosen: dict[int, tuple[Label, float]] = {}
    for _ in range(_SWEEPS):
        before = dict(chosen)
        for i in order:
            others = [label for j, (label, _) in chosen.items() if j != i]
            chosen[i] = _best(options[i], others)
        if chosen == before:
            break
    total = sum(cost for _, cost in chosen.values())
    labels = [chosen[i][0] for i in range(len(options))]
    pairs = ((a, b) for i, a in enumerate(labels) for b in labels[:i])
    return total + sum(_pair_cost(a, b) for a, b in pairs), labels


def _best(options: Sequence[tuple[Label, float]], others: Sequence[Label]) -> tuple[Label, float]:
    best, lowest = options[0], math.inf
    for label, cost in options:
        total = cost
        for other in others:
            if total >= lowest:
                break
            total += _pair_cost(label, other)
        if total < lowest:
            best, lowest = (label, cost), total
    return best


def _places(bubble: Bubble, size: tuple[float, float]) -> Iterator[Label]:
    width, height = size
    for gap in _GAPS:
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            reach = bubble.radius + gap
            # The side or corner that looks at the bubble lies on the circle of that reach.
            x = bubble.x + across * reach - width * (1 - _eased(across)) / 2
            y = bubble.y + up * reach - height * (1 - _eased(up)) / 2
            box = Box(x, y, width, height)
            end = box.nearest(bubble.x, bubble.y)
            away = bubble.distance(end)
            leader = None
            if away >= _LEADER_FROM:
                start = bubble.radius / (bubble.radius + away)
                leader = (
                    (
                        bubble.x + (end[0] - bubble.x) * start,
                        bubble.y + (end[1] - bubble.y) * start,
                    ),
                    end,
                )
            yield Label(box, leader)


def _eased(value: float) -> float:
    """Stretch a cosine so that a label's corner, not its side, looks at the bubble soon."""
    return min(max(1.6 * value, -1.0), 1.0)


def _static_cost(
    label: Label, own: int, bubbles: Sequence[Bubble], frame: tuple[float, float]
) -> float:
    """Say how bad a place is whatever the other labels do."""
    box = label.box.grown(_MARGIN)
    inside = box.shared_area(Box(0.0, 0.0, *frame))
    cost = _OUTSIDE * (box.width * box.height - inside)
    distance = bubbles[own].distance(label.box.nearest(bubbles[own].x, bubbles[own].y))
    cost += _DISTANCE * max(distance, 0.0)
    for i, bubble in enumerate(bubbles):
        away = bubble.distance(label.box.nearest(bubble.x, bubble.y))
        cost += _IN_BUBBLE * max(_MARGIN - away, 0.0) + _CROSSING * (away < 0)
        if i != own:
            nearer = (max(distance, 0.0) + _CLEARLY - away) / _CLEARLY
            cost += _MISLEADING * min(max(nearer, 0.0), 1.0)
            if label.leader is not None and _hits_bubble(label.leader, bubble):
                cost += _CROSSING
    return cost


def _pair_cost(label: Label, other: Label) -> float:
    crowded = label.box.grown(_COMFORT).shared_area(other.box)
    if crowded == 0 and label.leader is other.leader is None:
        return 0.0
    cost = _CROWDED * crowded + _ON_LABEL * label.box.grown(_MARGIN).shared_area(other.box)
    for one, two in ((label, other), (other, label)):
        if one.leader is not None and _hits_box(one.leader, two.box):
            cost += _CROSSING
    if label.leader is not None and other.leader is not None:
        cost += _CROSSING * _cross(label.leader, other.leader)
    return cost


def _hits_bubble(line: tuple[Point, Point], bubble: Bubble) -> bool:
    (x, y), (to_x, to_y) = line
    length = math.hypot(to_x - x, to_y - y)
    along = ((bubble.x - x) * (to_x - x) + (bubble.y - y) * (to_y - y)) / (length or 1.0) ** 2
    along = min(max(along, 0.0), 1.0)
    return bubble.distance((x + along * (to_x - x), y + along * (to_y - y))) < 0


def _hits_box(line: tuple[Point, Point], box: Box) -> bool:
    corners = [
        (box.x, box.y),
        (box.x + box.width, box.y),
        (box.x + box.width, box.y + box.height),
        (box.x, box.y + box.height),
    ]
    sides = zip(corners, corners[1:] + corners[:1], strict=True)
    return any(_cross(line, side) for side in sides)


def _cross(line: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    def turn(a: Point, b: Point, c: Point) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    (a, b), (c, d) = line, other
    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
