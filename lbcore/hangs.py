"""Workers that hang: each is asked once a second to turn. One that does not is told of, and after a while replaced."""

from __future__ import annotations

from lbcore import crew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.posts import Post, Posts
    from lbcore.table import Table

ASK_S = 1.0
"""One that has not turned for so long by itself is asked to."""
HANGS_S = 2.0
"""One that has not turned so long after that hangs."""
LATE_S = 1.0
"""A look that comes later than this was held up itself, as with a machine that slept: then nobody is blamed."""


class Hangs:
    """Of one balancer; the supervisor's thread calls `look`. limit_s: how long a worker may hang until its process is killed,
    so that another takes its place; 0: for ever."""

    def __init__(self, table: Table, posts: Posts, limit_s: float, log: Callable[[str], None]) -> None:
        self.limit_s = limit_s
        self._table = table
        self._posts = posts
        self._log = log
        self._due = 0.0
        self._asked: dict[int, float] = {}  # by section: since when it owes a turn
        self._hanging: dict[int, Post] = {}
        for section in range(table.segment.head.workers):
            table.set_hanging(section, False)

    @property
    def numbers(self) -> list[int]:
        """Workers that serve, and hang."""
        hanging = list(self._hanging.values())
        return [post.number for post in self._posts.serving if post in hanging]

    def look(self, now: float) -> float:
        """Ask all, and judge those who owe an answer. Returns when to look again (monotonic seconds)."""
        if now < self._due:
            return self._due
        if now > self._due + LATE_S:
            self._asked.clear()
        self._due = now + ASK_S
        posts = {post.section: post for post in self._posts.all() if post.channel and post.ready}
        for section in set(self._asked) - set(posts):
            del self._asked[section]
        for section in [section for section, post in self._hanging.items() if posts.get(section) is not post]:
            self._recover(section)
        for section, post in posts.items():
            self._look_at(section, post, now)
        return self._due

    def _look_at(self, section: int, post: Post, now: float) -> None:
        turned_ms = self._table.segment.worker(section).heartbeat_ms
        asked = self._asked.get(section)
        if asked is not None and turned_ms >= int(asked * 1000):
            asked = None
            del self._asked[section]
            if section in self._hanging:
                self._recover(section)
                self._log(f"worker {post.number} turns again")
        if asked is None:
            if turned_ms < (now - ASK_S / 2) * 1000 and post.channel:
                self._asked[section] = now
                post.channel.send(crew.WAKE)
            return
        if now - asked >= HANGS_S and section not in self._hanging:
            self._hanging[section] = post
            self._table.set_hanging(section, True)
            self._log(f"worker {post.number} (process {post.worker.pid if post.worker else '?'}) hangs{self._outlook(post)}")
        if section in self._hanging and self.limit_s and now - asked >= self.limit_s:
            self._replace(post, now - asked)

    def _outlook(self, post: Post) -> str:
        if isinstance(post.worker, crew.ThreadWorker):
            return ": it is a thread, and cannot be replaced"
        return f": another takes its place after {self.limit_s:g} s" if self.limit_s else ""

    def _replace(self, post: Post, hung_s: float) -> None:
        """End its process; its channel tells the supervisor, who starts another."""
        if post.worker is not None and not isinstance(post.worker, crew.ThreadWorker):
            self._log(f"worker {post.number} hangs for {hung_s:.0f} s: killed")
            post.worker.strike()
        self._asked.pop(post.section, None)

    def _recover(self, section: int) -> None:
        del self._hanging[section]
        self._table.set_hanging(section, False)
