from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from facefake.images import load_picture
from facefake.metadata import Entry, printable, read_entries

NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
}
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def xmp(body: str = "", attributes: str = "") -> bytes:
    spaces = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in NAMESPACES.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces} {attributes}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def saved(file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), "teal").save(file, file_format, **options)
    return file.getvalue()


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return saved("PNG", pnginfo=info)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_iptc(jpeg: bytes, *datasets: tuple[int, int, bytes]) -> bytes:
    records = b"".join(b"\x1c" + struct.pack(">BBH", r, n, len(value)) + value for r, n, value in datasets)
    resource = (
        b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)
    )
    content = b"Photoshop 3.0\x00" + resource
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


TAGS = {
    "ImageDescription": 270,
    "Make": 271,
    "Model": 272,
    "Software": 305,
    "Artist": 315,
    "XPTitle": 0x9C9B,
    "XPComment": 0x9C9C,
    "XPAuthor": 0x9C9D,
}


def exif(**texts: Any) -> Image.Exif:
    made = Image.Exif()
    for name, value in texts.items():
        made[TAGS[name]] = value
    return made


def user_comment(value: bytes) -> Image.Exif:
    made = Image.Exif()
    made.get_ifd(0x8769)[0x9286] = value
    return made


def entries(data: bytes) -> list[tuple[str, str]]:
    found, notes = read_entries(data)
    assert notes == ()
    return [(entry.place, entry.text) for entry in found]


def test_png_text_before_and_behind_the_pixels():
    data = png(parameters="a cat")
    behind = data[:-12] + chunk(b"tEXt", b"Software\0late") + data[-12:]
    assert Image.open(io.BytesIO(behind)).info.get("Software") is None  # or the test would prove nothing
    assert entries(behind) == [("PNG text parameters", "a cat"), ("PNG text Software", "late")]


def test_compressed_png_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("zipped", "x" * 5_000, zip=True)
    info.add_itxt("international", "žluťoučký", zip=True)
    assert entries(saved("PNG", pnginfo=info)) == [
        ("PNG text zipped", "x" * 5_000),
        ("PNG text international", "žluťoučký"),
    ]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_of_every_format_that_has_it(file_format):
    found = entries(saved(file_format, exif=exif(Make="Canon", Model="EOS R5", Software="1.2")))
    assert {("EXIF Make", "Canon"), ("EXIF Model", "EOS R5"), ("EXIF Software", "1.2")} <= set(found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"ASCII\0\0\0plain", "plain"),
        (bytes(8) + b"undefined\0\0", "undefined"),
        (b"UNICODE\0" + "größer".encode("utf-16-be"), "größer"),
        (b"UNICODE\0" + "größer".encode("utf-16-le"), "größer"),
        (b"without a code", "without a code"),
    ],
)
def test_exif_comments_in_every_encoding_in_use(value, text):
    assert entries(saved("JPEG", exif=user_comment(value))) == [("EXIF UserComment", text)]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("value", ["plain", b"UNICODE\0" + "plain".encode("utf-16-be")])
@pytest.mark.parametrize("beside", [True, False])
def test_exif_comments_of_programs_that_put_them_beside_the_camera_or_write_plain_text(
    file_format, value, beside
):
    made = exif(Make="Canon")
    (made if beside else made.get_ifd(0x8769))[0x9286] = value
    if file_format == "TIFF" and not beside:
        pytest.skip("Pillow writes no such part of a TIFF")
    assert ("EXIF UserComment", "plain") in entries(saved(file_format, exif=made))


