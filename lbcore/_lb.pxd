# The door of the engine (csrc/lb.h), as Cython sees it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr_storage:
        pass


cdef extern from "lb.h" nogil:
    uint64_t LB_MAGIC
    enum:
        LB_NONE
        LB_MAX_TRIED
        LB_MODELS

    struct lb_limits:
        uint32_t listeners
        uint32_t pools
        uint32_t backends
        uint32_t workers

    struct lb_spent:
        uint64_t before_us
        uint64_t seen_us
        uint32_t pid

    struct lb_head:
        uint64_t started_ms
        uint32_t control_pid
        uint32_t datapath
        uint32_t loop
        uint8_t loop_reason[104]
        uint8_t client_key[16]
        uint8_t name[64]
        uint8_t version[24]
        uint64_t generation
        uint32_t not_ready
        uint32_t draining
        uint32_t log_every
        uint32_t log_texts
        uint32_t trace_every
        uint64_t log_written
        uint64_t log_lost
        uint64_t counts[16]
        lb_spent spent[65]
        uint32_t rows_used
        uint32_t workers
        uint32_t sections
        uint32_t max_backends
        uint32_t max_pools
        uint32_t max_listeners

    struct lb_listener_row:
        pass

    struct lb_pool_row:
        pass

    struct lb_backend_row:
        uint64_t generation
        uint8_t address[96]

    struct lb_backend_health:
        uint64_t generation
        uint64_t good
        uint64_t failures
        uint32_t latency_us
        uint32_t failures_in_row

    struct lb_shm:
        lb_head *head
        lb_backend_row *backends

    struct lb_backend_spec:
        uint32_t pool
        uint32_t weight
        uint16_t family
        uint16_t port
        uint32_t scope
        uint8_t ip[16]
        const char *address
        const char *source

    struct lb_cursor:
        uint64_t seed
        uint32_t turn

    struct lb_blocks:
        uint32_t count
        uint64_t hash[192]

    uint32_t lb_blocks_bytes(uint32_t count)
    void lb_prefixes_text(const lb_shm *shm, uint32_t pool, const void *data, size_t count, lb_blocks *blocks)
    void lb_prefixes_key(const lb_shm *shm, uint32_t pool, uint64_t key, lb_blocks *blocks)

    struct lb_wish:
        const uint32_t *tried
        uint32_t tried_count
        uint32_t worker
        uint32_t now_ms
        uint64_t key
        const lb_blocks *blocks
        uint8_t wary
        uint8_t datagrams
        uint8_t sends
        lb_thought *thought

    struct lb_thought:
        uint8_t why
        uint8_t blocks
        uint8_t matched
        uint8_t had

    struct lb_offload:
        pass

    struct lb_uring:
        pass

    struct lb_worker_setup:
        void *memory
        uint64_t bytes
        uint32_t worker
        int channel
        uint32_t max_sessions
        uint32_t max_buffers
        uint32_t max_pipes
        uint32_t max_handshakes
        int own_process
        lb_offload *offload
        uint32_t offload_asked
        lb_uring *uring
        const char *adoption_socket

    uint64_t lb_shm_bytes(const lb_limits *limits)
    int lb_shm_create(void *memory, const lb_limits *limits)
    int lb_shm_attach(lb_shm *shm, void *memory, uint64_t bytes)
    uint32_t lb_shm_sections(const lb_shm *shm)
    lb_backend_health *lb_shm_health(const lb_shm *shm, uint32_t worker, uint32_t backend)
    enum lb_timing:
        LB_TIMINGS

    void lb_timing_note(const lb_shm *shm, uint32_t worker, uint32_t pool, lb_timing timing, uint64_t us)
    uint32_t lb_shm_in_flight(const lb_shm *shm, uint32_t backend)

    uint64_t lb_table_put(const lb_shm *shm, uint32_t index, const lb_backend_spec *spec)
    void lb_table_set_state(const lb_shm *shm, uint32_t index, uint32_t state, const char *reason)
    void lb_table_set_kept(const lb_shm *shm, uint32_t index, int kept)
    void lb_table_set_known(const lb_shm *shm, uint32_t index, uint32_t known)
    void lb_table_set_instances(const lb_shm *shm, uint32_t index, uint32_t instances)
    void lb_table_set_tier(const lb_shm *shm, uint32_t index, uint32_t tier)
    void lb_table_set_outage(const lb_shm *shm, uint32_t pool, int outage)
    void lb_table_set_hanging(const lb_shm *shm, uint32_t worker, int hangs)
    enum lb_count:
        pass

    void lb_table_count(const lb_shm *shm, lb_count which, uint64_t n)
    void lb_table_set_weight(const lb_shm *shm, uint32_t index, uint32_t weight)
    void lb_table_set_load(const lb_shm *shm, uint32_t index, float load, float elsewhere)
    void lb_table_set_ramp(const lb_shm *shm, uint32_t index, uint32_t from_ms, uint32_t ramp_ms)
    void lb_table_set_capacity(const lb_shm *shm, uint32_t index, float capacity)
    void lb_table_set_leaves(const lb_shm *shm, uint32_t index, uint64_t leaves_ms)
    void lb_table_free(const lb_shm *shm, uint32_t index)
    void lb_table_set_listener(const lb_shm *shm, uint32_t index, const lb_listener_row *row)
    struct lb_model_row:
        pass
    void lb_table_set_model(const lb_shm *shm, uint32_t index, const lb_model_row *row)
    void lb_table_set_pool(const lb_shm *shm, uint32_t index, const lb_pool_row *row)
    void lb_table_mend(const lb_shm *shm)
    void lb_table_bury_worker(const lb_shm *shm, uint32_t worker)

    int64_t lb_view_publish(const lb_shm *shm, uint32_t pool)
    uint32_t lb_view_acquire(const lb_shm *shm, uint32_t pool, const lb_wish *wish, lb_cursor *cursor, uint32_t cost)
    uint32_t lb_view_pick(const lb_shm *shm, uint32_t pool, const lb_wish *wish, lb_cursor *cursor)

    int lb_table_set_routes(const lb_shm *shm, const void *bytes, uint64_t count)
    struct lb_routes:
        pass

    struct lb_routed_to:
        uint32_t pool
        uint16_t cost
        uint16_t route
        uint8_t json
        uint8_t model

    int lb_routes_compile(lb_routes **routes, const lb_shm *shm, uint32_t *version)
    void lb_routes_free(lb_routes *routes)
    struct lb_routed_client:
        const uint8_t *ip
        uint32_t listener

    int lb_routes_match(lb_routes *routes, const lb_routed_client *client, const lb_message *message, const char *data,
                        const void *said, lb_routed_to *to)
    struct lb_cookie_look:
        uint32_t field
        uint32_t at

    lb_span lb_cookie_next(const lb_message *message, const char *data, const char *name, uint32_t length, lb_cookie_look *look)
    int lb_is_claim_header(const char *name, uint32_t length)
    int lb_route_expression_check(const char *expression, char *reason, size_t size)

    struct lb_span:
        uint32_t at
        uint32_t length

    struct lb_field:
        lb_span name
        lb_span value

    struct lb_message_head:
        uint32_t bytes
        uint32_t field_count
        uint16_t status
        uint8_t minor
        lb_span method
        lb_span target
        lb_field fields[1000]

    struct lb_message:
        lb_message_head head
        uint64_t length
        uint8_t framing
        uint8_t method
        uint8_t persistent
        lb_span authority
        lb_span path

    struct lb_head_limits:
        uint32_t head
        uint32_t target
        uint32_t fields

    enum:
        LB_CHUNK_ROOM

    struct lb_chunked:
        uint64_t left
        uint8_t rules

    struct lb_chunk_piece:
        char *out
        uint32_t out_count
        uint32_t used

    int lb_message_request(lb_message *message, const char *data, uint32_t count, const lb_head_limits *limits)
    int lb_message_response(lb_message *message, const char *data, uint32_t count, const lb_head_limits *limits,
                          int method)
    int lb_chunked_read(lb_chunked *chunked, char *data, uint32_t count, lb_chunk_piece *piece)
    int64_t lb_path_normal(const char *path, uint32_t length, int reading, char *out)

    struct lb_json_path:
        const char **names
        uint32_t *lengths
        uint32_t levels
        uint32_t streams

    struct lb_json_word:
        uint32_t length
        char *bytes "bytes"

    struct lb_json:
        const char *raw
        uint64_t raw_length
        uint16_t which
        uint16_t streamed
        uint8_t kind
        lb_json_word word

    enum:
        LB_JSON_WORD
        LB_JSON_LEVELS
        LB_JSON_PATHS
        LB_JSON_MORE
        LB_JSON_VALUE
        LB_JSON_TEXT
        LB_JSON_TWICE
        LB_JSON_TOO_DEEP

    void lb_json_begin(lb_json *json, const lb_json_path *paths, uint32_t count)
    int lb_json_read(lb_json *json, const char **at, const char *end)
    int lb_json_is_whole(const lb_json *json)

    enum:
        LB_PROXY_LINE
        LB_PROXY_MOST
        LB_PROXY_MORE
        LB_PROXY_BAD

    struct lb_proxy_told:
        sockaddr_storage source "from"
        sockaddr_storage target "to"
        uint32_t bytes
        uint32_t authority_at
        uint32_t authority_length
        uint32_t alpn_at
        uint32_t alpn_length
        uint8_t tls

    struct lb_proxy_extra:
        const char *authority
        uint32_t authority_length
        const char *alpn
        uint32_t alpn_length
        uint8_t tls
        uint32_t verify
        const char *tls_version
        const char *common_name
        uint8_t crc

    int lb_proxy_read(lb_proxy_told *told, const uint8_t *data, uint32_t count)
    uint32_t lb_proxy_write_v1(char *out, const sockaddr_storage *source, const sockaddr_storage *target)
    uint32_t lb_proxy_write_v2(uint8_t *out, uint32_t room, const sockaddr_storage *source, const sockaddr_storage *target,
                               const lb_proxy_extra *extra)
    enum lb_hello_fate:
        LB_HELLO_DONE
        LB_HELLO_MORE
        LB_HELLO_BAD

    struct lb_hello:
        char name[256]
        uint32_t name_length
        char alpn[256]
        uint32_t alpn_length
        uint32_t protocol_count
        uint16_t version

    int lb_hello_read(lb_hello *hello, const uint8_t *data, uint32_t count)

    void lb_health_reached(lb_backend_health *health, uint32_t took_us, uint64_t now_ms)
    int lb_load_take(const lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost)
    void lb_load_give(const lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost)

    enum lb_end:
        LB_ENDED_DONE
        LB_ENDED_UNREACHABLE
        LB_ENDED_BACKEND
        LB_ENDED_CLIENT

    enum:
        LB_PICKERS

    struct lb_picker:
        lb_shm shm
        uint32_t section

    struct lb_picked:
        uint64_t at_us
        uint64_t generation
        uint32_t backend
        uint32_t pool
        uint32_t cost
        uint32_t decision

    int lb_picker_join(lb_picker *picker, const lb_shm *shm, uint64_t seed)
    void lb_picker_leave(lb_picker *picker)
    void lb_picker_forget(lb_picker *picker)
    struct lb_picker_wish:
        uint64_t key
        const lb_blocks *blocks
        uint32_t pool
        uint32_t cost

    void lb_picker_by(const lb_picker *picker, const void *data, size_t count, lb_picker_wish *wish, lb_blocks *blocks)
    int lb_picker_pick(lb_picker *picker, const lb_picker_wish *wish, lb_picked *picked)
    void lb_picker_release(lb_picker *picker, const lb_picked *picked, lb_end end)
    void lb_picker_bury(const lb_shm *shm, uint32_t section)
    uint64_t lb_policy_key(const void *bytes, size_t count)

    struct lb_openssl:
        const char *(*OpenSSL_version)(int)

    lb_openssl lb_ssl
    int lb_openssl_open(const char *library, char *why, size_t room)

    struct lb_tls_own:
        char *names
        uint32_t names_bytes
        int64_t expires_s

    struct lb_tls_context:
        uint32_t own_count
        lb_tls_own *own

    int lb_tls_context_open(lb_tls_context **context, const void *bytes, size_t count, char *why, size_t room)
    void lb_tls_context_release(lb_tls_context *context)

    int lb_privileges_shed()
    int lb_privileges_become(uint32_t user, int offloads)
    int lb_privileges_lend()
    int lb_privileges_rest()
    int lb_seccomp_load(int offloads, int rings, char *why, size_t room)
    int lb_offload_open(lb_offload **offload, uint32_t slots, uint32_t which, char *why, size_t room)
    void lb_offload_close(lb_offload *offload)
    int lb_offload_selftest(char *why, size_t room)
    int lb_uring_open(lb_uring **uring)
    void lb_uring_close(lb_uring *uring)
    int lb_uring_try()
    int lb_ring_sockets_inherited(int fd)
    int lb_local_selftest(char *why, size_t room)
    int lb_seccomp_version(char *text, size_t room)
    int lb_is_shortage(int error)

    int lb_worker_run(const lb_worker_setup *setup)
