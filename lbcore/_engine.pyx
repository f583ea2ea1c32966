"""The engine's verbs. What they change is read through lbcore.engine.segment; the contract of each is in csrc/lb.h."""

import sys
from array import array

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
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


cdef class TableWriter:
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
        """Let go of the memory; the writer writes no more."""
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

    def head(self, *, bytes name, bytes version, uint64_t started_ms, uint32_t control_pid, uint32_t datapath,
             uint32_t loop, bytes loop_reason, bytes client_key):
        self.usable()
        if len(client_key) != sizeof(self.shm.head.client_key):
            raise ValueError("not a key")
        memcpy(self.shm.head.client_key, <const char *>client_key, sizeof(self.shm.head.client_key))
        put_text(self.shm.head.name, sizeof(self.shm.head.name), name)
        put_text(self.shm.head.version, sizeof(self.shm.head.version), version)
        self.shm.head.started_ms = started_ms
        self.shm.head.control_pid = control_pid
        self.shm.head.datapath = datapath
        self.shm.head.loop = loop
        put_text(self.shm.head.loop_reason, sizeof(self.shm.head.loop_reason), loop_reason)

    def sections(self, uint32_t count):
        """So many sections count from now on."""
        self.within(count, self.shm.head.workers + LB_PICKERS + 1)
        self.shm.head.sections = count

    def mend(self):
        """Make good what a writer that died left half done."""
        self.usable()
        lb_table_mend(&self.shm)

    def ready(self, bint ready):
        """What health_path of listeners answers."""
        self.shm.head.not_ready = not ready

    def draining(self, bint draining):
        self.usable()
        self.shm.head.draining = draining

    def observe(self, uint32_t log_every, uint32_t trace_every, bint log_texts):
        """What is recorded of what ends: one of so many for the access log, and of exchanges for traces; 0: none."""
        self.usable()
        self.shm.head.log_every, self.shm.head.trace_every = log_every, trace_every
        self.shm.head.log_texts = log_texts

    def log_tally(self, uint64_t written, uint64_t lost):
        """How far the access log is."""
        self.usable()
        self.shm.head.log_written, self.shm.head.log_lost = written, lost

    def count(self, uint32_t which, uint64_t n):
        """Add to what the control plane counts of itself. Any thread; a closed writer counts no more."""
        if which >= sizeof(self.shm.head.counts) / sizeof(self.shm.head.counts[0]):
            raise IndexError(f"count {which}")
        if self.mapped:
            lb_table_count(&self.shm, <lb_count>which, n)

    def spent(self, uint32_t place, uint32_t pid, uint64_t before_us, uint64_t seen_us):
        """CPU time of the control plane (place 0) or of a section's workers (1 and up)."""
        self.within(place, self.shm.head.workers + 1)
        self.shm.head.spent[place].pid = pid
        self.shm.head.spent[place].before_us, self.shm.head.spent[place].seen_us = before_us, seen_us

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

    def model(self, uint32_t index, bytes row):
        """Write a struct lb_model_row."""
        self.within(index, LB_MODELS)
        if <size_t>len(row) != sizeof(lb_model_row):
            raise ValueError("not a model row")
        lb_table_set_model(&self.shm, index, <const lb_model_row *><const char *>row)

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

    def kept(self, uint32_t index, bint kept):
        """Is it up only because nobody is better?"""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_kept(&self.shm, index, kept)

    def known(self, uint32_t index, uint32_t known):
        """What is known of it beside its state."""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_known(&self.shm, index, known)

    def instances(self, uint32_t index, uint32_t instances):
        """How many processes registered it."""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_instances(&self.shm, index, instances)

    def tier(self, uint32_t index, uint32_t tier):
        self.within(index, self.shm.head.max_backends)
        lb_table_set_tier(&self.shm, index, tier)

    def outage(self, uint32_t pool, bint outage):
        """Has the pool no usable backend?"""
        self.within(pool, self.shm.head.max_pools)
        lb_table_set_outage(&self.shm, pool, outage)

    def hanging(self, uint32_t worker, bint hangs):
        """Does the worker of this section not turn although asked to?"""
        self.within(worker, self.shm.head.workers)
        lb_table_set_hanging(&self.shm, worker, hangs)

    def weight(self, uint32_t index, uint32_t weight):
        self.within(index, self.shm.head.max_backends)
        lb_table_set_weight(&self.shm, index, weight)

    def load(self, uint32_t index, float load, float elsewhere=0):
        """load: 0..1, or negative for unknown. elsewhere: what is under way there that did not come from here."""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_load(&self.shm, index, load, elsewhere)

    def ramp(self, uint32_t index, uint32_t from_ms, uint32_t ramp_ms):
        """Slow start from a monotonic time (low 32 bits) on; ramp_ms 0: none."""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_ramp(&self.shm, index, from_ms, ramp_ms)

    def capacity(self, uint32_t index, float capacity):
        self.within(index, self.shm.head.max_backends)
        lb_table_set_capacity(&self.shm, index, capacity)

    def leaves(self, uint32_t index, uint64_t leaves_ms):
        """When a leaving row's sessions are cut, monotonic."""
        self.within(index, self.shm.head.max_backends)
        lb_table_set_leaves(&self.shm, index, leaves_ms)

    def free(self, uint32_t index):
        self.within(index, self.shm.head.max_backends)
        lb_table_free(&self.shm, index)

    def publish(self, uint32_t pool):
        """Make the pool's view anew: the number of backends that can be picked."""
        self.within(pool, self.shm.head.max_pools)
        cdef int64_t members = lb_view_publish(&self.shm, pool)
        check(members)
        return members

    def totals(self):
        """Of each row below rows_used, four figures in turn: requests that ended well, that failed, latency in microseconds, and
        connect failures in a row that pickers saw. An array of uint64."""
        cdef uint32_t rows, section, index, sections
        cdef lb_backend_health *health
        self.usable()
        rows, sections = self.shm.head.rows_used, lb_shm_sections(&self.shm)
        figures = array("Q", bytes(32 * rows))
        cdef uint64_t[:] out = figures if rows else array("Q", [0])
        with nogil:
            for section in range(sections):
                for index in range(rows):
                    health = lb_shm_health(&self.shm, section, index)
                    if health.generation != self.shm.backends[index].generation:
                        continue
                    out[4 * index] += health.good
                    out[4 * index + 1] += health.failures
                    if health.latency_us > out[4 * index + 2]:
                        out[4 * index + 2] = health.latency_us
                    if section >= self.shm.head.workers and health.failures_in_row > out[4 * index + 3]:
                        out[4 * index + 3] = health.failures_in_row
        return figures

    def in_flight(self, uint32_t index):
        """Sessions on a backend row, over all workers."""
        self.within(index, self.shm.head.max_backends)
        return lb_shm_in_flight(&self.shm, index)

    def time(self, uint32_t pool, uint32_t timing, uint64_t us, *, uint32_t worker=0, uint32_t times=1):
        """Note a time as a worker does, so many times, each a little longer: for tests and for measuring."""
        cdef uint32_t i
        self.within(pool, self.shm.head.max_pools)
        self.within(worker, self.shm.head.workers)
        self.within(timing, LB_TIMINGS)
        with nogil:
            for i in range(times):
                lb_timing_note(&self.shm, worker, pool, <lb_timing>timing, us + (i & 1023))

    def bury(self, uint32_t worker):
        """Settle the section of a worker that died."""
        self.within(worker, self.shm.head.workers)
        lb_table_bury_worker(&self.shm, worker)

    def bury_picker(self, uint32_t section):
        """Free the section of a picking process that is gone."""
        self.within(section, self.shm.head.workers + LB_PICKERS)
        lb_picker_bury(&self.shm, section)