def test_exif_text_that_is_no_ascii():
    data = saved("JPEG", exif=exif(Artist="Zoë".encode(), XPComment="größer".encode("utf-16-le")))
    assert entries(data) == [("EXIF Artist", "Zoë"), ("EXIF XPComment", "größer")]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_xmp_as_attribute_element_and_list(file_format):
    packet = xmp(
        "<photoshop:Credit>somebody</photoshop:Credit><dc:title>not asked for</dc:title>"
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">a view</rdf:li></rdf:Alt></dc:description>',
        f'Iptc4xmpExt:DigitalSourceType="{GENERATED}"',
    )
    if file_format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        data = saved("PNG", pnginfo=info)
    elif file_format == "TIFF":
        data = saved("TIFF", tiffinfo={700: packet})
    else:
        data = saved(file_format, xmp=packet)
    assert sorted(entries(data)) == [
        ("XMP Credit", "somebody"),
        ("XMP DigitalSourceType", GENERATED),
        ("XMP description", "a view"),
    ]


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{GENERATED}"/>', [GENERATED]),
        (f'<Iptc4xmpExt:DigitalSourceType rdf:value="{GENERATED}" xmp:by="me"/>', [GENERATED]),
        (
            '<Iptc4xmpExt:DigitalSourceType rdf:parseType="Resource">'
            f"<rdf:value>{GENERATED}</rdf:value><xmp:by>me</xmp:by></Iptc4xmpExt:DigitalSourceType>",
            [GENERATED],
        ),
        (
            "<Iptc4xmpExt:DigitalSourceType><rdf:Description>"
            f'<xmp:by>me</xmp:by><rdf:value rdf:resource="{GENERATED}"/>'
            "</rdf:Description></Iptc4xmpExt:DigitalSourceType>",
            [GENERATED],
        ),
        (
            "<dc:creator>\n <rdf:Seq>\n  <rdf:li> Tom\n</rdf:li><rdf:li>\n</rdf:li>"
            '<rdf:li rdf:resource="http://example.org/ann"/></rdf:Seq></dc:creator>',
            ["Tom", "http://example.org/ann"],
        ),
    ],
)
def test_every_way_in_which_xmp_writes_a_value(body, texts):
    assert [text for _, text in entries(saved("WEBP", xmp=xmp(body)))] == texts


PROPERTIES = """
    Iptc4xmpExt:DigitalSourceType Iptc4xmpExt:AISystemUsed Iptc4xmpExt:AIPromptInformation TC260:AIGC xmp:CreatorTool
    stEvt:softwareAgent photoshop:Credit photoshop:Source tiff:Make tiff:Model tiff:Software exif:UserComment
    dc:creator dc:description dcterms:provenance
"""


@pytest.mark.parametrize("name", PROPERTIES.split())
def test_every_property_that_may_name_an_origin_is_read(name):
    found = entries(saved("WEBP", xmp=xmp(f"<{name}>a name</{name}><dc:title>another</dc:title>")))
    assert found == [(f"XMP {name.partition(':')[2]}", "a name")]


@pytest.mark.parametrize("name", TAGS)
def test_every_tag_that_may_name_an_origin_is_read(name):
    text = "a name".encode("utf-16-le") if name.startswith("XP") else "a name"
    assert entries(saved("JPEG", exif=exif(**{name: text}))) == [(f"EXIF {name}", "a name")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_xmp_in_every_encoding_that_xml_readers_know(encoding):
    packet = xmp("<photoshop:Credit>Zoë</photoshop:Credit>").decode().encode(encoding)
    assert entries(saved("WEBP", xmp=packet)) == [("XMP Credit", "Zoë")]


def test_iptc_and_a_jpeg_comment():
    names = {65: "OriginatingProgram", 80: "By-line", 110: "Credit", 115: "Source", 120: "Caption"}
    datasets = [(2, number, f"a {name}".encode()) for number, name in {**names, 105: "headline"}.items()]
    data = with_iptc(saved("JPEG", comment=b"hello"), *datasets)
    told = [(f"IPTC {name}", f"a {name}") for name in names.values()]
    assert entries(data) == [("comment", "hello"), *told]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def test_every_comment_and_every_packet_of_xmp_in_a_jpeg():
    plain = saved("JPEG")
    packets = [xmp(f"<photoshop:Credit>{name}</photoshop:Credit>") for name in ("one", "two")]
    segments = [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet) for packet in packets]
    segments += [segment(0xFE, comment) for comment in (b"first", b"second")]
    assert entries(plain[:2] + b"".join(segments) + plain[2:]) == [
        ("comment", "first"),
        ("comment", "second"),
        ("XMP Credit", "two"),  # which other programs read
        ("XMP Credit", "one"),
    ]


