import itertools
import math
import random

from esc_sr.comparison.placement import Box, Bubble, place_labels

FRAME = (200.0, 160.0)


def overlap(labels):
    return sum(a.box.shared_area(b.box) for a, b in itertools.combinations(labels, 2))


def hidden(labels, bubbles):
    """Pairs of a label and a bubble that touch."""
    return [
        (label, bubble)
        for label in labels
        for bubble in bubbles
        if bubble.distance(label.box.nearest(bubble.x, bubble.y)) < 0
    ]


def test_a_single_label_stands_beside_its_bubble():
    (label,) = place_labels([Bubble(100, 80, 10)], [(30, 8)], FRAME)
    assert label.leader is None
    gap = Bubble(100, 80, 10).distance(label.box.nearest(100, 80))
    assert 0.9 < gap < 3


def test_labels_of_bubbles_at_corners_stay_in_the_frame():
    corners = [Bubble(x, y, 5) for x in (6, 194) for y in (6, 154)]
    for label in place_labels(corners, [(60, 8)] * 4, FRAME):
        assert label.box.x >= 0
        assert label.box.y >= 0
        assert label.box.x + label.box.width <= FRAME[0]
        assert label.box.y + label.box.height <= FRAME[1]


def test_random_bubbles_have_readable_labels():
    chance = random.Random(0)
    for _ in range(5):
        bubbles = [
            Bubble(chance.uniform(15, 185), chance.uniform(15, 145), chance.uniform(2, 13))
            for _ in range(12)
        ]
        sizes = [(chance.uniform(20, 50), 8.0) for _ in bubbles]
        labels = place_labels(bubbles, sizes, FRAME)
        assert overlap(labels) == 0
        assert not hidden(labels, bubbles)
        assert [(label.box.width, label.box.height) for label in labels] == sizes


def test_where_it_is_crowded_a_line_leads_from_the_edge_to_the_label():
    crowd = [Bubble(100 + 3 * math.cos(i), 80 + 3 * math.sin(i), 6) for i in range(10)]
    labels = place_labels(crowd, [(40, 8)] * 10, FRAME)
    assert overlap(labels) == 0
    leaders = [(bubble, label) for bubble, label in zip(crowd, labels, strict=True) if label.leader]
    assert leaders
    for bubble, label in leaders:
        start, end = label.leader
        assert abs(bubble.distance(start)) < 1e-9
        assert label.box.nearest(*end) == end


def test_the_same_input_gives_the_same_places_and_nothing_gives_none():
    bubbles = [Bubble(50, 50, 5), Bubble(60, 50, 5)]
    first = place_labels(bubbles, [(30, 8)] * 2, FRAME)
    assert first == place_labels(bubbles, [(30, 8)] * 2, FRAME)
    assert place_labels([], [], FRAME) == []


def test_shared_area():
    assert Box(0, 0, 4, 2).shared_area(Box(3, 1, 4, 2)) == 1
    assert Box(0, 0, 4, 2).shared_area(Box(5, 0, 4, 2)) == 0
    assert Box(1, 1, 2, 2).grown(1) == Box(0, 0, 4, 4)
