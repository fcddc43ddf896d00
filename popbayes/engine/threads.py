"""Work of compiled code, which lets go of the interpreter, shared among threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def shared_out[Part](call: Callable[[Part], object], parts: Sequence[Part], threads: int) -> None:
    """Call `call` with every part, on at most `threads` threads, of which the caller's is one.

    Each thread has its share from the beginning: parts are many and short, and handing them out one by one
    would cost more than an uneven end. What any call raises is raised.
    """
    shares = [parts[k::threads] for k in range(min(threads, len(parts)))]

    def work(share: Sequence[Part]) -> None:
        for part in share:
            call(part)

    if len(shares) <= 1:
        work(parts)
        return
    with ThreadPoolExecutor(len(shares) - 1) as pool:
        others = [pool.submit(work, share) for share in shares[1:]]
        work(shares[0])
        for one in others:
            one.result()