cdef class Picker:
    """Picks as a worker would, for tests, benchmarks and simulations; counts nothing."""

    cdef TableWriter writer
    cdef lb_cursor cursor
    cdef uint32_t pool

    def __cinit__(self, TableWriter writer, uint32_t pool, uint64_t seed=1):
        writer.within(pool, writer.shm.head.max_pools)
        self.writer = writer
        self.pool = pool
        self.cursor = lb_cursor(seed or 1, 0)

    def pick(self, tried=(), *, uint64_t key=0, uint32_t worker=0, uint32_t now_ms=0):
        """A backend row's index, or None. key: what maglev hashes. now_ms: for ewma."""
        cdef uint32_t already[LB_MAX_TRIED]
        cdef lb_wish wish = lb_wish(NULL, 0, worker, now_ms, key, NULL, 0, 0, 0, NULL)
        self.writer.usable()
        wish.tried = &already[0]
        for index in tried[:LB_MAX_TRIED]:
            already[wish.tried_count] = index
            wish.tried_count += 1
        cdef uint32_t backend = lb_view_pick(&self.writer.shm, self.pool, &wish, &self.cursor)
        return None if backend == LB_NONE else backend

    def acquire(self, bytes text=None, *, uint64_t key=0, uint32_t worker=0, uint32_t now_ms=0, uint32_t cost=1):
        """Pick and charge as a worker does: (row, why, blocks, of these known to a backend, to this one); row None: nobody. text: what
        `prefix` goes by; without it key, if it is not 0."""
        cdef lb_blocks blocks
        cdef lb_thought thought
        cdef lb_wish wish = lb_wish(NULL, 0, worker, now_ms, key, NULL, 0, 0, 0, &thought)
        self.writer.usable()
        if text is not None:
            lb_prefixes_text(&self.writer.shm, self.pool, <const char *>text, len(text), &blocks)
            wish.blocks = &blocks
        elif key:
            lb_prefixes_key(&self.writer.shm, self.pool, key, &blocks)
            wish.blocks = &blocks
        cdef uint32_t backend = lb_view_acquire(&self.writer.shm, self.pool, &wish, &self.cursor, cost)
        row = None if backend == LB_NONE else backend
        return row, thought.why, thought.blocks, thought.matched, thought.had

    def picks(self, uint32_t count, *, uint64_t key_step=0):
        """Pick so many times, without Python between: how often each row was picked, as a dict. key_step: between the keys."""
        counts = {}
        cdef uint32_t backend
        cdef lb_wish wish = lb_wish(NULL, 0, 0, 0, 0, NULL, 0, 0, 0, NULL)
        self.writer.usable()
        for _ in range(count):
            wish.key += key_step
            backend = lb_view_pick(&self.writer.shm, self.pool, &wish, &self.cursor)
            counts[backend] = counts.get(backend, 0) + 1
        return counts

    def spin(self, uint32_t count):
        """Pick so many times and throw the picks away: for measuring."""
        cdef uint32_t i
        cdef uint32_t last = 0
        cdef uint64_t step = 0x9e3779b97f4a7c15  # keys far apart
        cdef lb_wish wish = lb_wish(NULL, 0, 0, 0, 0, NULL, 0, 0, 0, NULL)
        self.writer.usable()
        with nogil:
            for i in range(count):
                wish.key += step
                last += lb_view_pick(&self.writer.shm, self.pool, &wish, &self.cursor)
        return last

    def take(self, uint32_t backend, uint32_t worker=0, uint32_t cost=1):
        """Charge a backend row as a worker does; False at the pool's max_active."""
        self.writer.within(backend, self.writer.shm.head.max_backends)
        return bool(lb_load_take(&self.writer.shm, worker, self.pool, backend, cost))

    def observe(self, uint32_t backend, uint32_t latency_us, uint32_t now_ms, uint32_t worker=0):
        """Take a latency into what a worker knows of a backend, for ewma."""
        self.writer.within(backend, self.writer.shm.head.max_backends)
        cdef lb_backend_health *health = lb_shm_health(&self.writer.shm, worker, backend)
        health.generation = self.writer.shm.backends[backend].generation
        lb_health_reached(health, latency_us, now_ms)

    def give(self, uint32_t backend, uint32_t worker=0, uint32_t cost=1):
        """Undo `take`."""
        self.writer.within(backend, self.writer.shm.head.max_backends)
        lb_load_give(&self.writer.shm, worker, self.pool, backend, cost)


