"""The picture of the architecture: all that is there and no more, every word in its place, in light and in dark."""

import itertools
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from stacks.drawing import DARK, LIGHT, Drawing, Palette, svg
from stacks.picture import WORDS, draw
from stacks.project import Project
from tests.support import Stack

# What a reader with weak eyes needs between words and what they stand on (WCAG 2.2, 1.4.3).
CONTRAST = 4.5


def with_environments(project: Project, names: list[str]) -> Project:
    """The project with the environments of these names and no others, all of them like staging."""
    like = project.environments["staging"]
    environments = {
        name: like.model_copy(update={"environment": name, "env_prefix": f"x-{name}"}, deep=True) for name in names
    }
    context = project.cdktf.context.model_copy(update={"promotion": ()})
    return replace(project, cdktf=project.cdktf.model_copy(update={"context": context}), environments=environments)


def stacks_of(stacks: dict[str, Stack], names: list[str]) -> dict[str, Stack]:
    text = json.dumps(stacks["staging"])
    return {"infra": stacks["infra"], **{name: json.loads(text.replace("staging", name)) for name in names}}


@pytest.fixture(params=["shipped", "larger", "one", "six"])
def drawing(
    request: pytest.FixtureRequest,
    project: Project,
    stacks: dict[str, Stack],
    larger: Project,
    larger_stacks: dict[str, Stack],
) -> Drawing:
    match request.param:
        case "shipped":
            return draw(project, stacks)
        case "larger":
            return draw(larger, larger_stacks)
        case "one":
            names = ["demo"]
        case _:
            names = ["a", "demo", "europe-west-preview", "qa", "review", "staging"]
    return draw(with_environments(project, names), stacks_of(stacks, names))


def test_every_word_stays_in_its_room(drawing: Drawing) -> None:
    page = drawing.frames[0].box
    assert drawing.texts
    for text in drawing.texts:
        assert text.room.x <= text.box.x, text
        assert text.box.right <= text.room.right + 0.1, text
        assert text.box.right <= page.right, text


def test_no_box_lies_on_another_of_its_kind_and_every_system_lies_in_a_namespace(drawing: Drawing) -> None:
    for kind in ("stack", "namespace", "everywhere", "system", "deployer", "bucket", "layer"):
        boxes = [frame.box for frame in drawing.frames if frame.kind == kind]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].meets(pair[1])], kind
    namespaces = [frame.box for frame in drawing.frames if frame.kind in ("namespace", "everywhere")]
    stacks = [frame.box for frame in drawing.frames if frame.kind == "stack"]
    for frame in drawing.frames:
        if frame.kind == "system":
            assert [box for box in namespaces if box.holds(frame.box)], frame
        if frame.kind in ("namespace", "everywhere"):
            assert [box for box in stacks if box.holds(frame.box)], frame


def test_what_is_switched_on_is_drawn_in_its_namespace_and_nothing_else_is(
    project: Project, stacks: dict[str, Stack]
) -> None:
    drawing = draw(project, stacks)
    places = {frame.name: frame.box for frame in drawing.frames if frame.kind == "namespace"}
    for name, file in project.environments.items():
        (own,) = [frame.box for frame in drawing.frames if frame.kind == "stack" and frame.name == name]
        within = [frame for frame in drawing.frames if frame.kind == "system" and own.holds(frame.box)]
        assert sorted(frame.name for frame in within) == sorted(file.components)
        for frame in within:
            layer = "data" if frame.name in ("postgres", "redis") else "monitoring"
            assert places[f"{layer}-{name}"].holds(frame.box), frame
    infra = {frame.name for frame in drawing.frames if frame.kind == "system"}
    assert set(project.infra.components) <= infra
    deployers = [frame.name for frame in drawing.frames if frame.kind == "deployer"]
    assert {f"deployer-{name}" for name in (*project.environments, "infra")} <= set(deployers)


def test_every_system_has_words(project: Project, stacks: dict[str, Stack]) -> None:
    drawn = {frame.name for frame in draw(project, stacks).frames if frame.kind == "system"}
    assert drawn <= set(WORDS)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_stand_out_from_what_they_stand_on(
    palette: Palette, larger: Project, larger_stacks: dict[str, Stack]
) -> None:
    drawing = draw(larger, larger_stacks)
    for ink, surface in {(text.ink, text.surface) for text in drawing.texts}:
        lighter, darker = sorted(map(luminance, (palette.inks[ink], palette.surfaces[surface][0])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= CONTRAST, (ink, surface)


def luminance(colour: str) -> float:
    """The relative luminance of a colour as WCAG counts it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_file_is_whole_by_itself_and_says_what_it_shows(project: Project, stacks: dict[str, Stack]) -> None:
    text = svg(draw(project, stacks), LIGHT)
    root = ET.fromstring(text)  # noqa: S314 (our own)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "desc", "style", "rect", "path", "text"}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    description = root.findtext("{*}desc") or ""
    assert all(name in description for name in project.environments)
