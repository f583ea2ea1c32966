/* What a request's body, a JSON text, has said to the keys that routes look for. */
#ifndef LB_JSON_SAID_H
#define LB_JSON_SAID_H

#include "../json/reader.h"

enum { LB_JSON_KEYS = 8 }; /* that routes may name, in all */

/* A bit a key in each mask. */
struct lb_json_said {
    uint16_t seen;
    uint16_t twice; /* with a second value, or perhaps one: whom one believes is not known */
    uint16_t words; /* it is a string, and not too long to be compared */
    uint8_t over;   /* nothing more is read: what was not seen is not there */
    uint8_t cut;    /* it goes on beyond what is read */
    uint8_t broken; /* nor is what was seen: the body is no JSON */
    uint32_t lengths[LB_JSON_KEYS];
    char text[LB_JSON_KEYS][LB_JSON_WORD];
};

#endif
