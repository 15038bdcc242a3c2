"""The objects that Nano knows: name, plural, emoji and, where there is one, its colour."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One drawable emoji. Several kinds may share a name and differ in colour."""

    name: str
    plural: str
    emoji: str
    colour: str | None = None


_SINGLE = [
    ("giraffe", "giraffes", "🦒", None), ("apple", "apples", "🍎", "red"),
    ("car", "cars", "🚗", "red"), ("dog", "dogs", "🐶", None),
    ("cat", "cats", "🐱", None), ("tree", "trees", "🌳", "green"),
    ("sun", "suns", "🌞", "yellow"), ("moon", "moons", "🌙", "yellow"),
    ("star", "stars", "⭐", "yellow"), ("house", "houses", "🏠", None),
    ("fish", "fish", "🐟", "blue"), ("bird", "birds", "🐦", None),
    ("frog", "frogs", "🐸", "green"), ("banana", "bananas", "🍌", "yellow"),
    ("grapes", "grapes", "🍇", "purple"), ("pizza", "pizzas", "🍕", None),
    ("cake", "cakes", "🎂", None), ("ball", "balls", "⚽", None),
    ("key", "keys", "🔑", None), ("clock", "clocks", "🕐", None),
    ("phone", "phones", "📱", None), ("rocket", "rockets", "🚀", None),
    ("plane", "planes", "✈", None), ("bus", "buses", "🚌", None),
    ("bike", "bikes", "🚲", None), ("boat", "boats", "⛵", None),
    ("flower", "flowers", "🌻", None), ("mushroom", "mushrooms", "🍄", None),
    ("umbrella", "umbrellas", "☂", None), ("crown", "crowns", "👑", None),
    ("elephant", "elephants", "🐘", None), ("lion", "lions", "🦁", None),
    ("penguin", "penguins", "🐧", None), ("turtle", "turtles", "🐢", "green"),
    ("butterfly", "butterflies", "🦋", None), ("pig", "pigs", "🐷", "pink"),
    ("lemon", "lemons", "🍋", "yellow"), ("carrot", "carrots", "🥕", "orange"),
    ("strawberry", "strawberries", "🍓", "red"), ("hat", "hats", "🎩", "black"),
    ("guitar", "guitars", "🎸", None), ("train", "trains", "🚂", None),
    ("camera", "cameras", "📷", None), ("gift", "gifts", "🎁", None),
]

_COLOURED = {
    ("circle", "circles"): {"red": "🔴", "orange": "🟠", "yellow": "🟡", "green": "🟢", "blue": "🔵",
                            "purple": "🟣", "brown": "🟤", "black": "⚫", "white": "⚪"},
    ("square", "squares"): {"red": "🟥", "orange": "🟧", "yellow": "🟨", "green": "🟩", "blue": "🟦",
                            "purple": "🟪", "brown": "🟫", "black": "⬛", "white": "⬜"},
    ("heart", "hearts"): {"red": "❤", "orange": "🧡", "yellow": "💛", "green": "💚", "blue": "💙",
                          "purple": "💜", "brown": "🤎", "black": "🖤", "white": "🤍"},
    ("book", "books"): {"red": "📕", "green": "📗", "blue": "📘", "orange": "📙"},
}

KINDS = [Kind(*entry) for entry in _SINGLE] + [
    Kind(name, plural, emoji, colour)
    for (name, plural), shades in _COLOURED.items() for colour, emoji in shades.items()
]
NAMES = sorted({kind.name for kind in KINDS})
PLURAL = {kind.name: kind.plural for kind in KINDS}
KINDS_OF = {name: [kind for kind in KINDS if kind.name == name] for name in NAMES}
COLOURED = [name for name, _ in _COLOURED]
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink"]
NAME_INDEX = {name: index for index, name in enumerate(NAMES)}


def with_article(name: str) -> str:
    """Returns "a car", "an apple", "grapes"."""
    if PLURAL[name] == name and name != "fish":
        return name
    return ("an " if name[0] in "aeiou" else "a ") + name