def gif_comment(text: bytes, piece: int = 255) -> bytes:
    pieces = (text[at : at + piece] for at in range(0, len(text), piece))
    return b"!\xfe" + b"".join(bytes([len(part)]) + part for part in pieces) + b"\0"


def gif_xmp(packet: bytes) -> bytes:
    """As the XMP specification, part 3, has it."""
    return b"!\xff\x0bXMP DataXMP" + packet + b"\x01" + bytes(range(255, -1, -1)) + b"\0"


@pytest.mark.parametrize("behind", [False, True])
def test_the_texts_of_a_gif_before_and_behind_its_picture(behind):
    plain = saved("GIF")
    at = len(plain) - 1 if behind else plain.index(b",", 13 + 3 * 2 ** ((plain[10] & 7) + 1))
    packet = xmp("<photoshop:Credit>somebody</photoshop:Credit>")
    texts = gif_comment(b"long " * 100) + gif_xmp(packet) + gif_comment(b"second")
    data = plain[:at] + texts + plain[at:]
    told = [("comment", "long " * 100), ("comment", "second"), ("XMP Credit", "somebody")]
    assert entries(data) == told
    if behind:
        assert entries(data[:-1]) == told  # no end marker
    assert load_picture(data).width == 32


def raw_profile(kind: str, content: bytes) -> bytes:
    """As ImageMagick writes it."""
    lines = "\n".join(content.hex()[at : at + 72] for at in range(0, 2 * len(content), 72))
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {kind}", f"\n{kind}\n{len(content):8}\n{lines}\n", zip=True)
    return saved("PNG", pnginfo=info)


def test_the_raw_profiles_of_a_png():
    packet = xmp("<photoshop:Credit>somebody</photoshop:Credit>")
    iptc = b"\x1c\x02\x6e\0\x13Made with Google AI"
    resources = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    for kind, content, told in (
        ("xmp", packet, ("XMP Credit", "somebody")),
        ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + packet, ("XMP Credit", "somebody")),
        ("APP1", exif(Software="Midjourney").tobytes(), ("EXIF Software", "Midjourney")),
        ("exif", exif(Software="Midjourney").tobytes(), ("EXIF Software", "Midjourney")),
        ("iptc", resources, ("IPTC Credit", "Made with Google AI")),
    ):
        assert entries(raw_profile(kind, content))[1:] == [told], kind


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_without_tags_is_nothing_to_note(file_format):
    assert entries(saved(file_format, exif=exif())) == []


def test_a_picture_without_metadata_has_none():
    for file_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        assert entries(saved(file_format)) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (saved("JPEG", xmp=b"<x:xmpmeta><unclosed"), "XMP metadata not read"),
        (saved("JPEG", xmp=b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "XMP metadata not read"),
        (saved("WEBP", xmp=b"<a>" + b" " * (1 << 20) + b"</a>"), "at most 1,048,576 bytes"),
        (saved("JPEG", exif=b"Exif\0\0MM\0*\0\0"), "EXIF metadata not read"),
        (png(**{f"keyword {n}": "x" for n in range(250)}), "at most 200 entries"),
        (b"no picture", "another file"),
        (saved("PNG")[:60], "metadata not read"),
    ],
)
def test_what_cannot_be_read_becomes_a_note(data, told):
    found, notes = read_entries(data)
    assert len(found) <= 200
    assert len(notes) == 1
    assert told in notes[0]


