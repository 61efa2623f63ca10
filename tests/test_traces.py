from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from facefake.metadata import Entry, read_entries
from facefake.traces import Trace, find_traces, generator_named, source_type

WEB_UI = (
    "a portrait\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
)
COMFY = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1}}})
JOB = "an old man --ar 3:2 --v 6.1 Job ID: 5c3f9d1e-1111-2222-3333-444455556666"


def found(standard: str, name: str, text: str) -> list[tuple[str, str]]:
    return [(trace.kind, trace.name) for trace in find_traces([Entry(standard, name, text)])]


@pytest.mark.parametrize(
    ("standard", "name", "text", "generator"),
    [
        ("PNG text", "parameters", WEB_UI, "Stable Diffusion"),
        ("EXIF", "UserComment", WEB_UI, "Stable Diffusion"),
        ("comment", "", WEB_UI, "Stable Diffusion"),
        ("PNG text", "prompt", COMFY, "ComfyUI"),
        ("PNG text", "workflow", '{"id": "x", "last_node_id": 9, "nodes": []}', "ComfyUI"),
        ("PNG text", "parameters", '{"sui_image_params": {"prompt": "a"}}', "SwarmUI"),
        ("PNG text", "invokeai_metadata", "{}", "InvokeAI"),
        ("PNG text", "sd-metadata", "{}", "InvokeAI"),
        ("PNG text", "Dream", '"a cat" -s 50', "InvokeAI"),
        ("PNG text", "Software", "NovelAI", "NovelAI"),
        ("PNG text", "Title", "NovelAI generated image", "NovelAI"),
        ("PNG text", "Comment", '{"prompt": "x", "uncond_scale": 0.0}', "NovelAI"),
        ("EXIF", "UserComment", json.dumps({"Comment": '{"prompt": "x", "v4_prompt": {}}'}), "NovelAI"),
        ("EXIF", "UserComment", json.dumps({"prompt": COMFY}), "ComfyUI"),
        ("EXIF", "UserComment", json.dumps({"workflow": '{"last_node_id": 9, "nodes": []}'}), "ComfyUI"),
        ("PNG text", "fooocus_scheme", "fooocus", "Fooocus"),
        ("PNG text", "generation_data", "{}", "Tensor.Art"),
        ("PNG text", "smproj", "{}", "Stability Matrix"),
        ("PNG text", "Description", JOB, "Midjourney"),
        ("XMP", "description", JOB, "Midjourney"),
        ("EXIF", "ImageDescription", JOB, "Midjourney"),
        ("EXIF", "Software", "AI generated;txt2img;flux", "Flux"),
        ("XMP", "CreatorTool", "Draw Things", "Draw Things"),
        ("XMP", "CreatorTool", "Adobe Firefly", "Adobe Firefly"),
        ("XMP", "AISystemUsed", "DALL-E via Bing Image Creator", "OpenAI"),
        ("XMP", "CreatorTool", "Image Creator from Microsoft Designer", "Microsoft"),
        ("XMP", "AISystemUsed", "Some Model of Ours", "Some Model of Ours"),
        ("XMP", "Credit", "Made with Google AI", "Google AI"),
        ("IPTC", "Credit", "Made with Google AI", "Google AI"),
        ("PNG text", "Software", "OpenAI DALL·E 3", "OpenAI"),
        ("EXIF", "Artist", "Midjourney", "Midjourney"),
        ("EXIF", "Artist", " DALL·E 3 ", "OpenAI"),
        ("XMP", "creator", "Midjourney v6.1", "Midjourney"),
        ("IPTC", "Credit", "Imagined with AI.", "Meta AI"),
        ("PNG text", "Source", "Stable Diffusion XL 7BCCAA2C", "Stable Diffusion"),
        ("EXIF", "UserComment", "a cat\nSteps: 30, Version: Fooocus v2.5.5", "Fooocus"),
        ("EXIF", "UserComment", '{"prompt": "a cat", "version": "Fooocus v2.5.5"}', "Fooocus"),
        (
            "EXIF",
            "UserComment",
            '{"prompt": "a cat", "use_stable_diffusion_model": "sd-v1-5"}',
            "Easy Diffusion",
        ),
        ("PNG text", "invokeai_graph", "{}", "InvokeAI"),
        ("PNG text", "invokeai_workflow", "{}", "InvokeAI"),
        ("PNG text", "Make", "Black Forest Labs", "Flux"),
        ("PNG text", "Author", "Midjourney", "Midjourney"),
        ("IPTC", "By-line", "Midjourney", "Midjourney"),
        ("IPTC", "Source", "Midjourney", "Midjourney"),
        ("IPTC", "OriginatingProgram", "ComfyUI 0.3", "ComfyUI"),
        ("XMP", "softwareAgent", "InvokeAI 5", "InvokeAI"),
        ("XMP", "CreatorTool", "Fooocus 2", "Fooocus"),
        ("XMP", "CreatorTool", "ideogram.ai", "Ideogram"),
        ("XMP", "CreatorTool", "Leonardo.Ai", "Leonardo"),
        ("XMP", "CreatorTool", "Recraft V3", "Recraft"),
        ("XMP", "CreatorTool", "xAI Grok", "xAI Grok"),
    ],
)
def test_generators_are_known_by_their_marks(standard, name, text, generator):
    assert found(standard, name, text) == [("generated", generator)]


