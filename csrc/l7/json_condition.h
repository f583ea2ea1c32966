/* Conditions of routes on what a request's body says. */
#ifndef LB_JSON_CONDITION_H
#define LB_JSON_CONDITION_H

#include "json_said.h"
#include "message.h"

enum lb_holds { LB_FAILS, LB_HOLDS, LB_UNDECIDED };

/* Is there a body that is to be JSON by what its head says: application/json or application/...+json, without a coding? */
int lb_json_is_body(const struct lb_message *message, const char *bytes);

/* Which of these values, apart by line feeds, is this text? UINT32_MAX: none. */
uint32_t lb_json_place(const char *values, uint32_t length, const char *text, uint32_t text_length);

/* Why no condition on a key holds, of those that were asked: enum lb_json_why. */
uint8_t lb_json_why_not(const struct lb_json_said *said, uint32_t keys);

/* Does a condition on this key hold? values: apart by line feeds, one of them; present: any. */
enum lb_holds lb_json_condition_holds(const struct lb_json_said *said, uint32_t key, int present, const char *values,
                                      uint32_t length);

#endif
