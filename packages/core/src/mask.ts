/**
 * Personal data, masked by type: a log line takes a `Masked`, and the only ways to make one are here.
 * `show` decides per process whether the operator wants to see plain values (`log.personal: plain`).
 */
export class Masked {
  readonly #plain: string;
  readonly #masked: string;

  constructor(plain: string, masked: string) {
    this.#plain = plain;
    this.#masked = masked;
  }

  /** JSON and template strings see the masked form. */
  toJSON(): string {
    return this.#masked;
  }
  toString(): string {
    return this.#masked;
  }
  /** For the operator's own eyes: API and CLI on the admin socket. */
  reveal(): string {
    return this.#plain;
  }
}

/** A user part or number: first and last character stay, `alice` → `a…e`, `+442071838750` → `+…50`. */
export function maskUser(user: string): Masked {
  if (user.length <= 2) return new Masked(user, '…');
  const digits = /^\+?\d+$/.test(user);
  return new Masked(user, digits && user.length > 4 ? `${user[0]}…${user.slice(-2)}` : `${user[0]}…${user.at(-1)}`);
}

/** An address keeps its network: `192.0.2.17` → `192.0.2.x`, `2001:db8:1:2::3` → `2001:db8:1:x`. */
export function maskAddress(address: string): Masked {
  if (!address.includes(':')) return new Masked(address, address.replace(/\.\d+$/, '.x'));
  return new Masked(address, `${address.split(':').slice(0, 3).join(':')}:x`);
}

/** `sip:alice@example.org` → `sip:a…e@example.org`. */
export function maskUri(uri: string): Masked {
  const at = uri.indexOf('@');
  const colon = uri.indexOf(':');
  if (at < 0 || colon < 0 || colon > at) return new Masked(uri, uri);
  return new Masked(uri, `${uri.slice(0, colon + 1)}${maskUser(uri.slice(colon + 1, at))}${uri.slice(at)}`);
}
