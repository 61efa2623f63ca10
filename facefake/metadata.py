"""The texts that a picture's file carries beside its pixels: EXIF, XMP, IPTC, PNG text and comments.

All of it is untrusted: it is read in bounded amounts, stripped of whatever is not text, and never the reason why a
picture fails.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, IptcImagePlugin, JpegImagePlugin

from facefake.formats import exif_of, file_format_of, gif_extensions, open_reader, without_chunks
from facefake.refusal import Refusal, faults, pillow_muted

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from PIL import ImageFile

_MOST_ENTRIES = 200
_LONGEST_TEXT = 65_536  # characters of an entry; a ComfyUI workflow is longer, but its beginning will do
_LARGEST_XMP = 1 << 20  # bytes
_MOST_CHUNKS = 100_000  # of a PNG
_SKIPPED_CHUNKS = (b"IDAT", b"fdAT", b"fcTL", b"acTL", b"iCCP")

_EXIF_TAGS = {
    ExifTags.Base.ImageDescription: "ImageDescription",
    ExifTags.Base.Make: "Make",
    ExifTags.Base.Model: "Model",
    ExifTags.Base.Software: "Software",
    ExifTags.Base.Artist: "Artist",
    ExifTags.Base.XPTitle: "XPTitle",
    ExifTags.Base.XPComment: "XPComment",
    ExifTags.Base.XPAuthor: "XPAuthor",
}
# The records and data sets of IPTC's Information Interchange Model, version 4.2.
_IPTC_DATASETS = {
    (2, 65): "OriginatingProgram",
    (2, 80): "By-line",
    (2, 110): "Credit",
    (2, 115): "Source",
    (2, 120): "Caption",
}
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XMP_PREFIXES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
}
_XMP_PROPERTIES = frozenset(
    (
        "Iptc4xmpExt:DigitalSourceType",
        "Iptc4xmpExt:AISystemUsed",
        "Iptc4xmpExt:AIPromptInformation",
        "TC260:AIGC",
        "xmp:CreatorTool",
        "stEvt:softwareAgent",
        "photoshop:Credit",
        "photoshop:Source",
        "tiff:Make",
        "tiff:Model",
        "tiff:Software",
        "exif:UserComment",
        "dc:creator",
        "dc:description",
        "dcterms:provenance",
    )
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One text of a file.

    Attributes:
        standard: "EXIF", "XMP", "IPTC", "PNG text" or "comment".
        name: of the tag, property or keyword; valid Unicode, printable, at most 60 characters.
        text: as in the file, at most 65,536 characters of any kind, lone surrogates included.
    """

    standard: str
    name: str
    text: str

    @property
    def place(self) -> str:
        """Where in the file the text is, for people."""
        return f"{self.standard} {self.name}".strip()


def read_entries(data: bytes) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """The texts of a file that may say where it comes from, and notes on what could not be read.

    Args:
        data: the bytes of a picture's file, of any format that facefake reads.
    """
    notes: list[str] = []
    entries: list[Entry] = []
    with _noting("metadata", notes), pillow_muted():
        image = _opened(data)
        for standard, read in (
            ("PNG text", _png_text),
            ("comment", _comment),
            ("EXIF", _exif),
            ("XMP", _xmp),
            ("IPTC", _iptc),
        ):
            with _noting(f"{standard} metadata", notes):
                for name, text in read(image):
                    if len(entries) == _MOST_ENTRIES:
                        raise Refusal("too_large", f"at most {_MOST_ENTRIES} entries", "more")
                    entries.append(Entry(standard, printable(name, 60), text[:_LONGEST_TEXT]))
    return tuple(entries), tuple(notes)


def printable(text: str, longest: int) -> str:
    """An untrusted text made fit to show: one line of visible characters, cut at `longest` with an ellipsis."""
    text = text[: 4 * longest].encode("utf-8", "replace").decode("utf-8")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


