"""How an effect on the outside world can fail, as data.

Activities return a failure instead of raising it: the durable loop decides about retries on durable timers, and a raised exception
would put a stack trace into the workflow's history for every attempt.
"""

from dataclasses import dataclass, field
from typing import Literal

FailureKind = Literal["transient", "permanent", "fatal"]
Cause = Literal["call", "charged", "silent", "store", "unstored", "defect", "revision", "auth", "context", "output", "limit"]

Reach = Literal["unsent", "answered", "lost"]


@dataclass(frozen=True)
class Failure:
    """What went wrong, and what to do about it.

    Attributes:
        kind: `transient`: the same call may succeed later; `permanent`: this call cannot succeed, and the model is told why;
            `fatal`: nothing that this run does can succeed, so it ends.
        message: one sentence for the model or a person. Never a secret, never a traceback.
        retry_after: seconds that the other side asked to wait before the next attempt.
        cause: what may be bounded in its own way: `call`, the call failed; `charged`, it did too, and is probably paid for all the same;
            `silent`, a model did not answer in time, which is likely paid for too, but may also be an outage;
            `store`, our own state store failed and the other side is not to blame; `unstored`, it did after the call was paid for;
            `defect`, something broke inside the agent; `revision`, what the run is pinned to cannot be had;
            `auth`, the key is not accepted; `context`, the conversation is longer than the model takes; `output`, the answer did not fit
            `output.schema` to the end; `limit`, the model gave no answer when it had to.
        reach: how far the call got: `unsent`: surely nothing has happened; `answered`: the other side said what became of it; `lost`: it
            was sent and no answer came, so nobody here knows.
        public: the same as `message`, without a word that others said: what logs may hold. Empty: they say no more than kind and cause.
    """

    kind: FailureKind
    message: str
    retry_after: float | None = None
    cause: Cause = "call"
    reach: Reach = "answered"
    public: str = field(default="", compare=False)


def one_line(text: str, most: int) -> str:
    """The text on one line of at most `most` characters that every store can take: half a surrogate pair, as JSON can hold it, is none."""
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= most else line[: most - 1] + "…"