cdef dict ENDS = {"ok": LB_ENDED_DONE, "refused": LB_ENDED_UNREACHABLE, "failed": LB_ENDED_BACKEND, "left": LB_ENDED_CLIENT}


cdef class Pick:
    """A backend that was picked: `address`, "HOST:PORT", and `id`. Give it back with `release`, or use it in a `with` block."""

    cdef Picks picks
    cdef lb_picked picked
    cdef bint held
    cdef readonly str address

    @property
    def id(self):
        """INDEX.GENERATION of the backend."""
        return f"{self.picked.backend}.{self.picked.generation}"

    cpdef release(self, str outcome="ok"):
        """Say what came of it: "ok", "refused" (no connection), "failed" (a bad response, or none), or "left" (says nothing of the
        backend). The first word counts. Raises ValueError."""
        cdef object end = ENDS.get(outcome)
        if end is None:
            raise ValueError(f"outcome: {outcome!r} is not allowed (allowed: {', '.join(ENDS)})")
        if self.held:
            self.held = False
            self.picks.give(&self.picked, end)

    def __dealloc__(self):
        if self.held and self.picks is not None:
            self.picks.give(&self.picked, LB_ENDED_CLIENT)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.release("ok" if kind is None else "refused" if issubclass(kind, ConnectionRefusedError) else
                     "failed" if issubclass(kind, (OSError, TimeoutError)) else "left")

    def __repr__(self):
        return f"<Pick {self.address}>"