@pytest.mark.parametrize(
    ("standard", "name", "text"),
    [
        # A caption may speak of anything.
        (
            "EXIF",
            "ImageDescription",
            "The head of OpenAI at the Midjourney exhibition, made with Stable Diffusion",
        ),
        ("PNG text", "Description", "Steps: up to the church"),
        ("EXIF", "ImageDescription", "Midjourney"),
        ("XMP", "description", "Generative Fill"),
        ("XMP", "description", "Job ID: 42"),
        ("IPTC", "Caption", "ComfyUI users meet"),
        ("EXIF", "ImageDescription", "A slide of the talk on Fooocus v2"),
        ("EXIF", "ImageDescription", "How Generative Fill came about"),
        # A company has photographs too.
        ("IPTC", "Credit", "Handout / OpenAI"),
        ("IPTC", "Credit", "OpenAI"),
        ("XMP", "Credit", "Stability AI."),
        ("IPTC", "Credit", "Black Forest Labs"),
        ("IPTC", "Source", "Stability AI press office"),
        ("XMP", "Source", "Photo from the launch of Generative Fill"),
        # A person may be called much.
        ("EXIF", "Artist", "Claire Dalle"),
        ("EXIF", "Artist", "Flux 2 Studio Photography"),
        ("EXIF", "Artist", "Tom Recraft"),
        ("IPTC", "By-line", "Leonardo Rossi"),
        ("XMP", "creator", "Imogen Flux"),
        ("PNG text", "Title", "Dreamstone, by Sora Ito"),
        ("PNG text", "Title", "Chinese ideogram for peace"),
        ("PNG text", "Title", "Interview: Midjourney and the law"),
        ("PNG text", "Model", "sd_xl_base_1.0"),
        # Not written by a generator.
        ("EXIF", "UserComment", "ASCII"),
        ("PNG text", "prompt", "Say cheese"),
        ("PNG text", "workflow", "scan, crop, sharpen"),
        ("XMP", "dream", "of a house by the sea"),
        ("EXIF", "UserComment", '{"Label": "1", "ContentProducer": "a record company"}'),
        ("XMP", "AISystemUsed", "None"),
        ("XMP", "AISystemUsed", "N/A"),
        ("XMP", "AISystemUsed", "No."),
        ("XMP", "AISystemUsed", "no AI"),
        ("XMP", "AISystemUsed", "Not used"),
        ("XMP", "AISystemUsed", "Not applicable."),
        ("XMP", "AISystemUsed", "-"),
    ],
)
def test_other_texts_are_not_taken_for_marks(standard, name, text):
    assert found(standard, name, text) == []


