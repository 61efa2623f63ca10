"""What a picture's file says about its own origin, kept apart from what its pixels look like.

Anybody can easily remove such statements, and as easily write them, except for intact content credentials. So they change
no verdict, and their absence proves nothing.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from facefake.credentials import ContentCredentials, read_credentials
from facefake.metadata import Entry, read_entries
from facefake.reading import EncodedFile, ImageLimits, read_source
from facefake.traces import GRAVITY, Trace, find_traces

Claim = Literal["generated", "partly_generated", "captured", "edited", "nothing"]
CLAIMS: tuple[Claim, ...] = get_args(Claim)

_MOST_TRACES = 30
_CAUTION = "anybody can write or remove that"
_SAYS = {
    "generated": "says that its picture was generated",
    "partly_generated": "says that a part of its picture was generated",
    "captured": "names a camera or a scan",
    "edited": "says that its picture was edited",
    "other": "says about its picture's origin",
}
_IN_ITS_WORDS = ("captured", "other", "software")  # kinds of traces whose names are the file's own
_QUOTATION_MARK = re.compile('["“”„‟″]')


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a file says about its picture's origin.

    Attributes:
        content_credentials: signed statements (C2PA); None when the file has none.
        traces: what its other metadata say, without duplicates, at most 30, generators first and software last.
        notes: which of its metadata could not be read, one sentence each.
    """

    content_credentials: ContentCredentials | None = None
    traces: tuple[Trace, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def claim(self) -> Claim:
        """The most serious thing that the file says about how its picture came about.

        "nothing" is not evidence of anything, and there may be traces of the kind "other" all the same.
        """
        kinds = {trace.kind for trace in self._believed()}
        return next((claim for claim in CLAIMS if claim in kinds), "nothing")

    @property
    def is_silent(self) -> bool:
        """Whether the file says nothing at all, as most do."""
        return not self.traces and self.content_credentials is None

    @property
    def summary(self) -> str:
        """A few plain English sentences for a person."""
        return " ".join(filter(None, (_of_credentials(self.content_credentials), self._of_traces())))

    def _believed(self) -> tuple[Trace, ...]:
        credentials = self.content_credentials
        signed = credentials.traces if credentials is not None and credentials.state != "invalid" else ()
        return signed + self.traces

    def _of_traces(self) -> str:
        claim = self.claim
        kinds = (claim,) if claim in ("generated", "partly_generated") else ("captured", "edited", "other")
        sentences = []
        for kind in kinds:
            if told := [trace for trace in self._believed() if trace.kind == kind]:
                caution = f"; {_CAUTION}" if any(trace in self.traces for trace in told) else ""
                sentences.append(f"The file {_SAYS[kind]}: {_listed(told)}{caution}.")
        if sentences:
            return " ".join(sentences)
        software = [trace for trace in self._believed() if trace.kind == "software"]
        if software:
            # Metadata that could not be read, or are not believed, may name a camera.
            no_camera = "" if self.notes or self.content_credentials else ", and no camera"
            return f"The file names the software that wrote it, {_listed(software)}{no_camera}."
        if self.content_credentials is not None:
            return ""
        read = "What could be read of the file's metadata" if self.notes else "The file"
        return f"{read} does not say where it comes from."

    def to_dict(self) -> dict[str, Any]:
        """The provenance as JSON-ready values."""
        credentials = self.content_credentials
        return {
            "claim": self.claim,
            "summary": self.summary,
            "content_credentials": None if credentials is None else credentials.to_dict(),
            "traces": [trace.to_dict() for trace in self.traces],
            "notes": list(self.notes),
        }


def read_provenance(
    source: bytes | bytearray | memoryview | str | os.PathLike[str] | EncodedFile,
    limits: ImageLimits | None = None,
) -> Provenance:
    """What a picture's file says about its origin. The pixels are not decoded, and nothing is fetched.

    Args:
        source: the bytes of the file (also a bytearray or memoryview), its path, or what `reading.read_source` returned.
        limits: how large a file may be; None for the default limits.

    Raises:
        ImageError: the file cannot be read. Faults in its metadata become notes instead.
        TypeError: the source is none of these.
    """
    if not isinstance(source, (str, bytes, bytearray, memoryview, os.PathLike, EncodedFile)):
        raise TypeError(f"expected a path or the bytes of a file, got a {type(source).__name__}")
    file = read_source(source, limits or ImageLimits())
    assert isinstance(file, EncodedFile)
    entries, notes = read_entries(file.data)
    credentials = read_credentials(file.data)
    if credentials is None and any(map(_is_link, entries)):
        credentials = ContentCredentials("remote")
    traces = list(find_traces(entries))
    traces.sort(key=lambda trace: GRAVITY[trace.kind])
    return Provenance(credentials, tuple(dict.fromkeys(traces))[:_MOST_TRACES], notes)


def _is_link(entry: Entry) -> bool:
    # Museums use this field for a work's owners; and the address of credentials since removed from the file has no host.
    address = entry.text.casefold().startswith(("http://", "https://"))
    return address and (entry.standard, entry.name) == ("XMP", "provenance")


def _of_credentials(credentials: ContentCredentials | None) -> str:
    if credentials is None:
        return ""
    if credentials.state == "remote":
        return "The file refers to content credentials stored elsewhere; they were not fetched."
    if credentials.state == "unchecked":
        why = f": {credentials.problems[0]}" if credentials.problems else ""
        return f"The file has content credentials that were not checked{why}."
    name = credentials.issuer or credentials.signer
    by = f"signed as {_quoted(name) if name else 'somebody unnamed'}"
    if credentials.state == "invalid":
        # An expired certificate, for example, does not mean that the file was changed.
        changed = [code for code in credentials.problems if code.endswith(".mismatch")]
        why = "".join(f" ({code})" for code in (changed or credentials.problems)[:1])
        if not changed:
            return f"The file has content credentials, {by}, that are not valid{why}."
        return (
            f"The file has content credentials, {by}, that do not match it{why}: "
            "it has been changed since, or they were forged."
        )
    trust = "" if credentials.state == "trusted" else ", though nobody vouches for that name"
    return f"The file has intact content credentials, {by}{trust}."


def _listed(traces: list[Trace]) -> str:
    shown = list(dict.fromkeys(f"{_name(trace)} ({trace.place})" for trace in traces))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _name(trace: Trace) -> str:
    return _quoted(trace.name) if trace.kind in _IN_ITS_WORDS else trace.name


def _quoted(words: str) -> str:
    """Untrusted words in quotation marks that they cannot close, lest they go on as if they were ours."""
    return "“" + _QUOTATION_MARK.sub("'", words) + "”"
