"""What a file's texts say about how its picture came about: generators, source types, cameras, software.

The marks come from the generators' documentation, their source code or samples of their output. Free text, such as a
caption, counts only if it contains something that no caption would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from facefake.metadata import Entry, printable

TraceKind = Literal["generated", "partly_generated", "captured", "edited", "software", "other"]

GRAVITY: dict[TraceKind, int] = {
    "generated": 0,
    "partly_generated": 1,
    "captured": 2,
    "edited": 2,
    "other": 2,
    "software": 3,
}
"""The order in which traces are listed, and kept if there are too many: generators first and software last."""

_LONGEST_NAME = 60
_LONGEST_EXCERPT = 160
_SEARCHED = 65_536  # characters

# https://cv.iptc.org/newscodes/digitalsourcetype/, including retired terms.
_SOURCE_TYPES: dict[str, TraceKind] = {
    "trainedAlgorithmicMedia": "generated",
    "compositeWithTrainedAlgorithmicMedia": "partly_generated",
    "compositeSynthetic": "partly_generated",
    "digitalCapture": "captured",
    "computationalCapture": "captured",
    "negativeFilm": "captured",
    "positiveFilm": "captured",
    "print": "captured",
    "humanEdits": "edited",
    "minorHumanEdits": "edited",
    "algorithmicallyEnhanced": "edited",
}
_FOLDED = {code.casefold(): (code, kind) for code, kind in _SOURCE_TYPES.items()}

# Fields in which a program names itself (PNG's Source is the device), and those that name people and companies.
_PROGRAMS = frozenset(
    (
        *("Software", "CreatorTool", "softwareAgent", "AISystemUsed", "OriginatingProgram", "Make"),
        "PNG text Source",
    )
)
_PEOPLE = frozenset(("Artist", "By-line", "creator", "Author", "Credit", "Source"))
# Left out on purpose: "Meta AI", the make of a camera in spectacles, and Microsoft Designer, which also edits photographs.
_GENERATORS = (
    ("Midjourney", "midjourney"),
    ("OpenAI", r"(?:openai|chatgpt|dall[-·•]e|dalle ?[23]|gpt-image)"),
    ("Google AI", r"(?:made with google ai|google (?:gemini|imagen)|gemini (?:app|\d)|imagen \d)"),
    ("Adobe Firefly", r"(?:adobe firefly|firefly image)"),
    ("Flux", r"(?:black forest labs|flux[. ][12])"),
    ("Stable Diffusion", r"(?:stable[ -]?diffusion|sdxl|automatic1111|dreamstudio|stability ai)"),
    ("NovelAI", r"novelai(?: generated image| diffusion)?"),
    ("ComfyUI", "comfyui"),
    ("InvokeAI", "invoke ?ai"),
    ("Fooocus", "fooocus"),
    ("Draw Things", "draw things"),
    ("Microsoft", r"(?:bing image creator|image creator (?:in bing|from (?:microsoft )?designer))"),
    ("Meta AI", "imagined with ai"),
    ("Ideogram", r"ideogram(?:\.ai)?"),
    ("Leonardo", r"leonardo\.?ai"),
    ("Recraft", "recraft"),
    ("xAI Grok", r"(?:grok image|xai grok)"),
)
_NAMED = tuple(
    (name, re.compile(rf"(?<![a-z]){pattern}(?![a-z])", re.IGNORECASE)) for name, pattern in _GENERATORS
)
# The name with at most a version: a text about a generator, or a person of that name, would have more to it.
_ALONE = tuple(
    (name, re.compile(rf"{pattern}[ v\d.]{{0,9}}", re.IGNORECASE)) for name, pattern in _GENERATORS
)
_COMPANIES = ("openai", "stability ai", "black forest labs")  # not generators
_PARTLY = re.compile(r"(?:edited with google ai|generative (?:fill|expand))", re.IGNORECASE)
_NO_SYSTEM = ("", "none", "no", "no ai", "n/a", "not used", "not applicable")

# Marks that are unmistakable in any text; some occur in JSON nested as a string in JSON, and so with escaped quotes.
_MARKS = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("NovelAI", r"\ANovelAI generated image\Z"),
        ("Midjourney", r"\bJob ID: [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("SwarmUI", r'"?sui_image_params"?'),
        ("NovelAI", r'"(?:uncond_scale|v4_prompt)\\?"'),
        ("Easy Diffusion", r'"use_stable_diffusion_model"'),
        ("Fooocus", r'\bversion"?: "?fooocus v\d|"metadata_scheme": ?"fooocus"'),
        ("ComfyUI", r'"class_type\\?": ?\\?"|"last_node_id\\?":'),
        ("Flux", r"\bAI generated;\w+;flux"),
        ("Stable Diffusion", r"\bSteps: \d+, (?:Sampler|Size|Seed|CFG scale|Schedule type): "),
    )
)
# Keywords of PNG text that only one generator writes.
_KEYWORDS = {
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "invokeai_workflow": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "generation_data": "Tensor.Art",
    "smproj": "Stability Matrix",
}


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing that a file says about its picture's origin.

    Attributes:
        kind: "generated" by a model; "partly_generated"; "captured" by a camera or a scanner; "edited" since; "software"
            that wrote or edited the file; or "other".
        name: of the generator, the source type, the label, the camera or the software.
        place: where in the file it says so, such as "EXIF Software".
        excerpt: the beginning of the text there; like the other strings, one line of printable Unicode.
    """

    kind: TraceKind
    name: str
    place: str
    excerpt: str

    def to_dict(self) -> dict[str, str]:
        """The trace as JSON-ready values."""
        return {"kind": self.kind, "name": self.name, "place": self.place, "excerpt": self.excerpt}