def test_partly_generated_and_software():
    assert found("XMP", "Credit", "Edited with Google AI") == [("partly_generated", "Edited with Google AI")]
    assert found("XMP", "softwareAgent", "Photoshop Generative Fill 1.0") == [
        ("partly_generated", "Photoshop Generative Fill 1.0")
    ]
    assert found("EXIF", "Software", "GIMP 2.10") == [("software", "GIMP 2.10")]
    assert found("XMP", "softwareAgent", "Adobe Photoshop 25.0") == [("software", "Adobe Photoshop 25.0")]
    assert found("XMP", "CreatorTool", "Microsoft Designer") == [("software", "Microsoft Designer")]
    assert found("IPTC", "OriginatingProgram", "Photo Mechanic") == [("software", "Photo Mechanic")]


def test_what_says_nothing_hides_nothing_that_follows():
    traces = find_traces([Entry("EXIF", "Artist", " \n"), Entry("EXIF", "Software", "GIMP 2.10")])
    assert [trace.name for trace in traces] == ["GIMP 2.10"]


def test_the_system_that_generated_a_part():
    system = Entry("XMP", "AISystemUsed", "Adobe Firefly")
    part = Entry("XMP", "DigitalSourceType", "compositeWithTrainedAlgorithmicMedia")
    program = Entry("EXIF", "Software", "NovelAI")
    assert [(t.kind, t.name) for t in find_traces([system, part, program])] == [
        ("partly_generated", "Adobe Firefly"),
        ("partly_generated", "compositeWithTrainedAlgorithmicMedia"),
        ("generated", "NovelAI"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DigitalSourceType", "trainedAlgorithmicMedia"),
        ("description", "compositeWithTrainedAlgorithmicMedia"),  # a caption may be anything
    ],
)
def test_the_system_that_generated_all_of_it(name, text):
    system, *_ = find_traces([Entry("XMP", "AISystemUsed", "Adobe Firefly"), Entry("XMP", name, text)])
    assert (system.kind, system.name) == ("generated", "Adobe Firefly")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia", "generated", "trainedAlgorithmicMedia"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia/", "generated", "trainedAlgorithmicMedia"),
        ("trainedalgorithmicmedia", "generated", "trainedAlgorithmicMedia"),
        ("digsrctype:compositeWithTrainedAlgorithmicMedia", "partly_generated", "compositeWithTrainedAlgorithmicMedia"),
        ("http://c2pa.org/digitalsourcetype/trainedAlgorithmicData", "other", "trainedAlgorithmicData"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture", "captured", "digitalCapture"),
        ("algorithmicallyEnhanced", "edited", "algorithmicallyEnhanced"),
        ("compositeSynthetic", "partly_generated", "compositeSynthetic"),
        ("computationalCapture", "captured", "computationalCapture"),
        ("negativeFilm", "captured", "negativeFilm"),
        ("positiveFilm", "captured", "positiveFilm"),
        ("print", "captured", "print"),
        ("humanEdits", "edited", "humanEdits"),
        ("minorHumanEdits", "edited", "minorHumanEdits"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/compositeCapture", "other", "compositeCapture"),
        ("", "other", ""),
    ],
)  # fmt: skip
def test_source_types(text, kind, name):
    trace = source_type(text, "XMP DigitalSourceType")
    assert (trace.kind, trace.name) == (kind, name)
    assert found("XMP", "DigitalSourceType", text) == ([(kind, name)] if text else [])


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 15 Pro", "Apple iPhone 15 Pro"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D800", "NIKON D800"),
        ("Meta AI", "Ray-Ban Meta Smart Glasses", "Meta AI Ray-Ban Meta Smart Glasses"),
    ],
)
def test_cameras_have_one_name(make, model, camera):
    for standard in ("EXIF", "XMP"):
        traces = list(find_traces([Entry(standard, "Make", make), Entry(standard, "Model", model)]))
        assert traces == [Trace("captured", camera, f"{standard} Make and Model", camera)]


