"""A drawing: frames, texts and ways on a plane, as SVG in light and in dark. Widths of words are guesses.

The guesses are those of DejaVu Sans, the widest of the fonts that a system may have: what fits by it fits by all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Literal

Surface = Literal["page", "cluster", "stack", "l1", "l2", "l3", "l4", "system", "change", "backup"]
Ink = Literal["text", "muted", "change", "secret", "telemetry", "backup", "data", "on-change"]

# Widths of characters in thousandths of the font's size, by those that share one.
_WIDTHS = {
    350: "'IJijl ,./:;\\|",
    420: '()-[]ft"!`r',
    560: "*_?csz",
    600: "$0123456789kvxyFLTE",
    640: "abdeghnopquABCKPRSVXYZ{}",
    790: "&DGHNOQUw^~#+<=>",
    990: "@mMW%",
}
_WIDTH_OF = {letter: width for width, letters in _WIDTHS.items() for letter in letters}
_WIDEST = 1000
_FIXED_WIDTH = 602
_BOLD = 1.1
_CORNER = 7

_SANS = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace"


@dataclass(frozen=True)
class Style:
    """How a text is set: its size, its weight, and whether all its letters are as wide as each other."""

    name: str
    size: float
    weight: int = 400
    is_fixed: bool = False

    def width(self, words: str) -> float:
        """Return at most how wide some words are."""
        if self.is_fixed:
            return len(words) * self.size * _FIXED_WIDTH / 1000
        bold = _BOLD if self.weight > 400 else 1  # noqa: PLR2004 (what CSS calls normal)
        return sum(_WIDTH_OF.get(letter, _WIDEST) for letter in words) * self.size * bold / 1000

    def fitted(self, words: str, width: float) -> str:
        """Return the words, or as many of their letters as fit, and that there are more."""
        if self.width(words) <= width:
            return words
        while words and self.width(f"{words}…") > width:
            words = words[:-1]
        return f"{words}…"


LARGE = Style("large", 17, 700)
STRONG = Style("strong", 14, 600)
PLAIN = Style("plain", 12.5)
CODE = Style("code", 12, is_fixed=True)
STYLES = (LARGE, STRONG, PLAIN, CODE)


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels from the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Where it ends, below."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """Half of its width."""
        return self.x + self.width / 2

    def inner(self, margin: float) -> "Box":
        """Return what is left of it within a margin."""
        return Box(self.x + margin, self.y + margin, self.width - 2 * margin, self.height - 2 * margin)

    def holds(self, other: "Box") -> bool:
        """Tell whether another lies in it."""
        return self.x <= other.x and self.y <= other.y and other.right <= self.right and other.bottom <= self.bottom

    def meets(self, other: "Box") -> bool:
        """Tell whether another has a part in common with it."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom


@dataclass(frozen=True)
class Frame:
    """A box that is drawn: a surface, with an edge."""

    box: Box
    surface: Surface
    kind: str
    """What it stands for: `cluster`, `layer`, `stack`, `namespace`, `everywhere`, `system`, `deployer`, `bucket`."""
    name: str


@dataclass(frozen=True)
class Text:
    """Words on their baseline. `room` is the box that they may not leave, `surface` what they are read on."""

    words: str
    x: float
    y: float
    style: Style
    ink: Ink
    surface: Surface
    room: Box
    anchor: Literal["start", "middle", "end"] = "start"

    @property
    def box(self) -> Box:
        """What the words cover."""
        width = self.style.width(self.words)
        left = {"start": self.x, "middle": self.x - width / 2, "end": self.x - width}[self.anchor]
        return Box(left, self.y - self.style.size * 0.8, width, self.style.size)


@dataclass(frozen=True)
class Way:
    """A line of straight parts from one thing to another, mostly with an arrow at its end."""

    points: tuple[tuple[float, float], ...]
    ink: Ink
    has_arrow: bool = True


@dataclass
class Drawing:
    """What is on the plane, from the back to the front. `title` and `description` are for those who do not see it."""

    width: float
    title: str
    height: float = 0
    description: str = ""
    frames: list[Frame] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)

    def frame(self, box: Box, surface: Surface, kind: str, name: str) -> Box:
        """Draw a frame; return its box."""
        self.frames.append(Frame(box, surface, kind, name))
        return box

    def write(
        self,
        words: str,
        x: float,
        y: float,
        style: Style,
        *,
        ink: Ink,
        surface: Surface,
        room: Box,
        anchor: Literal["start", "middle", "end"] = "start",
    ) -> None:
        """Write words that begin, or are centered, or end at `x`, shortened to what fits into their room."""
        width = {
            "start": room.right - x,
            "middle": 2 * min(x - room.x, room.right - x),
            "end": x - room.x,
        }[anchor]
        self.texts.append(Text(style.fitted(words, width), x, y, style, ink, surface, room, anchor))

    def lead(self, ink: Ink, *points: tuple[float, float], has_arrow: bool = True) -> None:
        """Draw a way through some points."""
        self.ways.append(Way(points, ink, has_arrow))


@dataclass(frozen=True)
class Palette:
    """The colours of a theme: of each surface and its edge, and of what is written and drawn on them."""

    surfaces: dict[Surface, tuple[str, str]]
    inks: dict[Ink, str]


