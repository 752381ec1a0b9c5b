import { readFileSync } from 'node:fs';
import { Endpoints } from '@drawbridge/core';
import t from 'tap';
import { encode } from '../src/bpf/assembler.js';
import {
  Assembler,
  Bpf,
  disassemble,
  HELPER,
  KernelError,
  type Libc,
  loadLibc,
  MAP_TYPE,
  openUdp,
  PROGRAM_TYPE,
  SteeredReceiver,
  SteeredSocket,
  steeringProgram,
} from '../src/index.js';

const FIRST = 20_300;
const LAST = 20_399;

async function libc(): Promise<Libc> {
  const loaded = await loadLibc();
  if (typeof loaded === 'string') throw new Error(loaded);
  return loaded;
}

t.test('the steering program is what it was', async t => {
  const listing = disassemble(steeringProgram(['192.0.2.1', '2001:db8::1', '198.51.100.7'], 30_000, 39_999));
  const want = readFileSync(new URL('../../test/snapshots/steer.txt', import.meta.url), 'latin1');
  t.equal(`${listing.join('\n')}\n`, want);
});

t.test('instructions are encoded as the kernel reads them', async t => {
  const a = new Assembler();
  a.slot('key', 4);
  const program = a
    .opImm('mov', 0, -1)
    .load('u16', 2, 1, 60)
    .label('again')
    .slotAddress(3, 'key')
    .map(1, 'm')
    .jumpIf32('eq', 2, 0xf0000001, 'again')
    .call(HELPER.mapLookup)
    .exit()
    .finish();
  const code = Buffer.alloc(program.instructions.length * 8);
  encode(program, { m: 7 }, code);
  t.equal(
    code
      .toString('hex')
      .replace(/(.{16})/g, '$1 ')
      .trim(),
    [
      'b7000000ffffffff', // r0 = -1
      '69123c0000000000', // r2 = *(u16 *)(r1 + 60)
      'bfa3000000000000', // r3 = r10
      '07030000f8ffffff', // r3 += -8
      '1811000007000000', // r1 = map, pseudo source 1
      '0000000000000000',
      '1602fbff010000f0', // if w2 == 0xf0000001 goto -5
      '8500000001000000',
      '9500000000000000',
    ].join(' '),
  );
  t.throws(() => encode(program, {}, code), /no map m/);
});

t.test('mistakes in a program are ours and throw', async t => {
  t.throws(() => new Assembler().jump('nowhere').finish(), /no label nowhere/);
  t.throws(() => new Assembler().label('a').label('a'), /twice/);
  t.throws(() => new Assembler().slot('big', 520), /512 bytes of stack/);
  t.throws(() => new Assembler().slotAddress(1, 'none'), /no stack slot/);
});

t.test('maps keep what is written; a lookup of nothing says so', async t => {
  const bpf = new Bpf(await libc());
  const map = bpf.createMap({ type: MAP_TYPE.hash, keyBytes: 4, valueBytes: 8, entries: 4, name: 'test' });
  t.teardown(() => bpf.close(map.fd));
  map.key.writeUInt32LE(5);
  t.equal(map.lookup(), false);
  map.value.writeBigUInt64LE(77n);
  map.update();
  map.value.fill(0);
  t.equal(map.lookup(), true);
  t.equal(map.value.readBigUInt64LE(), 77n);
  t.equal(map.delete(), true);
  t.equal(map.lookup(), false);
  for (let k = 0; k < 4; k++) {
    map.key.writeUInt32LE(k);
    map.update();
  }
  map.key.writeUInt32LE(99);
  t.throws(() => map.update(), KernelError, 'a full map is a typed error');
});

