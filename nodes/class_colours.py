"""A colour for each class, the same wherever it is drawn."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""

# BGR; neighbours differ much, and all stand out from skin, wood and asphalt.
_FIRST_COLOURS: tuple[Colour, ...] = (
    (75, 200, 60),
    (255, 140, 30),
    (60, 90, 245),
    (30, 200, 255),
    (220, 90, 210),
    (225, 215, 60),
    (110, 60, 230),
    (40, 140, 250),
    (180, 120, 90),
    (130, 240, 190),
)
_GOLDEN_RATIO = 0.618033988749895
_SATURATIONS = (0.9, 0.5, 0.7)
_BRIGHTNESSES = (0.95, 0.75)


def class_colour(class_id: int) -> Colour:
    """Give a class its colour, BGR, the same in every run."""
    if 0 <= class_id < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[class_id]
    red, green, blue = colorsys.hsv_to_rgb(
        class_id * _GOLDEN_RATIO % 1.0,
        _SATURATIONS[class_id % len(_SATURATIONS)],
        _BRIGHTNESSES[class_id % len(_BRIGHTNESSES)],
    )
    return round(blue * 255), round(green * 255), round(red * 255)
