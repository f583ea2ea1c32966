/* A claim of a JSON Web Token (RFC 7519), read and NOT verified: anybody can write a token that says anything. Good for telling clients
 * apart whose tokens a backend verifies, and for nothing that lets anybody in. */
#ifndef LB_JWT_CLAIM_H
#define LB_JWT_CLAIM_H

#include "../json/word.h"

/* Its value, a string or a number, of a signed token's payload: 0, or -1: it has no such claim, has it twice, or is no such token.
 * word: where it is put. */
__attribute__((warn_unused_result)) int lb_jwt_claim(const char *token, uint32_t length, const char *name, uint32_t name_length,
                                                     struct lb_json_word *word);

#endif
