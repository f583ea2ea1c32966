/* Whose credentials a request brought: kept from its guard (guard.h) until it goes out to its backend. */
#ifndef LB_CALLER_H
#define LB_CALLER_H

#include "message.h"

enum { LB_CALLER_BYTES = 64 };

struct lb_caller {
    uint8_t name_length;
    uint8_t header_length;  /* 0: backends are not told */
    uint8_t carrier_length; /* 0: the credentials go on */
    char name[LB_CALLER_BYTES];
    char header[LB_CALLER_BYTES];  /* that tells backends the name */
    char carrier[LB_CALLER_BYTES]; /* that brought the credentials, in lower case */
};

/* What is not to go on of a request that is about to: credentials, and what looks like the word about them. */
void lb_caller_remove(const struct lb_caller *caller, struct lb_message *message, const char *bytes);

#endif