cdef class Picks:
    """Picks without the proxy, charged in a section of their own of a mapped segment. Any thread of the process that made it."""

    cdef Py_buffer view
    cdef lb_picker picker
    cdef dict addresses
    cdef bint joined, mapped

    def __cinit__(self, memory, uint64_t seed):
        cdef lb_shm shm
        self.addresses = {}
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)
        self.mapped = True
        check(lb_shm_attach(&shm, self.view.buf, <uint64_t>self.view.len))
        check(lb_picker_join(&self.picker, &shm, seed))
        self.joined = True

    cpdef leave(self, bint forked=False):
        """Give back the section with all that is held. forked: this is a child, the section is its parent's."""
        if self.joined:
            self.joined = False
            if forked:
                lb_picker_forget(&self.picker)
            else:
                lb_picker_leave(&self.picker)
        if self.mapped:
            self.mapped = False
            PyBuffer_Release(&self.view)

    def __dealloc__(self):
        self.leave()

    cdef void give(self, lb_picked *picked, int end) noexcept:
        if self.joined:
            lb_picker_release(&self.picker, picked, <lb_end>end)

    def pick(self, uint32_t pool, bytes key=None, uint32_t cost=1):
        """A Pick from a pool row; None when nobody can take it. key: what maglev keeps together; of prefix the
        text, or the key. Raises KeyError when the pool is gone, ValueError after `leave`."""
        cdef Pick pick
        cdef lb_picked picked
        cdef lb_blocks blocks
        cdef lb_picker_wish wish = lb_picker_wish(0, NULL, pool, cost)
        if not self.joined:
            raise ValueError("the segment was left")
        if key is not None:
            lb_picker_by(&self.picker, <const char *>key, len(key), &wish, &blocks)
        cdef int result = lb_picker_pick(&self.picker, &wish, &picked)
        if result == -2:
            raise KeyError("the pool is gone")
        if result:
            return None
        pick = Pick.__new__(Pick)
        pick.picks, pick.picked, pick.held = self, picked, True
        known = self.addresses.get(picked.backend)
        if known is None or known[0] != picked.generation:
            text = (<char *>self.picker.shm.backends[picked.backend].address).decode()
            known = self.addresses[picked.backend] = picked.generation, text
        pick.address = known[1]
        return pick


cdef object piece(bytes data, lb_span span):
    return data[span.at:span.at + span.length]


cdef dict message_dict(bytes data, lb_message *message):
    fields = [(piece(data, message.head.fields[i].name), piece(data, message.head.fields[i].value))
              for i in range(message.head.field_count)]
    return {"bytes": message.head.bytes, "minor": message.head.minor, "fields": fields,
            "framing": ("none", "length", "chunked", "to end")[message.framing], "length": message.length,
            "persistent": bool(message.persistent)}


def read_request(bytes data, *, uint32_t max_header_bytes=16384, uint32_t max_target=8192, uint32_t max_headers=100):
    """Read a request's head as an http listener does: (reading, what was read).

    reading: 0 whole, 1 more bytes are needed, else the status that refuses it. what: a dict when whole, else None.
    """
    cdef lb_message message
    cdef lb_head_limits limits = lb_head_limits(max_header_bytes, max_target, max_headers)
    cdef int reading = lb_message_request(&message, data, <uint32_t>len(data), &limits)
    if reading:
        return reading, None
    return 0, message_dict(data, &message) | {
        "method": piece(data, message.head.method), "target": piece(data, message.head.target),
        "authority": piece(data, message.authority), "path": piece(data, message.path)}