LIGHT = Palette(
    {
        "page": ("#ffffff", "none"),
        "cluster": ("#f6f8fa", "#d1d9e0"),
        "stack": ("#ffffff", "#59636e"),
        "l4": ("#f1edfb", "#d9cff4"),
        "l3": ("#e6f1fb", "#c3dcf3"),
        "l2": ("#e7f5ed", "#c2e2cf"),
        "l1": ("#f8f1e4", "#e8d9ba"),
        "system": ("#ffffff", "#d1d9e0"),
        "change": ("#0550ae", "#0550ae"),
        "backup": ("#fff8e5", "#9a6700"),
    },
    {
        "text": "#1f2328",
        "muted": "#57606a",
        "change": "#0550ae",
        "secret": "#8a2d9c",
        "telemetry": "#116329",
        "backup": "#7d4e00",
        "data": "#57606a",
        "on-change": "#ffffff",
    },
)
DARK = Palette(
    {
        "page": ("#0d1117", "none"),
        "cluster": ("#151b23", "#3d444d"),
        "stack": ("#0d1117", "#9198a1"),
        "l4": ("#1e1a2f", "#3d3360"),
        "l3": ("#13202f", "#24415f"),
        "l2": ("#12241c", "#22483a"),
        "l1": ("#272015", "#4d4024"),
        "system": ("#0d1117", "#3d444d"),
        "change": ("#1f6feb", "#1f6feb"),
        "backup": ("#272015", "#d29922"),
    },
    {
        "text": "#f0f6fc",
        "muted": "#9da7b3",
        "change": "#58a6ff",
        "secret": "#e28bf0",
        "telemetry": "#56d364",
        "backup": "#e3b341",
        "data": "#9da7b3",
        "on-change": "#ffffff",
    },
)


def svg(drawing: Drawing, palette: Palette) -> str:
    """Return the drawing as a file of its own: no script, no font, nothing that is fetched."""
    return "\n".join([*_head(drawing, palette), *_body(drawing), "</svg>"]) + "\n"


def _head(drawing: Drawing, palette: Palette) -> Iterator[str]:
    size = f'width="{_number(drawing.width)}" height="{_number(drawing.height)}"'
    view = f'viewBox="0 0 {_number(drawing.width)} {_number(drawing.height)}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} role="img" aria-labelledby="title description">'
    yield f'<title id="title">{escape(drawing.title)}</title>'
    yield f'<desc id="description">{escape(drawing.description)}</desc>'
    yield "<style>"
    for style in STYLES:
        yield f".{style.name}{{font:{style.weight} {style.size}px {_MONO if style.is_fixed else _SANS}}}"
    for surface, (fill, edge) in palette.surfaces.items():
        yield f".surface-{surface}{{fill:{fill};stroke:{edge}}}"
    for ink, colour in palette.inks.items():
        yield f".{ink}{{fill:{colour}}}.way-{ink}{{stroke:{colour}}}"
    yield ".stack{stroke-width:1.5}.everywhere{stroke-dasharray:3 4}"
    yield ".way{fill:none;stroke-width:1.75;stroke-linejoin:round}.way-data{stroke-dasharray:2 3}"
    yield ".middle{text-anchor:middle}.end{text-anchor:end}"
    yield "</style>"


def _body(drawing: Drawing) -> Iterator[str]:
    page = Frame(Box(0, 0, drawing.width, drawing.height), "page", "page", "")
    yield from (_rectangle(frame) for frame in (page, *drawing.frames) if frame.kind not in ("deployer", "bucket"))
    for way in drawing.ways:
        yield f'<path class="way way-{way.ink}" d="{_path(way.points)}"/>'
        if way.has_arrow:
            yield f'<path class="{way.ink}" d="{_arrow(way.points)}"/>'
    yield from (_rectangle(frame) for frame in drawing.frames if frame.kind in ("deployer", "bucket"))
    for text in drawing.texts:
        names = " ".join([text.style.name, text.ink, *([] if text.anchor == "start" else [text.anchor])])
        place = f'x="{_number(text.x)}" y="{_number(text.y)}"'
        yield f'<text class="{names}" {place}>{escape(text.words, quote=False)}</text>'


def _rectangle(frame: Frame) -> str:
    box = frame.box
    corner = {"deployer": box.height / 2, "bucket": box.height / 2, "system": 6, "page": 0}.get(frame.kind, 10)
    place = f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
    return f'<rect class="surface-{frame.surface} {frame.kind}" {place} rx="{_number(corner)}"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return a line with its corners rounded."""
    parts = [f"M{_point(points[0])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        parts.append(f"L{_point(_toward(corner, before))}Q{_point(corner)} {_point(_toward(corner, after))}")
    return "".join([*parts, f"L{_point(points[-1])}"])


def _toward(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the point near a corner where its bend begins."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    length = abs(across) + abs(down)
    step = min(_CORNER, length / 2) / length
    return corner[0] + across * step, corner[1] + down * step


def _arrow(points: Sequence[tuple[float, float]]) -> str:
    (x0, y0), (x, y) = list(pairwise(points))[-1]
    length = abs(x - x0) + abs(y - y0)
    across, down = (x - x0) / length, (y - y0) / length
    left = (x - 8 * across - 4.5 * down, y - 8 * down - 4.5 * across)
    right = (x - 8 * across + 4.5 * down, y - 8 * down + 4.5 * across)
    return f"M{_point(left)}L{_point((x, y))}L{_point(right)}Z"


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
