"""Colours and marker shapes of classes: data, in one place, so that a class looks the same in every figure and map.

The first ten are Paul Tol's "muted" scheme with a darker grey, which stays readable for colour-blind people
(https://personal.sfsu.edu/~tol, Technical Note SRON/EPS/TN/09-002, 2021); then come colours of his other schemes.
No palette distinguishes more than about ten classes by colour alone, so every further ten classes change the marker's
shape as well.
"""

from __future__ import annotations

from collections.abc import Sequence

COLOURS = (
    "#332288",  # indigo
    "#117733",  # green
    "#ddaa33",  # ochre
    "#cc6677",  # rose
    "#88ccee",  # cyan
    "#882255",  # wine
    "#44aa99",  # teal
    "#999933",  # olive
    "#aa4499",  # purple
    "#777777",  # grey
    "#ee7733",  # orange
    "#0077bb",  # blue
    "#bb1122",  # red
    "#6699cc",  # pale blue
    "#225522",  # dark green
    "#ee99aa",  # pale red
    "#004488",  # dark blue
    "#997700",  # dark yellow
    "#ee3377",  # magenta
    "#663333",  # brown
    "#44bb99",  # mint
    "#bbcc33",  # pear
    "#9970ab",  # lilac
    "#222222",  # near black
)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
"""Plotly's names of marker shapes; the next one with every ten classes."""

NATURAL = {
    "annualcrop": "#ddaa33",
    "forest": "#117733",
    "herbaceousvegetation": "#999933",
    "highway": "#777777",
    "industrial": "#cc6677",
    "pasture": "#44aa99",
    "permanentcrop": "#aa4499",
    "residential": "#882255",
    "river": "#88ccee",
    "sealake": "#332288",
    "barren": "#997700",
    "cropland": "#ddaa33",
    "urban": "#882255",
    "water": "#332288",
    "wetland": "#44aa99",
}
"""Colours of land-use classes that a map reader expects, by the name in lower case without spaces."""


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour (`#rrggbb`) for each class: the expected one for a known land use, else the next that is free.

    Up to 24 classes all colours differ; beyond that they repeat, with another symbol from `class_symbols`.
    """
    colours: dict[str, str] = {}
    for name in classes:
        natural = NATURAL.get(_key(name))
        if natural and natural not in colours.values():
            colours[name] = natural
    taken = set(colours.values())
    free = [colour for colour in COLOURS if colour not in taken]
    others = [name for name in classes if name not in colours]
    colours |= {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: colours[name] for name in classes}


def class_symbols(classes: Sequence[str]) -> dict[str, str]:
    """A marker shape (Plotly's name) for each class: circles for the first ten, squares for the next, and so on."""
    return {name: SYMBOLS[i // 10 % len(SYMBOLS)] for i, name in enumerate(classes)}


def _key(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
