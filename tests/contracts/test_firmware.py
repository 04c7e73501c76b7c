"""The examples for firmware and apps are what they say: bytes of the golden frames from C."""

import json
import subprocess
from pathlib import Path

import pytest

from dataflows.contracts import vitals_pb2 as pb
from tests.contracts.vectors import FOLDER

EXAMPLES = Path(__file__).parents[2] / "docs" / "firmware"
BODIES = {"waveform", "observations"}


def described():
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    return {name: one for name, one in found.items() if BODIES & set(one["frame"]) and name != "unknown_field"}


def frame_of(name):
    return pb.Frame.FromString(bytes.fromhex((FOLDER / f"{name}.hex").read_text()))


def as_c(name, samples):
    """A function that builds a golden frame from its described fields."""
    frame = frame_of(name)
    head = (
        f'vitals_frame frame = {{"{frame.tenant}", "{frame.patient}", "{frame.device}", {frame.boot_id}u, '
        f"{frame.signal}, {frame.seq}u, {frame.first_sample}u, {frame.device_ns}, "
        f"{int(frame.stored)}, (float){frame.averaging_s!r}}};"
    )
    if frame.WhichOneof("body") == "waveform":
        wave = frame.waveform
        body = (
            f"int16_t samples[] = {{{', '.join(map(str, samples))}}};"
            f"vitals_waveform body = {{{wave.fs_mhz}, {wave.lsb!r}, samples, {len(samples)}, {wave.status}, "
            f"{wave.duration_ms}}};"
        )
        call = "vitals_encode_waveform(out, size, &frame, &body)"
    else:
        items = ", ".join(
            f"{{{i.code}, {i.value!r}, {i.unit}, {i.quality_pct}, {i.offset_ms}, {i.status}}}"
            for i in frame.observations.items
        )
        body = f"vitals_observation items[] = {{{items}}};"
        call = f"vitals_encode_observations(out, size, &frame, items, {len(frame.observations.items)})"
    return f"static size_t {name}(uint8_t *out, size_t size) {{ {head} {body} return {call}; }}\n"


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Name: what C made of it, in a buffer that fits, and whether a buffer that is a byte too small was left alone."""
    folder, vectors = tmp_path_factory.mktemp("firmware"), described()
    source = '#include "vitals_frame.h"\n#include <stdio.h>\n#include <string.h>\n'
    source += "".join(as_c(name, one.get("samples", [])) for name, one in vectors.items())
    source += """
static void show(const char *name, size_t (*encode)(uint8_t *, size_t)) {
    static uint8_t out[65536];
    memset(out, 0xAA, sizeof out);
    size_t size = encode(NULL, 0), small = encode(out, size - 1);
    printf("%s %d ", name, small == size && out[size - 1] == 0xAA);
    encode(out, size);
    for (size_t n = 0; n < size; n++) printf("%02x", out[n]);
    printf("\\n");
}
int main(void) {
"""
    source += "".join(f'    show("{name}", {name});\n' for name in vectors) + "    return 0;\n}\n"
    (folder / "main.c").write_text(source)
    program = folder / "frames"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O1"]
    checked = ["-fsanitize=undefined", "-fno-sanitize-recover"]
    main, encoder = str(folder / "main.c"), str(EXAMPLES / "vitals_frame.c")
    command = ["cc", *strict, *checked, f"-I{EXAMPLES}", main, encoder, "-o", str(program)]
    subprocess.run(command, check=True)
    lines = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.split("\n")
    return {name: (safe, text) for name, safe, text in (line.split() for line in lines if line)}


@pytest.mark.parametrize("name", described())
def test_c_writes_the_golden_frame_and_nothing_beyond_its_buffer(encoded, name):
    safe, text = encoded[name]
    assert safe == "1"
    assert text == frame_of(name).SerializeToString(deterministic=True).hex()
    assert text == "".join((FOLDER / f"{name}.hex").read_text().split())
