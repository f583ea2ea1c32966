/* SipHash-2-4 (Aumasson and Bernstein, 2012): a short keyed hash. With a secret key it authenticates; nobody else can make it. */
#ifndef LB_SIPHASH_H
#define LB_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t lb_siphash(const uint8_t key[16], const void *bytes, size_t count);

#endif