def read_cookies(bytes data, bytes name):
    """The values of all cookies of a name in a request's whole head. Raises ValueError when it is refused."""
    cdef lb_message message
    cdef lb_head_limits limits = lb_head_limits(131072, 131072, 1000)
    cdef lb_cookie_look look = lb_cookie_look(0, 0)
    cdef lb_span found
    if lb_message_request(&message, data, <uint32_t>len(data), &limits):
        raise ValueError("no whole request")
    values = []
    while True:
        found = lb_cookie_next(&message, data, name, <uint32_t>len(name), &look)
        if found.at == LB_NONE:
            return values
        values.append(piece(data, found))


def read_response(bytes data, *, bint to_head=False):
    """Read a response's head, of a GET or a HEAD: as `read_request`, with "status"."""
    cdef lb_message message
    cdef lb_head_limits limits = lb_head_limits(131072, 131072, 1000)
    cdef int reading = lb_message_response(&message, data, <uint32_t>len(data), &limits, 2 if to_head else 1)
    return (reading, None) if reading else (0, message_dict(data, &message) | {"status": message.head.status})


def read_chunked(pieces, *, bint lenient=False, bint bare=True, bint trailers=False):
    """Read a chunked body that comes in these pieces: ("more" | "done" | "bad", what goes on, bytes used).

    What goes on is the content, or without bare the body framed anew. lenient: as of a response. trailers: they go on, too.
    """
    cdef lb_chunked chunked
    cdef lb_chunk_piece read
    cdef int state = 0
    cdef char *start
    cdef bytes piece
    memset(&chunked, 0, sizeof(chunked))
    chunked.rules = lenient | bare << 1 | trailers << 2
    content, total = b"", 0
    for piece in pieces:
        lead = LB_CHUNK_ROOM if total else 0
        room = bytearray(lead) + piece + b"\0"
        start = room
        state = lb_chunked_read(&chunked, start + <int>lead, <uint32_t>len(piece), &read)
        content += read.out[:read.out_count]
        total += read.used
        if state:
            break
    return ("more", "done", "bad")[state], content, total


def read_json(pieces, paths, *, streams=()):
    """Read a JSON text that comes in these pieces, and look for the values at paths, which are tuples of names.

    Returns ("whole" | "part" | "bad" | "deep", what was told). Told are ("value", path, kind, word), word None but of strings and numbers of at
    most 256 bytes; ("twice", path); and of the paths that are in streams ("text", path, bytes), in parts. Where two paths are the same, of the first.
    """
    kinds = ("string", "number", "true", "false", "null", "object", "array")
    cdef lb_json json
    cdef lb_json_path looked[16]
    cdef const char *at
    cdef const char *end
    cdef int event = 0
    cdef bytes name, piece
    names = [[part.encode() for part in path] for path in paths]
    if len(names) > LB_JSON_PATHS or any(not 0 < len(path) <= LB_JSON_LEVELS for path in names):
        raise ValueError(f"no more than {LB_JSON_PATHS} paths of 1 to {LB_JSON_LEVELS} names can be looked for")
    for i, path in enumerate(names):
        for j, name in enumerate(path):
            looked[i].names[j] = name
            looked[i].lengths[j] = <uint32_t>len(name)
        looked[i].levels = <uint32_t>len(path)
        looked[i].streams = paths[i] in streams
    lb_json_begin(&json, looked, <uint32_t>len(names))
    told = []
    for piece in pieces:
        at = piece
        end = at + len(piece)
        event = lb_json_read(&json, &at, end)
        while LB_JSON_MORE < event <= LB_JSON_TWICE:
            which = json.streamed if event == LB_JSON_TEXT else json.which
            path = paths[(which & -which).bit_length() - 1]
            if event == LB_JSON_TEXT:
                told.append(("text", path, json.raw[:json.raw_length]))
            elif event == LB_JSON_TWICE:
                told.append(("twice", path))
            else:
                word = json.word.bytes[:json.word.length] if json.kind < 2 and json.word.length <= LB_JSON_WORD else None
                told.append(("value", path, kinds[json.kind], word))
            event = lb_json_read(&json, &at, end)
        if event != LB_JSON_MORE:
            return "deep" if event == LB_JSON_TOO_DEEP else "bad", told
    return "whole" if lb_json_is_whole(&json) else "part", told


