import { type Libc, pinned } from './libc.js';
import { SOCKADDR_WORDS } from './sockaddr.js';

/** Words of one struct mmsghdr on 64-bit Linux, and the fields that change. */
export const HEADER_WORDS = 16;
export const HEADER_BYTES = HEADER_WORDS * 4;
const NAME = 0;
const NAME_LENGTH = 2;
const IOV = 4;
const IOV_COUNT = 6;
const CONTROL = 8;
export const CONTROL_LENGTH = 10;
export const FLAGS = 12;
export const LENGTH = 14;

/**
 * The argument of recvmmsg and sendmmsg: `count` message headers, each with one address and one piece of
 * memory, and with `controlBytes` of ancillary data when asked for. Built once; per call only lengths change.
 * Holds every buffer whose address it has written down.
 */
export class MessageVector {
  readonly count: number;
  readonly headers: Buffer;
  /** The headers as words: `head[i * HEADER_WORDS + LENGTH]` is the length of message i after a receive. */
  readonly head: Uint32Array;
  /** Addresses, `SOCKADDR_WORDS` apart. */
  readonly names: Uint32Array;
  readonly control: Uint32Array;
  readonly controlWords: number;
  readonly #iov: Buffer;
  readonly #iov32: Uint32Array;
  readonly #dataAddress: number;
  readonly #held: readonly Buffer[];

  constructor(libc: Libc, count: number, data: Buffer, options: { nameBytes: number; controlBytes?: number }) {
    const controlBytes = options.controlBytes ?? 0;
    this.count = count;
    this.headers = pinned(count * HEADER_BYTES);
    this.head = words(this.headers);
    const names = pinned(count * SOCKADDR_WORDS * 4);
    this.names = words(names);
    const control = pinned(Math.max(8, count * controlBytes));
    this.control = words(control);
    this.controlWords = controlBytes / 4;
    this.#iov = pinned(count * 16);
    this.#iov32 = words(this.#iov);
    // User-space addresses stay below 2^53, so that placing a message needs no BigInt.
    this.#dataAddress = Number(libc.address(data));
    this.#held = [data, names, control];
    const nameAddress = libc.address(names);
    const iovAddress = libc.address(this.#iov);
    const controlAddress = libc.address(control);
    for (let i = 0; i < count; i++) {
      const at = i * HEADER_BYTES;
      if (options.nameBytes > 0) {
        this.headers.writeBigUInt64LE(nameAddress + BigInt(i * SOCKADDR_WORDS * 4), at + NAME * 4);
        this.headers.writeUInt32LE(options.nameBytes, at + NAME_LENGTH * 4);
      }
      this.headers.writeBigUInt64LE(iovAddress + BigInt(i * 16), at + IOV * 4);
      this.headers.writeBigUInt64LE(1n, at + IOV_COUNT * 4);
      if (controlBytes > 0) {
        this.headers.writeBigUInt64LE(controlAddress + BigInt(i * controlBytes), at + CONTROL * 4);
        this.headers.writeBigUInt64LE(BigInt(controlBytes), at + CONTROL_LENGTH * 4);
      }
    }
  }

  /** Message i is `length` bytes at offset `at` of the data given to the constructor. */
  place(i: number, at: number, length: number): void {
    const address = this.#dataAddress + at;
    // A store keeps the lower 32 bits of the integer part, which is all of `%` and `floor` that is wanted here;
    // `%` on such a number is a loop of the x87 unit.
    this.#iov32[i * 4] = address;
    this.#iov32[i * 4 + 1] = address / 0x1_0000_0000;
    this.#iov32[i * 4 + 2] = length;
  }

  setLength(i: number, length: number): void {
    this.#iov32[i * 4 + 2] = length;
  }

  /** Buffers whose addresses the kernel is given, the data included. */
  get held(): readonly Buffer[] {
    return this.#held;
  }
}

function words(b: Buffer): Uint32Array {
  return new Uint32Array(b.buffer, b.byteOffset, b.byteLength >> 2);
}
