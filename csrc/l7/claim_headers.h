/* Request headers that say who the client is, what it asked for, or how it came: what a proxy in front of a server sets, and what
 * servers and frameworks believe. From strangers they are dropped. tools/docs/headers.md lists them with those that read each. */
#ifndef LB_CLAIM_HEADERS_H
#define LB_CLAIM_HEADERS_H

#include <stdint.h>

/* Is it one of them? Case does not matter, nor do '_' and '-' differ: to CGI and WSGI (RFC 3875 4.1.18) they are the same. */
int lb_is_claim_header(const char *name, uint32_t length);

/* Is it in a list of names, which stand in lower case, with '-' for '_', apart by spaces? */
int lb_claim_header_listed(const char *list, const char *name, uint32_t length);

#endif
