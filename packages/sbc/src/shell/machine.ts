import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { canonicalAddress, type Family } from '@drawbridge/core';

/** The machine's addresses as far as the embedded default needs them. */
export interface Machine {
  /** The source address that routes to the internet would use, per family; undefined when there is none. */
  readonly primary: { readonly 4: string | undefined; readonly 6: string | undefined };
  readonly loopback: { readonly 4: string | undefined; readonly 6: string | undefined };
  /** Every address, canonical. */
  readonly all: readonly string[];
}

export async function lookAtMachine(): Promise<Machine> {
  const all: string[] = [];
  const outer: string[] = [];
  for (const list of Object.values(networkInterfaces())) {
    for (const i of list ?? []) {
      // A link-local address needs a scope, which no phone can be told.
      const address =
        i.address.includes('%') || i.address.startsWith('fe80:') ? undefined : canonicalAddress(i.address);
      if (address === undefined) continue;
      all.push(address);
      if (!i.internal) outer.push(address);
    }
  }
  const first = (family: Family, list: readonly string[]): string | undefined =>
    list.find(a => a.includes(':') === (family === 6));
  const [v4, v6] = await Promise.all([routedSource(4, '192.0.2.1'), routedSource(6, '2001:db8::1')]);
  const own = (a: string | undefined): string | undefined => (a !== undefined && outer.includes(a) ? a : undefined);
  return {
    primary: { 4: own(v4) ?? first(4, outer), 6: own(v6) ?? first(6, outer) },
    loopback: { 4: all.includes('127.0.0.1') ? '127.0.0.1' : undefined, 6: all.includes('::1') ? '::1' : undefined },
    all,
  };
}

/** Connecting a UDP socket sends nothing, but makes the kernel choose the route and with it the source. */
function routedSource(family: Family, toward: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
    const end = (address: string | undefined): void => {
      socket.close();
      resolve(address);
    };
    socket.once('error', () => end(undefined));
    socket.connect(9, toward, () => end(canonicalAddress(socket.address().address)));
  });
}
