"""The engine's verbs. What they change is read through lbcore.segment; the contract of each is in csrc/lb.h."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from lbcore._lb cimport *


cdef int check(long long result) except -1:
    """The one place where -errno becomes an exception; OSError picks its subclass by itself."""
    if result < 0:
        raise OSError(-result, f"engine: {_strerror(-result)}")
    return 0


def _strerror(number):
    import os

    return os.strerror(number)


cdef int put_text(uint8_t *field, size_t size, bytes text) except -1:
    if <size_t>len(text) >= size:
        raise ValueError(f"{text.decode(errors='replace')!r} is longer than {size - 1} bytes")
    memset(field, 0, size)
    memcpy(field, <const char *>text, len(text))
    return 0


def segment_bytes(*, uint32_t listeners, uint32_t pools, uint32_t backends, uint32_t workers):
    """Bytes that a segment with room for so many rows takes."""
    cdef lb_limits limits = lb_limits(listeners, pools, backends, workers)
    cdef uint64_t size = lb_shm_bytes(&limits)
    if not size:
        raise ValueError(f"no segment has {listeners=} {pools=} {backends=} {workers=}")
    return size


cdef class Pen:
    """Writes the table in a mapped segment. One at a time: its owner holds a lock."""

    cdef Py_buffer view
    cdef lb_shm shm
    cdef bint mapped

    def __cinit__(self, memory, *, create=None):
        cdef lb_limits limits
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)
        self.mapped = True
        if create is not None:
            listeners, pools, backends, workers = create
            limits = lb_limits(listeners, pools, backends, workers)
            if lb_shm_bytes(&limits) != <uint64_t>self.view.len:
                raise ValueError("the memory is not as large as its limits ask")
            check(lb_shm_create(self.view.buf, &limits))
        check(lb_shm_attach(&self.shm, self.view.buf, <uint64_t>self.view.len))

    def __dealloc__(self):
        self.release()

    cpdef release(self):
        """Let go of the memory; the pen writes no more."""
        if self.mapped:
            self.mapped = False
            PyBuffer_Release(&self.view)

    cdef int usable(self) except -1:
        if not self.mapped:
            raise ValueError("the segment is closed")
        return 0

    cdef int within(self, uint32_t index, uint32_t limit) except -1:
        self.usable()
        if index >= limit:
            raise IndexError(f"row {index} of {limit}")
        return 0

    def head(self, *, bytes name, bytes version, uint64_t started_ms, uint32_t control_pid, uint32_t datapath):
        self.usable()
        put_text(self.shm.head.name, sizeof(self.shm.head.name), name)
        put_text(self.shm.head.version, sizeof(self.shm.head.version), version)
        self.shm.head.started_ms = started_ms
        self.shm.head.control_pid = control_pid
        self.shm.head.datapath = datapath

    def draining(self, bint draining):
        self.usable()
        self.shm.head.draining = draining

    def listener(self, uint32_t index, bytes row):
        """Write a struct lb_listener_row."""
        self.within(index, self.shm.head.max_listeners)
        if <size_t>len(row) != sizeof(lb_listener_row):
            raise ValueError("not a listener row")
        lb_table_set_listener(&self.shm, index, <const lb_listener_row *><const char *>row)

    def pool(self, uint32_t index, bytes row):
        """Write a struct lb_pool_row; its view stays."""
        self.within(index, self.shm.head.max_pools)
        if <size_t>len(row) != sizeof(lb_pool_row):
            raise ValueError("not a pool row")
        lb_table_set_pool(&self.shm, index, <const lb_pool_row *><const char *>row)

    def routes(self, bytes table):
        """Publish routes: a struct lb_routes_head and what follows it."""
        self.usable()
        check(lb_table_set_routes(&self.shm, <const char *>table, <uint64_t>len(table)))

    def put(self, uint32_t index, *, uint32_t pool, uint32_t weight, uint16_t family, bytes ip, uint16_t port,
            uint32_t scope, bytes address, bytes source):
        """Take a free backend row: its new generation."""
        cdef lb_backend_spec spec
        self.within(index, self.shm.head.max_backends)
        self.within(pool, self.shm.head.max_pools)
        if len(ip) > 16:
            raise ValueError("an address has at most 16 bytes")
        memset(&spec, 0, sizeof(spec))
        spec.pool, spec.weight, spec.family, spec.port, spec.scope = pool, weight, family, port, scope
        memcpy(spec.ip, <const char *>ip, len(ip))
        spec.address = address
        spec.source = source
        return lb_table_put(&self.shm, index, &spec)

    def state(self, uint32_t index, uint32_t state, bytes reason):
        self.within(index, self.shm.head.max_backends)
        lb_table_set_state(&self.shm, index, state, reason)

    def weight(self, uint32_t index, uint32_t weight):
        self.within(index, self.shm.head.max_backends)
        lb_table_set_weight(&self.shm, index, weight)

    def load(self, uint32_t index, float load):
        """load: 0..1, or negative for unknown."""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_load(&self.shm, index, load)

    def free(self, uint32_t index):
        self.within(index, self.shm.head.max_backends)
        lb_table_free(&self.shm, index)

    def publish(self, uint32_t pool):
        """Make the pool's view anew: the number of backends that can be picked."""
        self.within(pool, self.shm.head.max_pools)
        cdef int64_t members = lb_view_publish(&self.shm, pool)
        check(members)
        return members

    def in_flight(self, uint32_t index):
        """Sessions on a backend row, over all workers."""
        self.within(index, self.shm.head.max_backends)
        return lb_shm_in_flight(&self.shm, index)

    def bury(self, uint32_t worker):
        """Settle the section of a worker that died."""
        self.within(worker, self.shm.head.workers)
        lb_table_bury_worker(&self.shm, worker)


