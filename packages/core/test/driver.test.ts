import t from 'tap';
import {
  type AskId,
  BATCH,
  type Core,
  Driver,
  Endpoints,
  type FlowChange,
  isStream,
  type Listener,
  type ListenerSink,
  listenerOf,
  type Mono,
  type Rx,
  type Tx,
  type Via,
} from '../src/index.js';

const PEER = Endpoints.of({ address: '192.0.2.1', port: 5060 });

class FakeListener implements Listener {
  readonly name: string;
  readonly journal: string[];
  sink: ListenerSink | undefined;
  via: Via = -1;
  full = false;
  faulty = false;

  constructor(name: string, journal: string[]) {
    this.name = name;
    this.journal = journal;
  }
  start(via: Via, sink: ListenerSink): void {
    this.via = via;
    this.sink = sink;
  }
  text(via: Via, to: Endpoints, j: number, message: string): boolean {
    this.journal.push(`${this.name} text ${via} ${to.port(j)} ${message}`);
    return !this.full;
  }
  bytes(via: Via, to: Endpoints, j: number, from: Buffer, at: number, len: number): boolean {
    this.journal.push(`${this.name} bytes ${via} ${to.port(j)} ${from.toString('latin1', at, at + len)}`);
    return !this.full;
  }
  flush(): void {
    this.journal.push(`${this.name} flush`);
    if (this.faulty) throw new Error('flush');
  }
  hangUp(): void {}
  async close(): Promise<void> {
    this.journal.push(`${this.name} close`);
  }

  receive(...texts: string[]): void {
    const rx = {
      count: texts.length,
      bytes: Buffer.from(texts.join('')),
      at: new Uint32Array(BATCH),
      len: Uint32Array.from(texts.map(s => s.length)),
      via: new Uint32Array(BATCH).fill(this.via),
      peer: PEER,
      local: PEER,
    } satisfies Rx;
    let at = 0;
    for (const [i, s] of texts.entries()) {
      rx.at[i] = at;
      at += s.length;
    }
    this.sink?.batch(rx);
  }
}

/** Echoes text, does what the text says, and keeps a journal. */
class FakeCore implements Core<string, string> {
  readonly journal: string[];
  readonly events: string[] = [];
  due: Mono = Number.POSITIVE_INFINITY;
  onTimeout: (now: Mono) => void = () => {};

  constructor(journal: string[]) {
    this.journal = journal;
  }
  handleBatch(_now: Mono, rx: Rx, tx: Tx): void {
    for (let i = 0; i < rx.count; i++) {
      const text = rx.bytes.toString('latin1', rx.at[i]!, rx.at[i]! + rx.len[i]!);
      this.journal.push(`batch ${text}`);
      if (text === 'throw') throw new Error('a bug');
      if (text === 'events') this.events.push('one', 'two', 'throw', 'three');
      if (text === 'inPlace') tx.inPlace(rx, i, 2, 5, rx.via[i]!, rx.peer, 0);
      if (text === 'elsewhere') tx.text(9, rx.peer, 0, 'nobody there');
      if (text === 'echo') this.journal.push(`sent ${tx.text(rx.via[i]!, rx.peer, 0, 'hello')}`);
    }
  }
  handleFlow(_now: Mono, flow: Via, what: FlowChange): void {
    this.journal.push(`flow ${listenerOf(flow)} ${isStream(flow)} ${what}`);
  }
  handleTimeout(now: Mono): void {
    this.journal.push('timeout');
    this.due = Number.POSITIVE_INFINITY;
    this.onTimeout(now);
  }
  handleAnswer(_now: Mono, id: AskId, answer: string): void {
    this.journal.push(`answer ${id} ${answer}`);
    this.events.push(`answered ${id}`);
  }
  pollTimeout(): Mono {
    return this.due;
  }
  pollEvent(): string | undefined {
    return this.events.shift();
  }
}

function service(names: readonly string[]) {
  const journal: string[] = [];
  const core = new FakeCore(journal);
  const listeners = names.map(name => new FakeListener(name, journal));
  const now = (): Mono => performance.now();
  const driver = new Driver(core, {
    listeners,
    now,
    onEvent(e) {
      journal.push(`event ${e}`);
      if (e === 'throw') throw new Error('bad event handler');
    },
    onFault: error => journal.push(`fault ${(error as Error).message}`),
  });
  driver.start();
  return { journal, core, driver, now, listeners, taken: () => journal.splice(0) };
}

