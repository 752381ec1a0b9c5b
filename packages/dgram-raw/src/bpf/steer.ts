import { parseAddressWords } from '@drawbridge/core';
import { swap32 } from '../sockaddr.js';
import { type AssembledProgram, Assembler, HELPER } from './assembler.js';

/** Offsets in struct bpf_sk_lookup (linux/bpf.h). Addresses in network byte order, `localPort` in host order. */
const CONTEXT = { family: 8, protocol: 12, localIp4: 40, localIp6: 44, localPort: 60 } as const;
const AF_INET = 2;
const AF_INET6 = 10;
const UDP = 17;
const SK_PASS = 1;

/** Bytes of the port bitmap per address: one bit for each of 65,536 ports, port 0 the lowest bit of the first byte. */
export const BITMAP_BYTES = 8192;

/**
 * The sk_lookup program that gives one socket every allocated port of the relay's addresses.
 *
 * A UDP datagram to {one of `addresses`, a port of the range whose bit is set} goes to the socket in `socks`.
 * All else is passed on to the kernel's ordinary lookup, so that ports nobody holds answer as they always did
 * and other servers of the machine are untouched. Addresses are compared inline: there are few.
 */
export function steeringProgram(addresses: readonly string[], firstPort: number, lastPort: number): AssembledProgram {
  const a = new Assembler();
  const key = a.slot('key', 4);
  const v4: { index: number; word: number }[] = [];
  const v6: { index: number; words: readonly number[] }[] = [];
  addresses.forEach((address, index) => {
    const w = new Uint32Array(4);
    if (!parseAddressWords(address, w, 0)) throw new TypeError(`not an address: ${address}`);
    if (w[0] === 0 && w[1] === 0 && w[2] === 0xffff) v4.push({ index, word: swap32(w[3]!) });
    else v6.push({ index, words: [...w].map(swap32) });
  });

  a.op('mov', 6, 1)
    .load('u32', 2, 6, CONTEXT.protocol)
    .jumpIf('ne', 2, UDP, 'pass')
    .load('u32', 7, 6, CONTEXT.localPort)
    .jumpIf('lt', 7, firstPort, 'pass')
    .jumpIf('gt', 7, lastPort, 'pass')
    .load('u32', 2, 6, CONTEXT.family)
    .jumpIf('eq', 2, AF_INET6, 'v6')
    .jumpIf('ne', 2, AF_INET, 'pass')
    .load('u32', 2, 6, CONTEXT.localIp4);
  for (const { index, word } of v4) a.opImm('mov', 8, index).jumpIf32('eq', 2, word, 'ours');
  a.jump('pass').label('v6');
  for (let k = 0; k < 4 && v6.length > 0; k++) a.load('u32', (2 + k) as 2 | 3 | 4 | 5, 6, CONTEXT.localIp6 + 4 * k);
  for (const { index, words } of v6) {
    a.opImm('mov', 8, index);
    words.forEach((word, k) => {
      a.jumpIf32('ne', (2 + k) as 2 | 3 | 4 | 5, word, `not-${index}`);
    });
    a.jump('ours').label(`not-${index}`);
  }
  a.jump('pass')
    .label('ours')
    // The bit of this port in this address's map.
    .store('u32', 10, key, 8)
    .map(1, 'ports')
    .slotAddress(2, 'key')
    .call(HELPER.mapLookup)
    .jumpIf('eq', 0, 0, 'pass')
    .op('mov', 2, 7)
    .opImm('rsh', 2, 3)
    .opImm('and', 2, BITMAP_BYTES - 1)
    .op('add', 0, 2)
    .load('u8', 1, 0, 0)
    .opImm('and', 7, 7)
    .op('rsh', 1, 7)
    .opImm('and', 1, 1)
    .jumpIf('eq', 1, 0, 'pass')
    // The relay's socket; gone when its process died, and then the ordinary lookup decides.
    .storeImm('u32', 10, key, 0)
    .map(1, 'socks')
    .slotAddress(2, 'key')
    .call(HELPER.mapLookup)
    .jumpIf('eq', 0, 0, 'pass')
    .op('mov', 9, 0)
    .op('mov', 1, 6)
    .op('mov', 2, 9)
    .opImm('mov', 3, 0)
    .call(HELPER.skAssign)
    .op('mov', 1, 9)
    .call(HELPER.skRelease)
    .label('pass')
    .opImm('mov', 0, SK_PASS)
    .exit();
  return a.finish();
}