def normal_path(bytes path, *, int reading=0):
    """A path as routes compare it; None when it is refused. reading: enum lb_path_reading of csrc/l7/path.h."""
    out = bytearray(len(path) + 2)
    cdef int64_t length = lb_path_normal(path, <uint32_t>len(path), reading, out)
    return None if length < 0 else bytes(out[:length])


cdef object address_of(const sockaddr_storage *stored):
    """(ip, port); None for no address."""
    import socket

    cdef bytes raw = (<const char *>stored)[:24]
    family = int.from_bytes(raw[:2], sys.byteorder)
    if family == socket.AF_UNSPEC:
        return None
    ip = raw[4:8] if family == socket.AF_INET else raw[8:24]
    return socket.inet_ntop(family, ip), int.from_bytes(raw[2:4], "big")


cdef int store_address(sockaddr_storage *stored, address) except -1:
    import socket

    memset(stored, 0, sizeof(stored[0]))
    if address is None:
        return 0
    ip, port = address
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    cdef bytes raw = family.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big")
    raw += bytes(4 if family == socket.AF_INET6 else 0) + socket.inet_pton(family, ip)
    memcpy(stored, <const char *>raw, len(raw))
    return 0


def read_proxy(bytes data):
    """Read a header of the PROXY protocol as a listener does: a dict, None when more bytes are needed. source and target are
    (ip, port), or None where the connection's own count. Raises ValueError for what is no header."""
    cdef lb_proxy_told told
    cdef const char *start = data
    cdef int fate = lb_proxy_read(&told, <const uint8_t *>start, <uint32_t>len(data))
    if fate == LB_PROXY_BAD:
        raise ValueError("not a header of the PROXY protocol")
    if fate == LB_PROXY_MORE:
        return None
    return {"source": address_of(&told.source), "target": address_of(&told.target), "bytes": told.bytes,
            "authority": data[told.authority_at:told.authority_at + told.authority_length] or None,
            "alpn": data[told.alpn_at:told.alpn_at + told.alpn_length] or None, "tls": bool(told.tls)}


def write_proxy(int version, source, target, bytes authority=None, bytes alpn=None, bint tls=False, *,
                bytes tls_version=None, bytes common_name=None, bint crc=False):
    """A header of version 1 or 2, as a backend gets it. Version 1 says the addresses only, and without
    both of one family, version 2 says nothing. Raises ValueError when it becomes too long."""
    cdef sockaddr_storage ends[2]
    cdef lb_proxy_extra extra
    cdef uint32_t count
    store_address(&ends[0], source)
    store_address(&ends[1], target)
    out = bytearray(LB_PROXY_MOST)
    cdef char *start = out
    if version == 1:
        return bytes(out[:lb_proxy_write_v1(start, &ends[0], &ends[1])])
    memset(&extra, 0, sizeof(extra))
    if authority is not None:
        extra.authority, extra.authority_length = <const char *>authority, <uint32_t>len(authority)
    if alpn is not None:
        extra.alpn, extra.alpn_length = <const char *>alpn, <uint32_t>len(alpn)
    if tls_version is not None:
        extra.tls_version = tls_version
    if common_name is not None:
        extra.common_name = common_name
    extra.tls, extra.crc = tls, crc
    extra.verify = common_name is None  # no certificate, none verified
    count = lb_proxy_write_v2(<uint8_t *>start, LB_PROXY_MOST, &ends[0], &ends[1], &extra)
    if not count:
        raise ValueError(f"the header becomes longer than {LB_PROXY_MOST} bytes")
    return bytes(out[:count])
cdef list protocols_of(lb_hello *hello):
    cdef uint32_t at = 0, length
    names = []
    while at < hello.alpn_length:
        length = <uint8_t>hello.alpn[at]
        names.append(hello.alpn[at + 1:at + 1 + length])
        at += 1 + length
    return names