def test_a_generator_in_the_place_of_the_camera():
    """Flux names itself as the make, and ComfyUI's WebP files hold the workflow there."""
    flux = [Entry("EXIF", "Make", "Black Forest Labs"), Entry("EXIF", "Model", "flux-dev")]
    comfy = [Entry("EXIF", "Make", 'workflow:{"last_node_id": 9}'), Entry("EXIF", "Model", f"prompt:{COMFY}")]
    assert [(t.kind, t.name) for t in find_traces(flux)] == [("generated", "Flux")]
    assert [(t.kind, t.name) for t in find_traces(comfy)] == [("generated", "ComfyUI")]


@pytest.mark.parametrize(
    ("standard", "name", "text", "expected"),
    [
        (
            "XMP",
            "AIGC",
            '{"Label": "1", "ContentProducer": "doubao"}',
            [("generated", "AIGC label of doubao")],
        ),
        ("EXIF", "UserComment", '{"AIGC": {"Label": 1}}', [("generated", "AIGC label")]),
        (
            "XMP",
            "AIGC",
            '{"Label": "2", "ContentProducer": "X"}',
            [("other", "possibly generated, AIGC label of X")],
        ),
        ("PNG text", "AIGC", '{"Label": "3"}', [("other", "suspected of being generated, AIGC label")]),
        ("PNG text", "AIGC", '{"Label": "0"}', [("other", "label 0, AIGC label")]),
        ("XMP", "AIGC", '{"Label": "1", "ContentProducer": 5}', [("generated", "AIGC label")]),
        ("XMP", "AIGC", '{"Label": "1", "ContentProducer": ""}', [("generated", "AIGC label")]),
        ("XMP", "AIGC", '{"ContentProducer": "X"}', []),
        ("XMP", "AIGC", '{"Label"', []),
        ("XMP", "AIGC", '"AIGC"', []),
        ("XMP", "AIGC", "[" * 60_000, []),
        ("EXIF", "UserComment", '{"AIGC": 3}', []),
    ],
)
def test_the_label_that_china_prescribes(standard, name, text, expected):
    assert found(standard, name, text) == expected


@given(
    st.lists(
        st.builds(
            Entry,
            st.sampled_from(["EXIF", "XMP", "PNG text"]),
            st.sampled_from(["Make", "Model", "Software", "AIGC", "DigitalSourceType", "parameters", "Artist"]),
            st.text(st.characters(), max_size=50) | st.sampled_from([WEB_UI, COMFY, JOB, "OpenAI\x1b[2J\ud800"]),
        )
    )
)  # fmt: skip
def test_whatever_stands_there_the_traces_are_fit_to_print(entries):
    for trace in find_traces(entries):
        record = trace.to_dict()
        assert record["name"] == trace.name
        for text in record.values():
            assert text.isprintable()
            assert len(text) <= 160
            text.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["a" * 65_536, "Steps: 1, " * 6_554, '"class_type":' * 5_000, "1" * 65_536, " " * 65_536]
)
def test_no_text_takes_long_to_search(text):  # fmt: skip
    start = time.process_time()
    for name in ("Software", "UserComment", "Make", "Artist"):
        list(find_traces([Entry("EXIF", name, text)]))
    assert time.process_time() - start < 0.5


def test_a_whole_file():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", WEB_UI)
    exif = Image.Exif()
    exif[305] = "GIMP 2.10"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info, exif=exif)
    traces = list(find_traces(read_entries(file.getvalue())[0]))
    assert [(t.kind, t.name, t.place) for t in traces] == [
        ("generated", "Stable Diffusion", "PNG text parameters"),
        ("software", "GIMP 2.10", "EXIF Software"),
    ]
    assert traces[0].excerpt.startswith("a portrait Negative prompt: blurry Steps: 20")


def test_names_of_generators():
    assert generator_named("ChatGPT") == "OpenAI"
    assert generator_named("gpt-image-1") == "OpenAI"
    assert generator_named("Adobe Photoshop") is None