t.test('a turn is: work, events in order, every listener flushed', async t => {
  const s = service(['udp', 'tcp']);
  t.same(s.taken(), ['udp flush', 'tcp flush'], 'what start made leaves too');
  t.same(
    s.listeners.map(l => l.via),
    [0, 1],
  );
  s.listeners[1]?.receive('echo', 'inPlace');
  t.same(s.taken(), [
    'batch echo',
    'tcp text 1 5060 hello',
    'sent true',
    'batch inPlace',
    'tcp bytes 1 5060 Place',
    'udp flush',
    'tcp flush',
  ]);
  s.driver.run((_now, tx) => void tx.text(0, PEER, 0, 'from the shell'));
  t.same(s.taken(), ['udp text 0 5060 from the shell', 'udp flush', 'tcp flush']);
  s.driver.answer(7, 'yes');
  s.driver.answer(8, 'no');
  t.same(s.taken(), [], 'answers of one commit wait for each other');
  await Promise.resolve();
  t.same(s.taken(), ['answer 7 yes', 'answer 8 no', 'event answered 7', 'event answered 8', 'udp flush', 'tcp flush']);
  s.driver.answer(9, 'again');
  await Promise.resolve();
  t.same(s.taken(), ['answer 9 again', 'event answered 9', 'udp flush', 'tcp flush']);
  s.listeners[1]?.sink?.flow(0x0501, 'closed');
  t.same(s.taken(), ['flow 1 true closed', 'udp flush', 'tcp flush']);
  await s.driver.close();
});

t.test('faults are caught where they happen and the next message is served', async t => {
  const s = service(['udp', 'tcp']);
  s.taken();
  s.listeners[0]?.receive('throw');
  t.same(s.taken(), ['batch throw', 'fault a bug', 'udp flush', 'tcp flush']);
  s.listeners[0]?.receive('events');
  t.same(s.taken(), [
    'batch events',
    'event one',
    'event two',
    'event throw',
    'fault bad event handler',
    'event three',
    'udp flush',
    'tcp flush',
  ]);
  if (s.listeners[0] !== undefined) s.listeners[0].faulty = true;
  s.listeners[0]?.receive('echo');
  t.same(
    s.taken(),
    ['batch echo', 'udp text 0 5060 hello', 'sent true', 'udp flush', 'fault flush', 'tcp flush'],
    'the others are flushed',
  );
  await s.driver.close();
});

t.test('a refused send is false and counted', async t => {
  const s = service(['udp']);
  s.listeners[0]?.receive('echo');
  t.equal(s.driver.refused, 0, 'control: an accepted one is not');
  if (s.listeners[0] !== undefined) s.listeners[0].full = true;
  s.listeners[0]?.receive('echo', 'inPlace', 'elsewhere');
  t.ok(s.journal.includes('sent false'));
  t.equal(s.driver.refused, 3, 'full twice, no such listener once');
  await s.driver.close();
});

t.test('one timer: moved earlier, kept when later, gone with the driver', async t => {
  const s = service(['udp']);
  const fired = new Promise<Mono>(resolve => {
    s.core.onTimeout = resolve;
  });
  s.taken();
  s.core.due = s.now() + 60_000;
  s.listeners[0]?.receive('far');
  const due = s.now() + 20;
  s.core.due = due;
  s.listeners[0]?.receive('near');
  const at = await fired;
  t.ok(at >= due - 1, `not before its time: ${at - due} ms`);
  t.same(
    s.taken().filter(line => line === 'timeout'),
    ['timeout'],
  );

  s.core.due = s.now() + 5;
  s.listeners[0]?.receive('again');
  s.core.due = s.now() + 60_000;
  const second = new Promise<Mono>(resolve => {
    s.core.onTimeout = resolve;
  });
  s.listeners[0]?.receive('later');
  await second;
  t.pass('an early call is harmless: the core says again when it wants to be called');

  s.core.due = s.now() + 5;
  s.listeners[0]?.receive('last');
  await s.driver.close();
  s.taken();
  await new Promise(resolve => setTimeout(resolve, 30));
  s.listeners[0]?.receive('after the end');
  s.driver.answer(1, 'too late');
  t.same(s.taken(), [], 'a closed driver hears nothing');
});
