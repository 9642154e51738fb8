"""Answering requests of several threads together.

Nobody waits for company: whoever comes while nothing is computed is answered at once. Whoever comes meanwhile forms the
next batch with the others, so that the busier the machine is the larger the batches are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Request = TypeVar('Request')
Answer = TypeVar('Answer')


@dataclass
class _Ticket(Generic[Request, Answer]):
    request: Request
    answers: tuple[Answer, ...] = ()
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return bool(self.answers) or self.error is not None


class Batcher(Generic[Request, Answer]):
    """Computes answers in batches; any thread may ask.

    Args:
        compute: Answers a batch, in its order. An exception that a batch raises is each single request's own: they are
            then computed one by one. Not a method of the batcher's owner: in that cycle of references the megabytes of
            a network that a newer one has replaced would stay until Python looks for cycles, which in a process that
            has loaded torch it hardly ever does.
        largest: Requests in a batch at most.

    Attributes:
        requests: Answered so far.
        batches: In so many batches.
    """

    def __init__(self, compute: Callable[[Sequence[Request]], Sequence[Answer]], largest: int) -> None:
        self._compute = compute
        self._largest = largest
        self._waiting: list[_Ticket[Request, Answer]] = []
        self._arriving = threading.Lock()
        self._computing = threading.Lock()
        self.requests = self.batches = 0

    def ask(self, request: Request) -> Answer:
        """Return the answer to one request.

        Raises:
            Exception: What `compute` raised for it.
        """
        ticket: _Ticket[Request, Answer] = _Ticket(request)
        with self._arriving:
            self._waiting.append(ticket)
        while not ticket.done:
            with self._computing:
                if not ticket.done:
                    self._answer(self._next_batch())
        if ticket.error is not None:
            raise ticket.error
        return ticket.answers[0]

    def _next_batch(self) -> list[_Ticket[Request, Answer]]:
        with self._arriving:
            batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
        return batch

    def _answer(self, batch: list[_Ticket[Request, Answer]]) -> None:
        try:
            answers = self._compute([ticket.request for ticket in batch])
        except Exception as error:
            if len(batch) > 1:
                for ticket in batch:
                    self._answer([ticket])
            else:
                batch[0].error = error
            return
        self.requests += len(batch)
        self.batches += 1
        for ticket, answer in zip(batch, answers, strict=True):
            ticket.answers = (answer,)