@contextmanager
def _noting(what: str, notes: list[str]) -> Iterator[None]:
    try:
        with faults("corrupt", what):
            yield
    except Refusal as refusal:
        _, expected, got = refusal.args
        told = f"expected {expected}, got {got}" if expected != what else got
        notes.append(printable(f"{what} not read: {told}", 200))


def _opened(data: bytes) -> ImageFile.ImageFile:
    """The picture with its metadata in `info` and its pixels not decoded."""
    file_format = file_format_of(data)
    if file_format is None:
        raise Refusal("unsupported", "a picture", "another file")
    # Text may come after the pixels, which Pillow would decode on the way there; and a colour profile above Pillow's limit
    # would make it give up, so that no text is read either.
    if file_format == "PNG":
        data = without_chunks(data, _SKIPPED_CHUNKS, _MOST_CHUNKS)
    return open_reader(data, file_format)


def _png_text(image: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    if image.format == "PNG":
        for name, text in image.info.items():
            if isinstance(text, str) and name != "XML:com.adobe.xmp":
                yield str(name), text


def _comment(image: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    for comment in _comments(image):
        yield "", comment[:_LONGEST_TEXT].decode("utf-8", "replace")


def _comments(image: ImageFile.ImageFile) -> Iterator[bytes]:
    if image.format == "GIF":
        for label, blocks in _gif_extensions(image):
            if label == 0xFE:
                yield _joined(blocks[: 2 * _LONGEST_TEXT])
    else:
        yield from _segments(image, "COM", b"")


def _gif_extensions(image: ImageFile.ImageFile) -> Iterator[tuple[int, bytes]]:
    # Pillow stops at the first picture, and texts may come after it.
    assert isinstance(image.fp, io.BytesIO)
    return gif_extensions(image.fp.getvalue())


def _joined(blocks: bytes) -> bytes:
    parts, at = [], 0
    while at < len(blocks):
        parts.append(blocks[at + 1 : at + 1 + blocks[at]])
        at += 1 + blocks[at]
    return b"".join(parts)


def _segments(image: ImageFile.ImageFile, kind: str, head: bytes) -> Iterator[bytes]:
    """What follows this head in a JPEG's segments of one kind; Pillow itself keeps only the last of them."""
    for found, content in getattr(image, "applist", ()):
        if found == kind and content.startswith(head):
            yield content.removeprefix(head)


def _raw_profile(image: ImageFile.ImageFile, kind: str) -> bytes:
    """A profile as ImageMagick writes it into PNG text: lines with the kind, the length and the content in hexadecimal."""
    text = image.info.get(f"Raw profile type {kind}")
    return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else b""


def _exif(image: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    exif = exif_of(image)
    if not exif and (block := _raw_profile(image, "APP1")).startswith(b"Exif"):
        exif.load(block)
    for tag, name in _EXIF_TAGS.items():
        text = _exif_text(exif.get(tag), wide=name.startswith("XP"))
        if text:
            yield name, text
    # Many writers put it among the main tags, or give it the type of plain text, which Pillow decodes as Latin 1.
    for tags in (exif.get_ifd(ExifTags.IFD.Exif), exif):
        comment = tags.get(ExifTags.Base.UserComment)
        if isinstance(comment, str):
            comment = comment.encode("latin-1", "replace")
        if isinstance(comment, bytes):
            yield "UserComment", _user_comment(comment[: 2 * _LONGEST_TEXT])


def _exif_text(value: Any, wide: bool) -> str:
    if isinstance(value, tuple) and all(isinstance(item, int) and 0 <= item < 256 for item in value):
        value = bytes(value)
    if isinstance(value, bytes):
        return value[: 2 * _LONGEST_TEXT].decode("utf-16-le" if wide else "utf-8", "replace").strip("\0 ")
    if not isinstance(value, str):
        return ""
    try:
        # Pillow decodes EXIF text as Latin 1; most of what is not ASCII is UTF-8 now.
        return value[:_LONGEST_TEXT].encode("latin-1").decode("utf-8").strip("\0 ")
    except UnicodeError:
        return value.strip("\0 ")


def _user_comment(value: bytes) -> str:
    code, text = value[:8], value[8:]
    if code == b"UNICODE\0":
        # The standard says the byte order of the EXIF data, many writers use big-endian: so the byte of each code unit
        # that is more often zero is taken for the upper one.
        big = text[::2].count(0) >= text[1::2].count(0)
        return text.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0 ")
    return (text if code in (b"ASCII\0\0\0", bytes(8)) else value).decode("utf-8", "replace").strip("\0 ")


def _xmp(image: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    left = _LARGEST_XMP
    for packet in _packets(image):
        left -= len(packet)
        if left < 0:
            raise Refusal("too_large", f"at most {_LARGEST_XMP:,} bytes", "more")
        yield from _properties(packet)


def _packets(image: ImageFile.ImageFile) -> Iterator[bytes]:
    """The XMP packets in a file, beginning with the one that other programs read."""
    if packet := image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"):
        yield packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    for other in _segments(image, "APP1", _XMP_HEAD):
        if other != packet:
            yield other
    yield _raw_profile(image, "xmp")
    if (block := _raw_profile(image, "APP1")).startswith(_XMP_HEAD):
        yield block.removeprefix(_XMP_HEAD)
    if image.format == "GIF":
        for label, blocks in _gif_extensions(image):
            if label == 0xFF and blocks.startswith(b"\x0bXMP DataXMP"):
                # The packet is not in sub-blocks; the 257 bytes after it lead a reader that expects them to the end.
                yield blocks[12:-257]


def _properties(packet: bytes) -> Iterator[tuple[str, str]]:
    from defusedxml.ElementTree import fromstring

    bare = packet.strip(b"\0 \n\r\t")
    if b"\0" not in bare[:4]:  # in UTF-16 stripping would have halved a character
        packet = bare
    if not packet:
        return
    root: Element = fromstring(packet, forbid_dtd=True)
    for element in root.iter():
        for key, value in element.attrib.items():
            if name := _xmp_property(key):
                yield name, value
        if name := _xmp_property(element.tag):
            for text in _xmp_values(element):
                yield name, text
            element.clear()  # or nested properties would be read again and again


def _xmp_property(qualified: str) -> str | None:
    namespace, _, local = qualified.removeprefix("{").partition("}")
    return local if f"{_XMP_PREFIXES.get(namespace)}:{local}" in _XMP_PROPERTIES else None


def _xmp_values(element: Element) -> Iterator[str]:
    """The value of a property, or each value of its list, without qualifiers."""
    values: list[list[tuple[bool, str]]] = [[]]
    for part in element.iter():
        if part.tag == f"{_RDF}li":
            values.append([])
        # A qualified value is in rdf:value beside its qualifiers, and an address may be in rdf:resource.
        is_value = part.tag == f"{_RDF}value"
        for text, marked in (
            (part.text, is_value),
            (part.get(f"{_RDF}resource"), is_value),
            (part.get(f"{_RDF}value"), True),
        ):
            if text and not text.isspace():
                values[-1].append((marked, text))
    for texts in values:
        if text := " ".join([text for marked, text in texts if marked] or [text for _, text in texts]):
            yield text.strip()


def _iptc(image: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    if profile := _raw_profile(image, "iptc"):
        # A Photoshop resource, preceded by its length; Pillow looks for these in JPEGs only.
        holder = object.__new__(JpegImagePlugin.JpegImageFile)
        resource = profile.partition(b"8BIM\x04\x04\0\0")[2]
        holder.info = {"photoshop": {0x0404: resource[4 : 4 + int.from_bytes(resource[:4])]}}
        image = holder
    found = IptcImagePlugin.getiptcinfo(image) or {}
    for dataset, name in _IPTC_DATASETS.items():
        values = found.get(dataset, [])
        for value in values if isinstance(values, list) else [values]:
            yield name, value[:_LONGEST_TEXT].decode("utf-8", "replace")