def read_hello(bytes data):
    """Read the ClientHello that a connection's bytes begin with: None while more of them are needed, else a dict.

    name: the server_name, None if there is none; alpn: the protocols offered, as bytes; version: the highest offered. Raises
    ValueError for what is no good hello."""
    cdef lb_hello hello
    cdef int fate = lb_hello_read(&hello, <const uint8_t *><const char *>data, <uint32_t>len(data))
    if fate == LB_HELLO_BAD:
        raise ValueError("not a TLS ClientHello, or a malformed one")
    if fate == LB_HELLO_MORE:
        return None
    return {"name": hello.name[:hello.name_length].decode("ascii") if hello.name_length else None,
            "alpn": protocols_of(&hello), "version": hello.version}


cdef class Router:
    """Routes as a worker compiles them from a segment, for tests and benchmarks."""

    cdef TableWriter writer
    cdef lb_routes *routes

    def __cinit__(self, TableWriter writer):
        cdef uint32_t version
        writer.usable()
        self.writer = writer
        self.routes = NULL
        check(lb_routes_compile(&self.routes, &writer.shm, &version))

    def __dealloc__(self):
        lb_routes_free(self.routes)

    def match(self, bytes head, uint32_t listener=0, uint32_t times=1, bytes ip=bytes(16)):
        """The pool row that a request's head is routed to, matched so many times over; None: nowhere. ip: the client's, in IPv6.
        Raises ValueError for a head or a path that is refused."""
        if len(ip) != 16:
            raise ValueError("an address in IPv6 has 16 bytes")
        cdef lb_routed_client client = lb_routed_client(<const uint8_t *><const char *>ip, listener)
        cdef lb_message message
        cdef lb_head_limits limits = lb_head_limits(28672, 28672, 128)
        cdef lb_routed_to to = lb_routed_to(0, 0, 0, 0, 0)
        cdef uint32_t i
        cdef int routed = 0
        cdef const char *data = head
        if lb_message_request(&message, data, <uint32_t>len(head), &limits):
            raise ValueError("the head is refused")
        with nogil:
            for i in range(times):
                routed = lb_routes_match(self.routes, &client, &message, data, NULL, &to)
        if routed == 2:
            raise ValueError("the path is refused")
        return None if routed else to.pool


def is_claim_header(bytes name):
    """Is it a header that says who a client is, or how it came (csrc/l7/claim_headers.h)?"""
    return lb_is_claim_header(name, <uint32_t>len(name)) != 0


def check_expression(bytes expression):
    """What is wrong with a route's regular expression (POSIX extended), in words; None: nothing."""
    cdef char reason[256]
    if lb_route_expression_check(expression, reason, sizeof(reason)) < 0:
        return (<bytes>reason[:strlen(reason)]).decode(errors="replace")
    return None


def tls_library(bytes path):
    """The version of the libssl behind a path or name, which this process keeps from now on. Raises OSError when it cannot be used."""
    cdef char why[200]
    cdef int error = lb_openssl_open(path, why, sizeof(why))
    if error < 0:
        raise OSError(-error, why.decode(errors="replace"))
    return lb_ssl.OpenSSL_version(0).decode()


def tls_check(bytes bundle):
    """Make all that a worker makes of a bundle (csrc/layout/tls.h): of each certificate its DNS names, and when it expires in Unix time.
    Raises ValueError with what is wrong."""
    cdef char why[200]
    cdef lb_tls_context *context
    cdef uint32_t i
    if lb_tls_context_open(&context, <const char *>bundle, len(bundle), why, sizeof(why)) < 0:
        raise ValueError(why.decode(errors="replace"))
    try:
        return [
            (context.own[i].names[:context.own[i].names_bytes].decode().split("\0")[:-1], context.own[i].expires_s)
            for i in range(context.own_count)
        ]
    finally:
        lb_tls_context_release(context)


def shed_privileges():
    """Give up every capability for good, and whatever an exec might give back: for a worker process. Raises OSError."""
    check(lb_privileges_shed())


def become_user(uint32_t user, *, bint offloads=False):
    """Root becomes this user for good, in its groups already; CAP_NET_BIND_SERVICE stays. No other thread may run. offloads: what that
    takes stays as well, and rests. Raises OSError."""
    check(lb_privileges_become(user, offloads))


