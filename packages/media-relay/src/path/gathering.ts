import type { Mono } from '@drawbridge/core';

/** Below this rate (datagrams per second) every datagram is forwarded at once: a system call each is affordable. */
const FROM_RATE = 10_000;
/** From this rate on the thread waits the whole time. */
const FULL_RATE = 30_000;
/**
 * At 50,000 packets a second 1000 µs make 5.06 µs of CPU per packet and a median delay of 1.1 ms, 400 µs 5.36 and
 * 0.55, 200 µs 5.35 and 0.37: a batch of a dozen has already paid for its system calls.
 */
const LONGEST_US = 200;
const WINDOW_MS = 20;

/**
 * How long a receiving thread lets datagrams gather before it fetches the next batch. It saves system calls and
 * wake-ups under load and would be wasted on a quiet machine, so it grows with the rate — not with our own load,
 * which gathering itself lowers.
 */
export class Gathering {
  #since: Mono;
  #count = 0;
  #wait = 0;

  constructor(now: Mono) {
    this.#since = now;
  }

  /** Notes `n` datagrams (0 = the wait timed out); microseconds to wait before the next receive. */
  note(n: number, now: Mono): number {
    this.#count += n;
    const elapsed = now - this.#since;
    if (elapsed >= WINDOW_MS) {
      const rate = (this.#count * 1000) / elapsed;
      const share = Math.min(1, Math.max(0, (rate - FROM_RATE) / (FULL_RATE - FROM_RATE)));
      this.#wait = Math.round(share * LONGEST_US);
      this.#count = 0;
      this.#since = now;
    }
    return this.#wait;
  }
}
