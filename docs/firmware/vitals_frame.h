/* Frames of vitals.proto for firmware: C99, no allocation, no library but libc. Waveforms and readings.
 *
 * Bytes are those of the golden frames (tests/vectors): fields in the order of their numbers, defaults left out.
 * tests/contracts/test_firmware.py compiles this and compares. */
#ifndef VITALS_FRAME_H
#define VITALS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A few of the numbers of vitals.proto; the file has all of them. */
enum { VITALS_ECG_II = 2, VITALS_PLETH = 32, VITALS_RESP = 48, VITALS_ABP = 64, VITALS_NUMERIC = 96 };
enum { VITALS_LEAD_OFF = 1, VITALS_MOTION = 2, VITALS_PACED = 4 };
enum { VITALS_INVALID_SAMPLE = -32768 };

/* Whose frame it is and where it stands; a frame sent again has the same bytes. */
typedef struct {
    const char *tenant;    /* "" means main */
    const char *patient;   /* pseudonym */
    const char *device;
    uint64_t boot_id;      /* grows with each start: keep it in flash */
    uint32_t signal;
    uint64_t seq;          /* frames of this boot and signal, from 0 */
    uint64_t first_sample; /* samples or observations before this frame */
    int64_t device_ns;     /* clock of the first sample, UTC, ns since 1970 */
    bool stored;           /* kept and sent later */
    float averaging_s;     /* 0: unknown */
} vitals_frame;

typedef struct {
    uint32_t fs_mhz; /* 250 Hz is 250000 */
    double lsb;      /* physical units a count */
    const int16_t *samples;
    size_t n_samples;
    uint32_t status;
    uint32_t duration_ms; /* 0: unsaid */
} vitals_waveform;

typedef struct {
    uint32_t code;
    double value;
    uint32_t unit;
    uint32_t quality_pct; /* 0: unsaid */
    uint32_t offset_ms;   /* after device_ns */
    uint32_t status;
} vitals_observation;

/* Write a frame to out and return its size in bytes, at most 65536. A return above `size` means that out was too
 * small and holds nothing of use; with out NULL and size 0 only the size is computed. */
size_t vitals_encode_waveform(uint8_t *out, size_t size, const vitals_frame *frame, const vitals_waveform *body);
size_t vitals_encode_observations(uint8_t *out, size_t size, const vitals_frame *frame,
                                  const vitals_observation *items, size_t n_items);

#endif
