import { canonicalAddress, parseEndpoint } from './address.js';

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

/**
 * `sip:alice@example.org` → `sip:a…e@example.org`, `tel:+442071838750` → `tel:+…50`. A password goes altogether,
 * a host that is an address keeps its network.
 */
export function maskUri(uri: string): Masked {
  const colon = uri.indexOf(':');
  if (colon < 0) return new Masked(uri, maskUser(uri).toString());
  const scheme = uri.slice(0, colon + 1);
  const at = uri.indexOf('@');
  const after = at < 0 ? uri.slice(colon + 1) : uri.slice(at + 1);
  const end = after.search(/[;?>]/);
  const subject = end < 0 ? after : after.slice(0, end);
  const rest = end < 0 ? '' : after.slice(end);
  if (at < 0 && /^tel:/i.test(scheme)) return new Masked(uri, `${scheme}${maskUser(subject)}${rest}`);
  const user = at < colon ? '' : `${maskUser(uri.slice(colon + 1, at).split(':', 1)[0] ?? '')}@`;
  return new Masked(uri, `${scheme}${user}${maskHost(subject)}${rest}`);
}

function maskHost(host: string): string {
  const address = canonicalAddress(host) ?? parseEndpoint(host)?.address;
  if (address === undefined) return host;
  const masked = maskAddress(address).toString();
  return address.includes(':') ? `[${masked}]` : masked;
}
