/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzers have in common: reading choices from the fuzzer's bytes.
 *
 * An input is a list of steps, each a byte that says what and some bytes of
 * arguments, taken from the front: an input's beginning means the same
 * whatever follows, which is what libFuzzer's mutations work well with. Every
 * input means something; where it ends, everything is zero.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Input {
    const uint8_t *data;
    size_t size;
} Input;

static inline uint8_t input_u8(Input *in)
{
    if (in->size == 0) {
        return 0;
    }
    in->size--;
    return *in->data++;
}

static inline uint16_t input_u16(Input *in)
{
    uint16_t low = input_u8(in);

    return low | input_u8(in) << 8;
}

static inline uint32_t input_u32(Input *in)
{
    uint32_t low = input_u16(in);

    return low | (uint32_t) input_u16(in) << 16;
}

/* A length, and so many bytes; returns how many there are. */
static inline size_t input_bytes(Input *in, const uint8_t **bytes)
{
    size_t size = input_u8(in);

    if (size > in->size) {
        size = in->size;
    }
    *bytes = in->data;
    in->data += size;
    in->size -= size;
    return size;
}

/* What must hold, whatever the other side sends. */
#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
                    #condition);                                             \
            abort();                                                         \
        }                                                                    \
    } while (0)

#endif
