import { readFile, stat } from 'node:fs/promises';
import { canonicalAddress, type Endpoint, familyOf } from '@drawbridge/core';
import type { DnsQuestion } from '../locate/answer.js';

const LOOK_AGAIN_MS = 1000;
const LARGEST = 1 << 20;
/** As in the C library. */
const MOST_SERVERS = 3;

/** Addresses by name, in lower case. */
export type HostsFile = ReadonlyMap<string, readonly string[]>;

/** A file of the system in the form we want it; read again when it has changed, at most once a second. A missing one is empty. */
export class WatchedFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  #value: T;
  #stamp = '';
  #looked = Number.NEGATIVE_INFINITY;

  constructor(path: string, parse: (text: string) => T) {
    this.#path = path;
    this.#parse = parse;
    this.#value = parse('');
  }

  async read(): Promise<T> {
    const now = performance.now();
    if (now - this.#looked < LOOK_AGAIN_MS) return this.#value;
    try {
      const { mtimeMs, size, ino } = await stat(this.#path);
      const stamp = `${mtimeMs} ${size} ${ino}`;
      if (stamp !== this.#stamp && size <= LARGEST) {
        this.#value = this.#parse(await readFile(this.#path, 'latin1'));
        this.#stamp = stamp;
      }
    } catch {
      this.#value = this.#parse('');
      this.#stamp = '';
    }
    this.#looked = performance.now();
    return this.#value;
  }
}

export function readHosts(text: string): HostsFile {
  const found = new Map<string, string[]>();
  for (const fields of fieldsOf(text)) {
    const address = canonicalAddress(fields[0] ?? '');
    if (address === undefined) continue;
    for (const name of fields.slice(1)) {
      const key = name.toLowerCase();
      const list = found.get(key);
      if (list === undefined) found.set(key, [address]);
      else if (!list.includes(address)) list.push(address);
    }
  }
  return found;
}

export function readServers(text: string): readonly Endpoint[] {
  const servers: Endpoint[] = [];
  for (const [word, address] of fieldsOf(text)) {
    const plain = word === 'nameserver' && address !== undefined ? canonicalAddress(address) : undefined;
    if (plain !== undefined && servers.length < MOST_SERVERS) servers.push({ address: plain, port: 53 });
  }
  return servers.length > 0 ? servers : [{ address: '127.0.0.1', port: 53 }];
}

/**
 * What the hosts file says to a question. Whoever stands there is wholly local: addresses of a family that isn't listed and
 * service records are known not to exist, so that no name server has to be waited for.
 */
export function hostsOf(hosts: HostsFile, q: DnsQuestion): readonly string[] | undefined {
  const service = /^_[^.]*\._[^.]*\./.exec(q.name);
  const listed = hosts.get(q.type === 'SRV' && service !== null ? q.name.slice(service[0].length) : q.name);
  if (listed === undefined) return undefined;
  return q.type === 'A' || q.type === 'AAAA' ? listed.filter(a => familyOf(a) === (q.type === 'A' ? 4 : 6)) : [];
}

function* fieldsOf(text: string): Iterable<string[]> {
  for (const line of text.split('\n')) {
    const hash = line.search(/[#;]/);
    const fields = (hash < 0 ? line : line.slice(0, hash)).split(/\s+/).filter(f => f !== '');
    if (fields.length > 0) yield fields;
  }
}