cdef class Picker:
    """Picks as a worker would, for tests, benchmarks and simulations; counts nothing."""

    cdef Pen pen
    cdef lb_cursor cursor
    cdef uint32_t pool

    def __cinit__(self, Pen pen, uint32_t pool, uint64_t seed=1):
        pen.within(pool, pen.shm.head.max_pools)
        self.pen = pen
        self.pool = pool
        self.cursor = lb_cursor(seed or 1, 0)

    def pick(self, tried=(), *, uint64_t key=0, uint32_t worker=0, uint32_t now_ms=0):
        """A backend row's index, or None. key: what maglev hashes. now_ms: for ewma."""
        cdef uint32_t already[LB_MAX_TRIED]
        cdef lb_wish wish = lb_wish(NULL, 0, worker, now_ms, key)
        self.pen.usable()
        wish.tried = &already[0]
        for index in tried[:LB_MAX_TRIED]:
            already[wish.tried_count] = index
            wish.tried_count += 1
        cdef uint32_t backend = lb_view_pick(&self.pen.shm, self.pool, &wish, &self.cursor)
        return None if backend == LB_NONE else backend

    def picks(self, uint32_t count, *, uint64_t key_step=0):
        """Pick so many times, without Python between: how often each row was picked, as a dict. key_step: between the keys."""
        counts = {}
        cdef uint32_t backend
        cdef lb_wish wish = lb_wish(NULL, 0, 0, 0, 0)
        self.pen.usable()
        for _ in range(count):
            wish.key += key_step
            backend = lb_view_pick(&self.pen.shm, self.pool, &wish, &self.cursor)
            counts[backend] = counts.get(backend, 0) + 1
        return counts

    def spin(self, uint32_t count):
        """Pick so many times and throw the picks away: for measuring."""
        cdef uint32_t i
        cdef uint32_t last = 0
        cdef uint64_t step = 0x9e3779b97f4a7c15  # keys far apart
        cdef lb_wish wish = lb_wish(NULL, 0, 0, 0, 0)
        self.pen.usable()
        with nogil:
            for i in range(count):
                wish.key += step
                last += lb_view_pick(&self.pen.shm, self.pool, &wish, &self.cursor)
        return last

    def take(self, uint32_t backend, uint32_t worker=0):
        """Charge a backend row as a worker does; False at the pool's max_active."""
        self.pen.within(backend, self.pen.shm.head.max_backends)
        return bool(lb_load_take(&self.pen.shm, worker, self.pool, backend))

    def give(self, uint32_t backend, uint32_t worker=0):
        """Undo `take`."""
        self.pen.within(backend, self.pen.shm.head.max_backends)
        lb_load_give(&self.pen.shm, worker, self.pool, backend)


cdef object piece(bytes data, lb_span span):
    return data[span.at:span.at + span.length]


cdef dict message_dict(bytes data, lb_message *message):
    fields = [(piece(data, message.head.fields[i].name), piece(data, message.head.fields[i].value))
              for i in range(message.head.field_count)]
    return {"bytes": message.head.bytes, "minor": message.head.minor, "fields": fields,
            "framing": ("none", "length", "chunked", "to end")[message.framing], "length": message.length,
            "persistent": bool(message.persistent)}


