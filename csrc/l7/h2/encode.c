#include "encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../forward.h"
#include "../syntax.h"

enum { BESIDE_FIELDS = 1024 }; /* status, length, date, cookie, via */

uint32_t lb_h2_response_bytes(const struct lb_message *message, const struct lb_h2_edits *edits)
{
    return message->head.bytes + message->head.field_count * LB_HPACK_WRITE_ROOM + BESIDE_FIELDS +
           (edits->edited ? lb_h2_trailers_bytes(LB_EDITS_BYTES) : 0);
}

static char *lower(char *room, const char *name, uint32_t length)
{
    lb_lower_letters(room, name, length);
    return room;
}

#define SAYS(text) (memcmp(name, text, sizeof(text) - 1) == 0)

/* What differs from response to response would only push others out of the table. */
static enum lb_hpack_keeping keeping_of(const char *name, uint32_t length)
{
    int changes = 0;
    switch (length) {
    case 3:
        changes = SAYS("age");
        break;
    case 4:
        changes = SAYS("etag");
        break;
    case 8:
        changes = SAYS("location");
        break;
    case 10:
        return SAYS("set-cookie") ? LB_HPACK_SECRET : LB_HPACK_REMEMBER;
    case 11:
        changes = SAYS("traceparent");
        break;
    case 12:
        changes = SAYS("x-request-id");
        break;
    case 13:
        changes = SAYS("content-range") || SAYS("last-modified");
        break;
    case 14:
        changes = SAYS("content-length");
        break;
    }
    return changes ? LB_HPACK_FORGET : LB_HPACK_REMEMBER;
}

static uint8_t *put(uint8_t *out, struct lb_hpack_writer *writer, const char *name, uint32_t length, const char *value,
                    uint32_t value_length)
{
    return lb_hpack_write(writer, out, name, length, value, value_length, keeping_of(name, length));
}

#define PUT(out, writer, name, value, length) put(out, writer, name, (uint32_t)sizeof(name) - 1, value, length)

/* As h1/encode.c: leave_in_response. */
static int is_left_out(const struct lb_message *message, const char *bytes, const struct lb_field *field)
{
    uint16_t status = message->head.status;
    if (field->known == LB_UPGRADE ||
        (status == 101 && lb_same_word(bytes + field->name.at, field->name.length, "sec-websocket-accept", 20)))
        return 1; /* RFC 8441 5: the latter is not said */
    if (field->known == LB_CONTENT_LENGTH)
        return status < 200 || status == 204 || message->length_anew;
    return (field->known != LB_OTHER || message->nominated_count) && lb_message_is_hop_field(message, bytes, field);
}

static uint8_t *put_fields(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_message *message, const char *bytes,
                           const struct lb_edited_head *edited, char *room)
{
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (is_left_out(message, bytes, field) || (edited && lb_edited_drops(edited, bytes + field->name.at, field->name.length)))
            continue;
        const char *name = lower(room, bytes + field->name.at, field->name.length);
        out = put(out, writer, name, field->name.length, bytes + field->value.at, field->value.length);
    }
    return out;
}

uint32_t lb_h2_trailers_bytes(uint32_t count)
{
    return count * (1 + LB_HPACK_WRITE_ROOM / 4); /* a line has four bytes beside its name, which has one at least */
}

uint8_t *lb_h2_encode_trailers(uint8_t *out, struct lb_hpack_writer *writer, const char *lines, uint32_t count, char *room)
{
    const char *end = lines + count;
    while (lines < end) {
        const char *stop = memchr(lines, '\r', (size_t)(end - lines));
        const char *colon = stop ? memchr(lines, ':', (size_t)(stop - lines)) : NULL;
        if (!colon)
            return out;
        const char *value = colon + 1, *value_end = stop;
        while (value < value_end && (*value == ' ' || *value == '\t'))
            value++;
        while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        uint32_t length = (uint32_t)(colon - lines);
        out = put(out, writer, lower(room, lines, length), length, value, (uint32_t)(value_end - value));
        lines = stop + 2;
    }
    return out;
}

/* What edits add, written to the room and read there. */
static uint8_t *put_lines(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_h2_edits *edits, char *room)
{
    char *end = lb_edited_put(room, edits->edited, edits->backend);
    return lb_h2_encode_trailers(out, writer, room, (uint32_t)(end - room), end);
}

uint8_t *lb_h2_encode_response(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_message *message, const char *bytes,
                               const struct lb_h2_edits *edits, char *room)
{
    uint16_t status = edits->status ? edits->status : message->head.status;
    out = lb_hpack_write_status(writer, out, status);
    out = put_fields(out, writer, message, bytes, edits->edited, room);
    if (status < 200)
        return out;
    if (message->length_anew && status != 204) {
        char length[24];
        int count = snprintf(length, sizeof length, "%" PRIu64, message->length);
        out = PUT(out, writer, "content-length", length, (uint32_t)count);
    }
    if (edits->date && !lb_message_has(message, LB_DATE)) /* RFC 9110 6.6.1 */
        out = PUT(out, writer, "date", edits->date, (uint32_t)strlen(edits->date));
    if (edits->cookie)
        out = PUT(out, writer, "set-cookie", edits->cookie, (uint32_t)strlen(edits->cookie));
    if (!edits->local && !lb_edited_takes(edits->edited, LB_OWN_VIA))
        out = PUT(out, writer, "via", lb_forward_via(edits->http2, message->head.minor), LB_VIA_BYTES);
    return edits->edited ? put_lines(out, writer, edits, room) : out;
}
