/*
 * text.h - builds texts without printf, which a signal handler may not call.
 *
 * Invariant: a text ends with a null byte, and is cut where the buffer is full.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The initial value is {.length = 0}. */
struct text {
    size_t length;
    char bytes[512];
};

static inline void text_add_byte(struct text *text, char byte)
{
    if (text->length + 1 < sizeof text->bytes) {
        text->bytes[text->length++] = byte;
        text->bytes[text->length] = '\0';
    }
}

static inline void text_add(struct text *text, const char *added)
{
    size_t length = strlen(added), room = sizeof text->bytes - 1 - text->length;
    length = length < room ? length : room;
    memcpy(text->bytes + text->length, added, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

/* Adds a number in base 10 or 16, with zeros in front up to `least` digits. */
static inline void text_add_digits(struct text *text, uint64_t number, unsigned base, int least)
{
    enum { MOST_DIGITS = 20 };
    char digits[MOST_DIGITS];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0 || count < least);
    while (count > 0) {
        text_add_byte(text, digits[--count]);
    }
}

static inline void text_add_number(struct text *text, uint64_t number)
{
    text_add_digits(text, number, 10, 1);
}

/* Adds a number of thousandths as a decimal number with three digits behind the point. Negative
   numbers become 0. */
static inline void text_add_thousandths(struct text *text, int64_t thousandths)
{
    uint64_t number = thousandths < 0 ? 0 : (uint64_t)thousandths;
    text_add_number(text, number / 1000);
    text_add_byte(text, '.');
    text_add_digits(text, number % 1000, 10, 3);
}

static inline void text_add_address(struct text *text, uint64_t address)
{
    text_add(text, "0x");
    text_add_digits(text, address, 16, 1);
}

#endif
