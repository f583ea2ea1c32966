"""Traces: what clients ask of model servers. Pure; a seed decides all."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field

ANSWER = 500
"""Characters of an answer, about."""


@dataclass
class Conversation:
    """One conversation. said: its messages so far, the system prompt first; chain: what names them in a cache."""

    number: int
    turns: int
    said: list[str]
    chain: list[int]
    turn: int = 0
    dice: random.Random = field(default_factory=random.Random)

    @property
    def key(self) -> int:
        """What a client would send as its session."""
        return (self.number + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1

    def ask(self, length: int) -> None:
        """Its next turn."""
        self._say("user", length)
        self.turn += 1

    def hear(self, length: int) -> None:
        """What the model said."""
        self._say("assistant", length)

    def text(self) -> bytes:
        """The messages as they stand in a request's body."""
        return b"[" + b",".join(message.encode() for message in self.said) + b"]"

    def _say(self, role: str, length: int) -> None:
        self.said.append(message(role, words(self.dice, length)))
        self.chain.append(self.dice.getrandbits(62))


def words(dice: random.Random, length: int) -> str:
    """So many characters, about."""
    parts: list[str] = []
    count = 0
    while count < length:
        word = "".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9)))
        parts.append(word)
        count += len(word) + 1
    return " ".join(parts)


def message(role: str, content: str) -> str:
    """One of a request's messages."""
    return f'{{"role":"{role}","content":"{content}"}}'


@dataclass(frozen=True)
class Trace:
    """Conversations that share system prompts. prompt, question: characters, about; flights: requests under way at once."""

    conversations: int = 50
    turns: int = 20
    prompts: int = 5
    flights: int = 16
    prompt: int = 2000
    question: int = 100
    in_order: bool = False
    """One conversation after the other; else any that waits may be next."""

    def draw(self, seed: int) -> list[Conversation]:
        """The conversations, before their first turn."""
        dice = random.Random(seed)
        prompts = [(message("system", words(dice, self.prompt)), dice.getrandbits(62)) for _ in range(self.prompts)]
        drawn = []
        for number in range(self.conversations):
            said, chain = prompts[number % self.prompts]
            own = random.Random(dice.getrandbits(62))
            drawn.append(Conversation(number, self.turns, [said], [chain], dice=own))
        return drawn
