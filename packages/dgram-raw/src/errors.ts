export type SocketReason = 'address-in-use' | 'address-not-available' | 'permission' | 'unsupported' | 'failed';

/** A socket that could not be opened. The message is one plain sentence that says what to do about it. */
export class SocketError extends Error {
  override readonly name = 'SocketError';
  readonly reason: SocketReason;
  /** The kernel's own name for it (`EADDRINUSE`), when there was one. */
  readonly code: string | undefined;

  constructor(reason: SocketReason, message: string, code?: string) {
    super(message);
    this.reason = reason;
    this.code = code;
  }
}

export type KernelReason = 'unsupported' | 'permission' | 'rejected' | 'limit' | 'failed';

/** A kernel feature (eBPF, sk_lookup, raw sockets) that refused us. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  readonly reason: KernelReason;
  readonly code: string | undefined;
  /** The end of the verifier's log, when a program was rejected. */
  readonly log: string | undefined;

  constructor(reason: KernelReason, message: string, code?: string, log?: string) {
    super(message);
    this.reason = reason;
    this.code = code;
    this.log = log;
  }
}
