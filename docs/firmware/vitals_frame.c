#include "vitals_frame.h"

#include <string.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* Counts every byte and keeps those that fit, so that a size can be had before anything is written. */
typedef struct {
    uint8_t *out;
    size_t size, length;
} writer;

static void put(writer *to, uint8_t byte) {
    if (to->length < to->size) to->out[to->length] = byte;
    to->length++;
}

static void varint(writer *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put(to, (uint8_t)(value | 0x80));
    put(to, (uint8_t)value);
}

static void key(writer *to, uint32_t field, uint32_t wire) { varint(to, (uint64_t)field << 3 | wire); }

static void little_endian(writer *to, uint64_t value, int bytes) {
    for (int n = 0; n < bytes; n++) put(to, (uint8_t)(value >> 8 * n));
}

/* Fields of proto3 that hold their default are not written. */
static void uint_field(writer *to, uint32_t field, uint64_t value) {
    if (value) key(to, field, VARINT), varint(to, value);
}

static void fixed64_field(writer *to, uint32_t field, uint64_t bits) {
    if (bits) key(to, field, FIXED64), little_endian(to, bits, 8);
}

static void double_field(writer *to, uint32_t field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    fixed64_field(to, field, bits);
}

static void float_field(writer *to, uint32_t field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits) key(to, field, FIXED32), little_endian(to, bits, 4);
}

static void text_field(writer *to, uint32_t field, const char *text) {
    size_t length = text ? strlen(text) : 0;
    if (!length) return;
    key(to, field, BYTES), varint(to, length);
    for (size_t n = 0; n < length; n++) put(to, (uint8_t)text[n]);
}

static void head(writer *to, const vitals_frame *frame) {
    uint_field(to, 1, 1); /* version */
    text_field(to, 2, frame->tenant);
    text_field(to, 3, frame->patient);
    text_field(to, 4, frame->device);
    uint_field(to, 5, frame->boot_id);
    uint_field(to, 6, frame->signal);
    uint_field(to, 7, frame->seq);
    uint_field(to, 8, frame->first_sample);
    fixed64_field(to, 9, (uint64_t)frame->device_ns);
    uint_field(to, 10, frame->stored);
    float_field(to, 11, frame->averaging_s);
}

static void waveform(writer *to, const vitals_waveform *body) {
    uint_field(to, 1, body->fs_mhz);
    double_field(to, 2, body->lsb);
    if (body->n_samples) {
        key(to, 3, BYTES), varint(to, 2 * (uint64_t)body->n_samples);
        for (size_t n = 0; n < body->n_samples; n++) little_endian(to, (uint16_t)body->samples[n], 2);
    }
    uint_field(to, 4, body->status);
    uint_field(to, 5, body->duration_ms);
}

static void observation(writer *to, const vitals_observation *item) {
    uint_field(to, 1, item->code);
    double_field(to, 2, item->value);
    uint_field(to, 3, item->unit);
    uint_field(to, 4, item->quality_pct);
    uint_field(to, 5, item->offset_ms);
    uint_field(to, 6, item->status);
}

static void observations(writer *to, const vitals_observation *items, size_t n_items) {
    for (size_t n = 0; n < n_items; n++) {
        writer count = {NULL, 0, 0};
        observation(&count, &items[n]);
        key(to, 1, BYTES), varint(to, count.length);
        observation(to, &items[n]);
    }
}

size_t vitals_encode_waveform(uint8_t *out, size_t size, const vitals_frame *frame, const vitals_waveform *body) {
    writer count = {NULL, 0, 0}, to = {out, size, 0};
    waveform(&count, body);
    head(&to, frame);
    key(&to, 16, BYTES), varint(&to, count.length);
    waveform(&to, body);
    return to.length;
}

size_t vitals_encode_observations(uint8_t *out, size_t size, const vitals_frame *frame,
                                  const vitals_observation *items, size_t n_items) {
    writer count = {NULL, 0, 0}, to = {out, size, 0};
    observations(&count, items, n_items);
    head(&to, frame);
    key(&to, 17, BYTES), varint(&to, count.length);
    observations(&to, items, n_items);
    return to.length;
}
