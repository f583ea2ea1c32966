#include "settings.h"

enum { DEFAULT_TABLE = 4096 };

void lb_h2_settings_open(struct lb_h2_settings *settings)
{
    *settings = (struct lb_h2_settings){
        .table = DEFAULT_TABLE,
        .streams = UINT32_MAX,
        .window = LB_H2_DEFAULT_WINDOW,
        .frame = LB_H2_FRAME_BYTES,
        .header_list = UINT32_MAX,
    };
}

/* RFC 8441 3: once allowed it stays allowed. */
static enum lb_h2_error take_connect(struct lb_h2_settings *settings, uint32_t value)
{
    if (value > 1 || value < settings->connect)
        return LB_H2_PROTOCOL_ERROR;
    settings->connect = (uint8_t)value;
    return LB_H2_NO_ERROR;
}

static enum lb_h2_error take_window(struct lb_h2_settings *settings, uint32_t value)
{
    if (value > LB_H2_WINDOW_MOST)
        return LB_H2_FLOW_CONTROL_ERROR;
    settings->window = value;
    return LB_H2_NO_ERROR;
}

static enum lb_h2_error take_frame(struct lb_h2_settings *settings, uint32_t value)
{
    if (value < LB_H2_FRAME_BYTES || value > LB_H2_FRAME_BYTES_MOST)
        return LB_H2_PROTOCOL_ERROR;
    settings->frame = value;
    if (value == LB_H2_FRAME_BYTES)
        settings->said |= LB_H2_SAID_FRAME;
    return LB_H2_NO_ERROR;
}

enum lb_h2_error lb_h2_settings_take(struct lb_h2_settings *settings, uint32_t number, uint32_t value, int by_server)
{
    switch (number) {
    case LB_H2_HEADER_TABLE_SIZE:
        settings->table = value;
        if (value == DEFAULT_TABLE)
            settings->said |= LB_H2_SAID_TABLE;
        return LB_H2_NO_ERROR;
    case LB_H2_ENABLE_PUSH: /* nobody is pushed to, so only its form counts; a server may say no more than 0 */
        return value > (by_server ? 0 : 1) ? LB_H2_PROTOCOL_ERROR : LB_H2_NO_ERROR;
    case LB_H2_MAX_CONCURRENT_STREAMS:
        settings->streams = value;
        return LB_H2_NO_ERROR;
    case LB_H2_INITIAL_WINDOW_SIZE:
        return take_window(settings, value);
    case LB_H2_MAX_FRAME_SIZE:
        return take_frame(settings, value);
    case LB_H2_MAX_HEADER_LIST_SIZE:
        settings->header_list = value;
        return LB_H2_NO_ERROR;
    case LB_H2_ENABLE_CONNECT_PROTOCOL:
        return take_connect(settings, value);
    case LB_H2_NO_RFC7540_PRIORITIES:
        return value > 1 ? LB_H2_PROTOCOL_ERROR : LB_H2_NO_ERROR; /* RFC 9218 2.1 */
    default:
        return LB_H2_NO_ERROR;
    }
}