t.test("a program the verifier rejects is a typed error with the verifier's words", async t => {
  const bpf = new Bpf(await libc());
  const load = (a: Assembler): unknown => {
    try {
      bpf.close(bpf.loadProgram({ type: PROGRAM_TYPE.socketFilter, name: 'test', program: a.finish(), maps: {} }));
      return 'loaded';
    } catch (error) {
      return error;
    }
  };
  t.equal(load(new Assembler().opImm('mov', 0, 0).exit()), 'loaded', 'control');
  const error = load(new Assembler().op('mov', 0, 3).exit());
  t.ok(error instanceof KernelError);
  t.match(error, {
    reason: 'rejected',
    message: "The kernel's verifier rejected the program test.",
    log: /R3 !read_ok/,
  });
});

t.test('without the right to it the error says what is needed', async t => {
  const real = await libc();
  const denied: Libc = { ...real, bpf: () => -1, errno: () => 1 };
  try {
    SteeredSocket.open(denied, { addresses: ['127.0.0.9'], firstPort: FIRST, lastPort: LAST });
    t.fail('opened');
  } catch (error) {
    t.match(error, {
      reason: 'permission',
      code: 'EPERM',
      message: 'Creating the map relay_socks: needs CAP_BPF and CAP_NET_ADMIN (or root) (EPERM).',
    });
  }
});

t.test('one socket receives for the open ports of several addresses, and only for them', async t => {
  const l = await libc();
  const steered = SteeredSocket.open(l, {
    addresses: ['127.0.0.9', '::1', '127.0.0.10'],
    firstPort: FIRST,
    lastPort: LAST,
    idleMs: 20,
  });
  const four = await openUdp({ address: '127.0.0.1', port: 0 });
  const six = await openUdp({ address: '::1', port: 0 });
  t.teardown(async () => {
    steered.close();
    await Promise.all([four.close(), six.close()]);
  });
  const receiver = new SteeredReceiver(l, steered.fd);
  const take = (): string[] => {
    const got: string[] = [];
    for (let n = receiver.receive(); n !== 0; n = receiver.receive()) {
      if (n < 0) throw new Error(`errno ${-n}`);
      for (let i = 0; i < n; i++) {
        t.equal(receiver.peer.port(i), receiver.peer.family(i) === 4 ? four.local.port : six.local.port);
        got.push(
          `${receiver.local.address(i)} ${receiver.local.port(i)} ${receiver.bytes.toString('latin1', receiver.at[i]!, receiver.at[i]! + receiver.len[i]!)}`,
        );
      }
    }
    return got;
  };
  const spray = (): void => {
    for (const port of [FIRST, FIRST + 7, FIRST + 8, LAST, LAST + 1]) {
      for (const address of ['127.0.0.9', '127.0.0.10', '127.0.0.11'])
        four.text(0, Endpoints.of({ address, port }), 0, `to ${port}`);
      six.text(0, Endpoints.of({ address: '::1', port }), 0, `to ${port}`);
    }
    four.flush();
    six.flush();
  };
  spray();
  t.same(take(), [], 'no port is open');
  steered.openPort(0, FIRST);
  steered.openPort(2, FIRST + 7);
  steered.openPort(1, LAST);
  spray();
  t.same(take().sort(), [
    `127.0.0.10 ${FIRST + 7} to ${FIRST + 7}`,
    `127.0.0.9 ${FIRST} to ${FIRST}`,
    `::1 ${LAST} to ${LAST}`,
  ]);
  steered.closePort(0, FIRST);
  spray();
  t.same(take().sort(), [`127.0.0.10 ${FIRST + 7} to ${FIRST + 7}`, `::1 ${LAST} to ${LAST}`]);
  t.equal(steered.drops(), 0);
  t.equal(receiver.truncated, 0);
  four.text(0, Endpoints.of({ address: '127.0.0.10', port: FIRST + 7 }), 0, 'x'.repeat(9217));
  four.text(0, Endpoints.of({ address: '127.0.0.10', port: FIRST + 7 }), 0, 'y');
  four.flush();
  t.same(take(), [`127.0.0.10 ${FIRST + 7} y`]);
  t.equal(receiver.truncated, 1);
});