def test_as_many_entries_as_are_read_are_no_fault():
    most, one_more = (
        read_entries(png(**{f"keyword {n}": "x" for n in range(count)})) for count in (200, 201)
    )
    assert (len(most[0]), most[1]) == (200, ())
    assert (len(one_more[0]), len(one_more[1])) == (200, 1)


def test_one_fault_does_not_hide_the_rest():
    data = with_iptc(saved("JPEG", xmp=b"<broken", exif=exif(Software="still here")), (2, 110, b"and this"))
    found, notes = read_entries(data)
    assert [entry.text for entry in found] == ["still here", "and this"]
    assert [note.partition(":")[0] for note in notes] == ["XMP metadata not read"]


def test_a_decompression_bomb_is_not_blown_up():
    bomb = zlib.compress(bytes(200_000_000), 9)
    data = saved("PNG")
    data = data[:-12] + chunk(b"zTXt", b"parameters\0\0" + bomb) + data[-12:]
    start = time.process_time()
    found, notes = read_entries(data)
    assert time.process_time() - start < 0.2  # the whole takes more than that to inflate
    assert found == ()
    assert len(notes) == 1


def test_a_colour_profile_that_is_larger_than_pillow_reads_hides_no_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat")
    data = saved("PNG", pnginfo=info, icc_profile=bytes(2_000_000))
    assert entries(data) == [("PNG text parameters", "a cat")]


def test_nothing_is_read_beyond_its_bounds():
    nested = "<photoshop:Credit>x" * 3_000 + "</photoshop:Credit>" * 3_000
    empty = "<photoshop:Credit>" * 24_000 + "</photoshop:Credit>" * 24_000
    blank = f"<photoshop:Credit>a{' ' * 60_000}b</photoshop:Credit>"
    chunks = saved("PNG")[:33] + chunk(b"teSt", b"") * 300_000 + saved("PNG")[33:]
    for data in (
        saved("WEBP", xmp=xmp(nested)),
        saved("WEBP", xmp=xmp(empty)),
        saved("WEBP", xmp=xmp(blank)),
        png(parameters="Steps: " * 500_000),
        chunks,
        saved("GIF")[:-1] + gif_comment(b"ab" * 3_000_000, 2) + b";",
        saved("JPEG", exif=user_comment(b"UNICODE\0" + b"\0a" * 30_000)),
    ):
        start = time.process_time()
        found, _ = read_entries(data)
        assert time.process_time() - start < 1
        assert all(len(entry.text) <= 65_536 for entry in found)


def test_it_costs_little_beside_decoding():
    noise = np.random.default_rng(5).integers(0, 256, (1500, 2000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(
        file, "JPEG", exif=exif(Make="Canon", Software="x"), xmp=xmp("<dc:creator>y</dc:creator>")
    )

    def seconds(function) -> float:
        taken = []
        for _ in range(3):
            start = time.process_time()
            function(file.getvalue())
            taken.append(time.process_time() - start)
        return min(taken)

    assert seconds(read_entries) < 0.1 * seconds(load_picture)


@given(st.text(st.characters(), max_size=400), st.integers(1, 80))
def test_printable_text_is_one_short_line_of_valid_unicode(text, longest):
    cleaned = printable(text, longest)
    assert len(cleaned) <= longest
    assert cleaned.isprintable()
    cleaned.encode("utf-8")
    assert cleaned == printable(cleaned, longest)


def test_what_could_harm_a_terminal_or_a_page_is_gone():
    assert printable("a\x1b[31mb\x00\u202ec\n\n d\ud800", 60) == "a [31mb c d?"
    assert printable("x" * 61, 60) == "x" * 59 + "…"


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]))
def test_damage_never_raises(junk, file_format):
    data = saved(file_format, exif=exif(Make="Canon"))
    middle = len(data) // 3
    for broken in (data[:middle] + junk + data[middle:], data[:8] + junk, junk + data, data[:middle] + junk):
        found, notes = read_entries(broken)
        assert all(isinstance(entry, Entry) for entry in found)
        assert all(note.isprintable() for note in notes)
