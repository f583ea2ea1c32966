/* gRPC-Web (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md): what browsers can say of gRPC. Messages are those of gRPC, the
 * trailers are one more of them, and all of it may be base64. */
#ifndef LB_GRPC_WEB_H
#define LB_GRPC_WEB_H

#include "message.h"

/* How a call is said; 0: not in gRPC-Web. */
enum lb_grpc_web {
    LB_WEB_CALL = 1,
    LB_WEB_TEXT_ASKED = 2, /* its request is base64 */
    LB_WEB_TEXT_TOLD = 4,  /* so is its response to be */
};

enum {
    LB_WEB_TYPE_BYTES = 96,  /* of a line with a content-type, at most */
    LB_WEB_FRAME_BYTES = 5,  /* before a message */
    LB_WEB_SUFFIX_BYTES = 32 /* "+proto" and the like; a longer one is left out */
};

/* Bits of enum lb_grpc_web. */
uint8_t lb_grpc_web_of(const struct lb_message *message, const char *bytes);

/* The same content-type as gRPC says it, in the place where it lies: its length. */
uint32_t lb_grpc_web_ask(char *type, uint32_t length);

/* The line of a content-type, with its end, that tells a client what such a one of gRPC says (length 0: none does); its length. */
uint32_t lb_grpc_web_tell(char *line, const char *type, uint32_t length, unsigned web);

/* Bytes of a message of trailers: `count` bytes of lines, or words of our own in their place. */
uint32_t lb_grpc_web_trailers_bytes(uint32_t count);

/* That message; where it ends. lines: NULL: the backend has not said how the call ended. */
char *lb_grpc_web_trailers(char *to, const char *lines, uint32_t count);

#endif
