/* The numbers of HTTP/2 (RFC 9113 6, 6.5.2 and 7; RFC 8441; RFC 9218). */
#ifndef LB_H2_NAMES_H
#define LB_H2_NAMES_H

enum lb_h2_frame_type {
    LB_H2_DATA = 0,
    LB_H2_HEADERS = 1,
    LB_H2_PRIORITY = 2,
    LB_H2_RST_STREAM = 3,
    LB_H2_SETTINGS = 4,
    LB_H2_PUSH_PROMISE = 5,
    LB_H2_PING = 6,
    LB_H2_GOAWAY = 7,
    LB_H2_WINDOW_UPDATE = 8,
    LB_H2_CONTINUATION = 9,
};

enum {
    LB_H2_END_STREAM = 0x1,
    LB_H2_ACK = 0x1,
    LB_H2_END_HEADERS = 0x4,
    LB_H2_PADDED = 0x8,
    LB_H2_PRIORITY_FLAG = 0x20,
};

enum lb_h2_error {
    LB_H2_NO_ERROR = 0,
    LB_H2_PROTOCOL_ERROR = 1,
    LB_H2_INTERNAL_ERROR = 2,
    LB_H2_FLOW_CONTROL_ERROR = 3,
    LB_H2_SETTINGS_TIMEOUT = 4,
    LB_H2_STREAM_CLOSED = 5,
    LB_H2_FRAME_SIZE_ERROR = 6,
    LB_H2_REFUSED_STREAM = 7,
    LB_H2_CANCEL = 8,
    LB_H2_COMPRESSION_ERROR = 9,
    LB_H2_CONNECT_ERROR = 10,
    LB_H2_ENHANCE_YOUR_CALM = 11,
    LB_H2_INADEQUATE_SECURITY = 12,
    LB_H2_HTTP_1_1_REQUIRED = 13,
};

enum lb_h2_setting {
    LB_H2_HEADER_TABLE_SIZE = 1,
    LB_H2_ENABLE_PUSH = 2,
    LB_H2_MAX_CONCURRENT_STREAMS = 3,
    LB_H2_INITIAL_WINDOW_SIZE = 4,
    LB_H2_MAX_FRAME_SIZE = 5,
    LB_H2_MAX_HEADER_LIST_SIZE = 6,
    LB_H2_ENABLE_CONNECT_PROTOCOL = 8, /* RFC 8441 */
    LB_H2_NO_RFC7540_PRIORITIES = 9,   /* RFC 9218 */
};

enum {
    LB_H2_FRAME_HEAD = 9,              /* bytes before each payload */
    LB_H2_FRAME_BYTES = 16384,         /* the smallest maximum of a payload, and the default */
    LB_H2_FRAME_BYTES_MOST = 16777215, /* RFC 9113 4.2 */
    LB_H2_DEFAULT_WINDOW = 65535,
    LB_H2_PREFACE_BYTES = 24,
};

#define LB_H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define LB_H2_WINDOW_MOST INT32_MAX /* RFC 9113 6.9.1 */
#define LB_H2_STREAM_MOST INT32_MAX /* RFC 9113 5.1.1 */

#endif