def find_traces(entries: Iterable[Entry]) -> Iterator[Trace]:
    """What a file's texts say about its picture's origin: at most one trace per text, and one per camera."""
    entries = tuple(entries)
    makes: dict[str, dict[str, Entry]] = {}
    partly = any(
        entry.name == "DigitalSourceType" and source_type(entry.text, "").kind == "partly_generated"
        for entry in entries
    )
    for entry in entries:
        if not printable(entry.text, _LONGEST_NAME):
            continue
        if entry.name in ("Make", "Model") and entry.standard in ("EXIF", "XMP"):
            makes.setdefault(entry.standard, {}).setdefault(entry.name, entry)
        elif entry.name == "DigitalSourceType":
            yield source_type(entry.text, entry.place)
        elif (trace := _label(entry) or _generator(entry)) is not None:
            if partly and entry.name == "AISystemUsed":  # the field is the same whether it made all or a part
                trace = replace(trace, kind="partly_generated")
            yield trace
        elif entry.name in ("Software", "CreatorTool", "softwareAgent", "OriginatingProgram"):
            yield _trace("software", entry.text, entry)
    for by_name in makes.values():
        yield _camera(by_name)


def source_type(text: str, place: str) -> Trace:
    """The trace of one of IPTC's digital source types, given as its address or the last part of it."""
    last = re.split(r"[/:#]", printable(text, 200).rstrip("/"))[-1]
    code, kind = _FOLDED.get(last.casefold(), (last, "other"))
    return Trace(kind, printable(code, _LONGEST_NAME), place, printable(text, _LONGEST_EXCERPT))


def generator_named(text: str) -> str | None:
    """The generator that a program or service names itself as, or None."""
    return next((name for name, pattern in _NAMED if pattern.search(text[:_SEARCHED])), None)


def _label(entry: Entry) -> Trace | None:
    # The implicit label of China's GB 45438-2025: JSON, by itself or within an "AIGC" object.
    if "AIGC" not in entry.name and '"AIGC"' not in entry.text[:_SEARCHED]:
        return None
    try:
        values = json.loads(entry.text)
        values = values.get("AIGC", values)
        label = str(values["Label"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    producer = values.get("ContentProducer")
    name = "AIGC label" + (f" of {producer}" if isinstance(producer, str) and producer else "")
    if label == "1":
        return _trace("generated", name, entry)
    # These labels come from whoever passed the picture on.
    says = {"2": "possibly generated", "3": "suspected of being generated"}.get(label, f"label {label}")
    return _trace("other", f"{says}, {name}", entry)


def _generator(entry: Entry) -> Trace | None:
    text = entry.text[:_SEARCHED]
    program = entry.name in _PROGRAMS or entry.place in _PROGRAMS
    person = entry.name in _PEOPLE
    alone = text.strip().strip(".- ").casefold()
    if (program and _PARTLY.search(text)) or (person and _PARTLY.fullmatch(alone)):
        return _trace("partly_generated", text, entry)
    name = _KEYWORDS.get(entry.name.casefold()) if entry.standard == "PNG text" else None
    if program:
        name = name or generator_named(text)
    elif person and alone not in _COMPANIES:
        name = name or next((named for named, pattern in _ALONE if pattern.fullmatch(alone)), None)
    name = name or next((mark for mark, pattern in _MARKS if pattern.search(text)), None)
    if name is None and entry.name == "AISystemUsed" and alone not in _NO_SYSTEM:
        name = text
    return None if name is None else _trace("generated", name, entry)


def _camera(by_name: dict[str, Entry]) -> Trace:
    first = next(iter(by_name.values()))
    # Some generators write their name, or their settings, where the camera should be.
    for entry in by_name.values():
        name = generator_named(entry.text[:200]) or next(
            (mark for mark, pattern in _MARKS if pattern.search(entry.text)), None
        )
        if name is not None:
            return _trace("generated", name, entry)
    make, model = (printable(by_name[n].text, 40) if n in by_name else "" for n in ("Make", "Model"))
    brand = make.casefold().split()[:1]
    name = model if model.casefold().split()[:1] == brand else f"{make} {model}".strip()
    return Trace("captured", name, f"{first.standard} {' and '.join(by_name)}", name)


def _trace(kind: TraceKind, name: str, entry: Entry) -> Trace:
    return Trace(kind, printable(name, _LONGEST_NAME), entry.place, printable(entry.text, _LONGEST_EXCERPT))