def read_request(bytes data, *, uint32_t max_head=16384, uint32_t max_target=8192, uint32_t max_fields=100):
    """Read a request's head as an http listener does: (reading, what was read).

    reading: 0 whole, 1 more bytes are needed, else the status that refuses it. what: a dict when whole, else None.
    """
    cdef lb_message message
    cdef lb_head_limits limits = lb_head_limits(max_head, max_target, max_fields)
    cdef int reading = lb_message_request(&message, data, <uint32_t>len(data), &limits)
    if reading:
        return reading, None
    return 0, message_dict(data, &message) | {
        "method": piece(data, message.head.method), "target": piece(data, message.head.target),
        "authority": piece(data, message.authority), "path": piece(data, message.path)}


def read_answer(bytes data, *, bint to_head=False):
    """Read an answer's head, of a GET or a HEAD: as `read_request`, with "status"."""
    cdef lb_message message
    cdef lb_head_limits limits = lb_head_limits(28672, 28672, 128)
    cdef int reading = lb_message_answer(&message, data, <uint32_t>len(data), &limits, 2 if to_head else 1)
    return (reading, None) if reading else (0, message_dict(data, &message) | {"status": message.head.status})


def read_chunked(pieces):
    """Read a chunked body that comes in these pieces: ("more" | "done" | "bad", its content, bytes used)."""
    cdef lb_chunked chunked
    cdef uint32_t used = 0, count = 0
    cdef int state = 0
    cdef bytes piece
    memset(&chunked, 0, sizeof(chunked))
    content, total = b"", 0
    for piece in pieces:
        out = bytearray(len(piece) + 1)
        state = lb_chunked_read(&chunked, piece, <uint32_t>len(piece), &used, out, &count)
        content += bytes(out[:count])
        total += used
        if state:
            break
    return ("more", "done", "bad")[state], content, total


def normal_path(bytes path, *, bint slashed=False):
    """A path as routes compare it; None when it is refused. slashed: "%2F", "\\" and "//" are one slash."""
    out = bytearray(len(path) + 2)
    cdef int64_t length = lb_path_normal(path, <uint32_t>len(path), slashed, out)
    return None if length < 0 else bytes(out[:length])


cdef class Router:
    """Routes as a worker compiles them from a segment, for tests and benchmarks."""

    cdef Pen pen
    cdef lb_routes *routes

    def __cinit__(self, Pen pen):
        cdef uint32_t version
        pen.usable()
        self.pen = pen
        self.routes = NULL
        check(lb_routes_compile(&self.routes, &pen.shm, &version))

    def __dealloc__(self):
        lb_routes_free(self.routes)

    def match(self, bytes head, uint32_t listener=0, uint32_t times=1):
        """The pool row that a request's head is routed to, matched so many times over; None: nowhere. Raises ValueError for a
        head or a path that is refused."""
        cdef lb_message message
        cdef lb_head_limits limits = lb_head_limits(28672, 28672, 128)
        cdef uint32_t pool = 0
        cdef uint32_t i
        cdef int routed = 0
        cdef const char *data = head
        if lb_message_request(&message, data, <uint32_t>len(head), &limits):
            raise ValueError("the head is refused")
        with nogil:
            for i in range(times):
                routed = lb_routes_match(self.routes, listener, &message, data, &pool)
        if routed == 2:
            raise ValueError("the path is refused")
        return None if routed else pool


def check_expression(bytes expression):
    """What is wrong with a route's regular expression (POSIX extended), in words; None: nothing."""
    cdef char reason[256]
    if lb_route_expression_check(expression, reason, sizeof(reason)) < 0:
        return (<bytes>reason[:strlen(reason)]).decode(errors="replace")
    return None


def run_worker(memory, *, uint32_t worker, int channel, uint32_t max_sessions, uint32_t max_buffers,
               uint32_t max_pipes, bint own_process=False):
    """Serve until drained or stopped. The channel stays the caller's. Raises OSError when the worker cannot go on."""
    cdef Py_buffer view
    cdef lb_worker_setup setup
    cdef int result
    PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
    try:
        setup = lb_worker_setup(view.buf, <uint64_t>view.len, worker, channel, max_sessions, max_buffers, max_pipes,
                                own_process)
        with nogil:
            result = lb_worker_run(&setup)
        check(result)
    finally:
        PyBuffer_Release(&view)