def lend_privileges():
    """Put what the offload takes into effect for this thread, as far as it may be had: did that change anything? Raises OSError."""
    cdef int changed = lb_privileges_lend()
    check(changed)
    return changed > 0


def rest_privileges():
    """Take it out of effect again, for this thread and those that it starts. Raises OSError."""
    check(lb_privileges_rest())


def load_seccomp(*, bint offloads=False, bint rings=False):
    """Filter this process's system calls from now on: None, or in words why there is no filter. offloads: it has an Offload. rings:
    it has a Ring."""
    cdef char why[256]
    why[0] = 0
    return None if lb_seccomp_load(offloads, rings, why, sizeof(why)) == 0 else why.decode(errors="replace")


def is_shortage(int error):
    """Does this errno of a connect speak of this host, and never of its peer?"""
    return bool(lb_is_shortage(error))


def seccomp_version():
    """libseccomp's version. Raises OSError, in words, where it cannot be had."""
    cdef char text[256]
    text[0] = 0
    cdef int error = lb_seccomp_version(text, sizeof(text))
    if error:
        raise OSError(-error, text.decode(errors="replace"))
    return text.decode()


cdef class Offload:
    """The program and the maps by which the kernel forwards one worker's sessions; they go with it. Raises OSError, in words."""

    cdef lb_offload *handle

    def __cinit__(self, uint32_t max_sessions, uint32_t which):
        cdef char why[256]
        why[0] = 0
        cdef int error = lb_offload_open(&self.handle, max_sessions, which, why, sizeof(why))
        if error:
            raise OSError(-error, why.decode(errors="replace") or _strerror(-error))

    def __dealloc__(self):
        lb_offload_close(self.handle)


def offload_selftest(*, bint local=False):
    """Whether this kernel forwards bytes as they are: None, or in words why not. local: to backends on this host."""
    cdef char why[256]
    cdef int error
    why[0] = 0
    with nogil:
        error = lb_local_selftest(why, sizeof(why)) if local else lb_offload_selftest(why, sizeof(why))
    return None if error == 0 else why.decode(errors="replace") or _strerror(-error)


cdef class Ring:
    """An io_uring by which a worker's sockets are served. It is of the thread that makes it. Raises OSError."""

    cdef lb_uring *handle

    def __cinit__(self):
        check(lb_uring_open(&self.handle))

    def __dealloc__(self):
        lb_uring_close(self.handle)


def inherited_rings():
    """In a forked child, once: the descriptors of its parent's rings and of the sockets that these serve, now the child's to close."""
    cdef int fd = lb_ring_sockets_inherited(0)
    found = []
    while fd >= 0:
        found.append(fd)
        fd = lb_ring_sockets_inherited(fd + 1)
    return found


def try_ring():
    """Send and receive by an io_uring of this thread's, under a millisecond. Raises OSError where that is not to be had."""
    cdef int error
    with nogil:
        error = lb_uring_try()
    check(error)


def run_worker(memory, *, uint32_t worker, int channel, uint32_t max_sessions, uint32_t max_buffers,
               uint32_t max_pipes, uint32_t max_handshakes=1024, bint own_process=False, bytes adoption_socket=None,
               Offload offload=None, uint32_t offload_asked=0, Ring ring=None):
    """Serve until drained or stopped. The channel stays the caller's. adoption_socket: path of a socket where it waits for another control
    ctx when its own is gone. offload: this worker's alone. offload_asked: what it was to be (OFFLOAD_... of lbcore/control/worker.py); the
    worker's row says both. ring: of this thread; None: epoll serves its sockets. Raises OSError when the worker cannot go on."""
    cdef Py_buffer view
    cdef lb_worker_setup setup
    cdef int result
    cdef const char *path = NULL
    cdef lb_offload *forwarding = NULL
    cdef lb_uring *uring = NULL
    if adoption_socket is not None:
        path = adoption_socket
    if offload is not None:
        forwarding = offload.handle
    if ring is not None:
        uring = ring.handle
    PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
    try:
        setup = lb_worker_setup(view.buf, <uint64_t>view.len, worker, channel, max_sessions, max_buffers, max_pipes,
                                max_handshakes, own_process, forwarding, offload_asked, uring, path)
        with nogil:
            result = lb_worker_run(&setup)
        check(result)
    finally:
        PyBuffer_Release(&view)
