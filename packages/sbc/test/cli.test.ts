import { spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLogger, systemRandom } from '@drawbridge/service';
import { answerChallenge, buildReply, buildRequest, H, headerLine, MessageView } from '@drawbridge/sip';
import t from 'tap';
import type { BindingFacts, StatusFacts } from '../src/admin/facts.js';
import { NotRunning } from '../src/commands/admin-client.js';
import { bindings } from '../src/commands/bindings.js';
import { calls } from '../src/commands/calls.js';
import type { Command, CommandContext } from '../src/commands/command.js';
import { drain } from '../src/commands/drain.js';
import { ladder } from '../src/commands/ladder.js';
import { parseSubscribers } from '../src/commands/subscriber-file.js';
import { subscribers } from '../src/commands/subscribers.js';
import { clock, table } from '../src/commands/table.js';
import { trace } from '../src/commands/trace.js';
import { compose, type Running } from '../src/compose.js';
import { type Config, configSchema, freezeConfig } from '../src/config.js';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-cli-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));

async function freePort(): Promise<number> {
  const s = createServer().listen(0, '127.0.0.1');
  await once(s, 'listening');
  const at = s.address();
  s.close();
  await once(s, 'close');
  return typeof at === 'object' && at !== null ? at.port : 0;
}

async function config(name: string, more: object = {}): Promise<Config> {
  return freezeConfig(
    configSchema.parse({
      realms: { loop: { bind: ['127.0.0.1'], sip: { udp: 0, tcp: 0 }, networks: ['127.0.0.0/8'] } },
      domains: { 'example.org': { kind: 'local' }, 'pbx.example.net': { kind: 'upstream', next: ['sip:127.0.0.1:9'] } },
      media: { ports: [26000, 26099], path: 'dgram' },
      store: { path: join(folder, name) },
      cdr: { file: join(folder, `${name}.jsonl`) },
      admin: { listen: `127.0.0.1:${await freePort()}` },
      ...more,
    }),
  );
}

function start(c: Config): Promise<Running> {
  return compose(c, {
    log: createLogger({ level: process.env.SHOW === '1' ? 'debug' : 'silent', personal: 'plain', to: process.stderr }),
    progress: () => {},
    credentialsPath: join(folder, 'credentials.json'),
  });
}

/** Runs a command as the terminal would; what it said, and its exit status. */
async function run(
  command: Command,
  c: Config,
  words: readonly string[],
  more: Partial<CommandContext> = {},
): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await command({
    config: c,
    source: 'test',
    words,
    json: false,
    password: undefined,
    print: text => {
      out += `${text}\n`;
    },
    complain: text => {
      err += `${text}\n`;
    },
    ...more,
  });
  return { code, out, err };
}

async function exchange(socket: Socket, port: number, text: string): Promise<MessageView> {
  socket.send(text, port, '127.0.0.1');
  const [bytes] = (await once(socket, 'message')) as [Buffer];
  const m = new MessageView();
  m.parse(bytes.toString('latin1'));
  return m;
}

function register(socket: Socket, cseq: number, headers: string): string {
  const { port } = socket.address();
  return buildRequest({
    method: 'REGISTER',
    uri: 'sip:example.org',
    via: { transport: 'UDP', sentBy: `127.0.0.1:${port}`, branch: `z9hG4bK-${port}-${cseq}` },
    maxForwards: 70,
    from: '<sip:carol@example.org>;tag=t',
    to: '<sip:carol@example.org>',
    callId: `call-${port}`,
    cseq,
    headers:
      headerLine('Contact', `<sip:carol@127.0.0.1:${port}>`) +
      headerLine('User-Agent', 'test \u001b[31mphone') +
      headers,
  });
}

t.test('subscribers, bindings, metrics, drain: the commands against a border that runs', async t => {
  const c = await config('running');
  const border = await start(c);
  t.teardown(() => border.stop(0));
  const base = border.adminUrl ?? '';

  t.match((await run(subscribers, c, [])).out, /No subscribers/);
  const added = await run(subscribers, c, ['add', 'carol@example.org']);
  t.equal(added.code, 0);
  const password = /password (\S+)\./.exec(added.out)?.[1] ?? '';
  t.equal(password.length, 16);
  t.match((await run(subscribers, c, ['list'])).out, /carol@example\.org +SHA-512-256 SHA-256 MD5/);
  t.match(await run(subscribers, c, ['add', 'dave@elsewhere.example']), {
    code: 1,
    err: /none of the configured domains/,
  });
  t.match(await run(subscribers, c, ['add', 'dave@pbx.example.net']), { code: 1, err: /upstream domain/ });
  t.match(await run(subscribers, c, ['add', 'no one@example.org']), { code: 1, err: /no user name/ });
  t.match(await run(subscribers, c, ['add']), { code: 2, err: /USER@DOMAIN/ });

  const phone = createSocket('udp4').bind(0, '127.0.0.1');
  await once(phone, 'listening');
  t.teardown(() => phone.close());
  const port = border.status().listeners.find(l => l.transport === 'udp')?.bind.port ?? 0;
  const challenge = await exchange(phone, port, register(phone, 1, ''));
  t.equal(challenge.status, 401);
  const line = answerChallenge(
    challenge,
    { method: 'REGISTER', uri: 'sip:example.org' },
    { realm: 'example.org', user: 'carol', password },
    systemRandom,
  );
  const ok = await exchange(phone, port, register(phone, 2, line ?? ''));
  t.equal(ok.status, 200);
  t.match(ok.get(H.contact), /;expires=600$/);

  const shown = await run(bindings, c, []);
  t.match(
    shown.out,
    /^AOR +FROM +OVER +REALM +CONTACT +EXPIRES +KEEPALIVE +ALG +PHONE\ncarol@example\.org +127\.0\.0\.1:\d+ +udp +loop/,
  );
  t.notMatch(shown.out, '\u001b', 'no escape sequence of a peer reaches the terminal');
  const json = JSON.parse((await run(bindings, c, [], { json: true })).out) as BindingFacts[];
  t.match(json, [{ aor: 'carol@example.org', kind: 'local', peer: { address: '127.0.0.1' } }]);
  t.match((await run(bindings, c, ['nobody'])).out, /No registrations/);
  t.match((await run(calls, c, [])).out, /No calls/);
  await t.rejects(run(calls, c, ['nothing']), /no such call/);
  await t.rejects(run(calls, c, ['end', 'nothing']), /no such call/);
  t.match(await run(trace, c, []), { code: 2, err: /Which call/ });
  await t.rejects(run(trace, c, ['nothing']), /no such call/);

  const metrics = await (await fetch(`${base}/metrics`)).text();
  for (const wanted of [
    /^drawbridge_reason_total\{reason="challenge",stage="authenticate"\} 1$/m,
    /^drawbridge_reason_total\{reason="clock-jump",stage="any"\} 0$/m,
    /^drawbridge_requests_total\{method="REGISTER"\} 2$/m,
    /^drawbridge_bindings 1$/m,
    /^drawbridge_subscribers 1$/m,
    /^drawbridge_relay_port_pairs\{state="free"\} \d+$/m,
    /^drawbridge_sip_received_total\{realm="loop",transport="udp",family="4"\} 2$/m,
    /^drawbridge_metrics_read_faults_total 0$/m,
    /^drawbridge_store_commits_total\{result="ok"\} 1$/m,
    /drawbridge_event_loop_delay_seconds/,
  ])
    t.match(metrics, wanted);
  t.notMatch(metrics, 'carol', 'no label that the wire can make');

  const post = (body: string, type = 'application/json'): Promise<Response> =>
    fetch(`${base}/api/v1/subscribers`, { method: 'POST', body, headers: { 'content-type': type } });
  t.equal((await post('[]')).status, 400);
  t.equal((await post('{')).status, 400);
  t.equal(
    (await post('{"user":"eve","domain":"example.org","password":"x"}', 'text/plain')).status,
    415,
    'what a foreign page could send',
  );
  t.equal(
    (
      await post(
        JSON.stringify(
          Array.from({ length: 1001 }, (_, n) => ({ user: `u${n}`, domain: 'example.org', password: 'p' })),
        ),
      )
    ).status,
    400,
  );
  t.equal(
    (
      await post(
        JSON.stringify(
          Array.from({ length: 1000 }, (_, n) => ({
            user: `u${n}`,
            domain: 'example.org',
            ha1: { MD5: '0'.repeat(32) },
          })),
        ),
      )
    ).status,
    201,
  );
  t.equal(
    (
      await post(
        '[{"user":"ok","domain":"example.org","password":"x"},{"user":"bad","domain":"x.example","password":"x"}]',
      )
    ).status,
    422,
  );
  t.equal(border.status().subscribers, 1001, 'all or nothing');
  t.match(await run(subscribers, c, ['remove', 'carol@example.org']), { code: 0 });
  t.match(await run(subscribers, c, ['remove', 'carol@example.org']), { code: 1, err: /no subscriber/ });

  t.equal((await fetch(`${base}/readyz`)).status, 200);
  t.match((await run(drain, c, [])).out, /No new calls/);
  t.equal((await fetch(`${base}/readyz`)).status, 503);
  t.match((await (await fetch(`${base}/api/v1/status`)).json()) as StatusFacts, {
    draining: true,
    bindings: 1,
    domains: [{ name: 'example.org' }, { name: 'pbx.example.net' }],
  });
});

t.test('a border that was killed finds its registrations again; the same port or not', async t => {
  const c = await config('again');
  await run(subscribers, c, ['add', 'carol@example.org'], { password: 'secret' });
  const first = await start(c);
  const phone = createSocket('udp4').bind(0, '127.0.0.1');
  await once(phone, 'listening');
  const port = first.status().listeners.find(l => l.transport === 'udp')?.bind.port ?? 0;
  const challenge = await exchange(phone, port, register(phone, 1, ''));
  const line = answerChallenge(
    challenge,
    { method: 'REGISTER', uri: 'sip:example.org' },
    { realm: 'example.org', user: 'carol', password: 'secret' },
    systemRandom,
  );
  t.equal((await exchange(phone, port, register(phone, 2, line ?? ''))).status, 200);
  await first.stop(0);
  phone.close();
  const second = await start(c);
  t.equal(second.status().bindings, 1);
  t.equal(second.status().subscribers, 1);
  await second.stop(0);
});

/** A phone over a real socket: registers, calls, answers. */
class Phone {
  readonly socket: Socket;
  readonly #user: string;
  readonly #port: number;
  readonly #inbox: string[] = [];
  #wake: (() => void) | undefined;
  #serial = 0;

  constructor(user: string, port: number) {
    this.#user = user;
    this.#port = port;
    this.socket = createSocket('udp4').bind(0, '127.0.0.1');
    this.socket.on('message', bytes => {
      this.#inbox.push(bytes.toString('latin1'));
      this.#wake?.();
    });
  }

  send(text: string): void {
    this.socket.send(Buffer.from(text, 'latin1'), this.#port, '127.0.0.1');
  }

  /** The next message that begins so; keepalives and what else comes are passed over. */
  async next(begins: string): Promise<MessageView> {
    for (;;) {
      const at = this.#inbox.findIndex(m => m.startsWith(begins));
      if (at >= 0) {
        const m = new MessageView();
        m.parse(this.#inbox.splice(0, at + 1)[at] ?? '');
        return m;
      }
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`;
  }

  request(
    method: string,
    uri: string,
    o: { to: string; callId: string; cseq: number; headers?: string; body?: string },
  ): string {
    return buildRequest({
      method,
      uri,
      via: { transport: 'UDP', sentBy: this.address, branch: `z9hG4bK-${this.#user}-${++this.#serial}` },
      maxForwards: 70,
      from: `<sip:${this.#user}@example.org>;tag=${this.#user}`,
      to: o.to,
      callId: o.callId,
      cseq: o.cseq,
      contact: `<sip:${this.#user}@${this.address}>`,
      ...(o.headers === undefined ? {} : { headers: o.headers }),
      ...(o.body === undefined ? {} : { contentType: 'application/sdp', body: o.body }),
    });
  }

  /** Sends a request, answers its challenge, and gives the final response. */
  async ask(
    method: string,
    uri: string,
    o: { to: string; callId: string; cseq: number; body?: string },
  ): Promise<MessageView> {
    this.send(this.request(method, uri, o));
    const challenge = await this.next('SIP/2.0 40');
    const line = answerChallenge(
      challenge,
      { method, uri, ...(o.body === undefined ? {} : { body: o.body }) },
      { realm: 'example.org', user: this.#user, password: 'secret' },
      systemRandom,
    );
    // The ACK of a 407 keeps its branch: a retransmission of the 407 is not this test's matter.
    this.send(this.request(method, uri, { ...o, cseq: o.cseq + 1, headers: line ?? '' }));
    return this.next('SIP/2.0 200');
  }
}

function sdp(port: number): string {
  return `v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio ${port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n`;
}

t.test('a call, as the commands show it, and its record when it is over', async t => {
  const c = await config('call');
  await run(subscribers, c, ['add', 'carol@example.org'], { password: 'secret' });
  await run(subscribers, c, ['add', 'dave@example.org'], { password: 'secret' });
  const border = await start(c);
  t.teardown(() => border.stop(0));
  const port = border.status().listeners.find(l => l.transport === 'udp')?.bind.port ?? 0;
  const carol = new Phone('carol', port);
  const dave = new Phone('dave', port);
  await Promise.all([once(carol.socket, 'listening'), once(dave.socket, 'listening')]);
  t.teardown(() => {
    carol.socket.close();
    dave.socket.close();
  });
  for (const [name, phone] of [
    ['carol', carol],
    ['dave', dave],
  ] as const) {
    t.equal(
      (
        await phone.ask('REGISTER', 'sip:example.org', {
          to: `<sip:${name}@example.org>`,
          callId: `reg-${name}`,
          cseq: 1,
        })
      ).status,
      200,
    );
  }
  const asked = carol.ask('INVITE', 'sip:dave@example.org', {
    to: '<sip:dave@example.org>',
    callId: 'call-of-carol',
    cseq: 1,
    body: sdp(27000),
  });
  const invite = await dave.next('INVITE ');
  const ringing = JSON.parse((await run(calls, c, [], { json: true })).out) as { id: string; state: string }[];
  t.match(ringing, [{ state: 'inviting' }]);
  const id = ringing[0]?.id ?? '';
  dave.send(
    buildReply(invite, 200, {
      toTag: 'dave',
      headers: headerLine('Contact', `<sip:dave@${dave.address}>`),
      contentType: 'application/sdp',
      body: sdp(27002),
    }),
  );
  const ok = await asked;
  t.match(ok.body, /m=audio 26\d\d\d /, 'media through the border');
  const target = /<([^>]+)>/.exec(ok.get(H.contact))?.[1] ?? '';
  carol.send(carol.request('ACK', target, { to: ok.get(H.to), callId: 'call-of-carol', cseq: 2 }));
  await dave.next('ACK ');
  t.match((await run(calls, c, [])).out, /CALL +STATE.*\n\S+ +answered +0:0\d/);
  const one = await run(calls, c, [id]);
  t.match(one.out, /answered for 0:0\d[\s\S]*audio +127\.0\.0\.1:26\d\d\d/);
  const drawn = await run(trace, c, [id]);
  t.match(drawn.out, /-+ INVITE \(SDP\) -+>\|[\s\S]*<-+ 200 OK \(INVITE\) \(SDP\) -+\|[\s\S]*-+ ACK -+>/);
  t.match((await run(trace, c, [id, 'full'])).out, /Call-ID: call-of-carol/);

  const bye = dave.next('BYE ');
  t.match(await run(calls, c, ['end', id]), { code: 0, out: /being ended/ });
  dave.send(buildReply(await bye, 200, {}));
  carol.send(buildReply(await carol.next('BYE '), 200, {}));
  t.match((await run(calls, c, [])).out, /No calls/);
  const file = c.cdr.file === false ? '' : c.cdr.file;
  let written = '';
  while (!written.endsWith('\n')) {
    written = existsSync(file) ? readFileSync(file, 'utf8') : '';
    await new Promise(resolve => setImmediate(resolve));
  }
  t.match(JSON.parse(written), {
    call: id,
    caller: /carol/,
    callee: /dave/,
    status: 200,
    cause: 'admin-request',
    by: 'border',
    media: [{ kind: 'audio' }, { kind: 'audio' }],
  });
  t.match(
    await (await fetch(`${border.adminUrl}/metrics`)).text(),
    /^drawbridge_cdr_total\{to="file",result="written"\} 1$/m,
  );
});

t.test('subscribers without a border: straight into the store', async t => {
  const c = await config('alone');
  t.match(await run(subscribers, c, ['add', 'carol@example.org'], { password: 'secret' }), {
    code: 0,
    out: /can register now\.\n$/,
  });
  const file = join(folder, 'people.csv');
  writeFileSync(file, '# two people\ndave@x,example.org,1\n');
  t.match(await run(subscribers, c, ['import', file]), {
    code: 1,
    err: /line 2.*no user name[\s\S]*Nothing was imported/,
  });
  writeFileSync(file, 'dave,example.org,a,b\nerin,Example.ORG,c\n');
  t.match(await run(subscribers, c, ['import', file]), { code: 0, out: /2 subscribers/ });
  t.match(await run(subscribers, c, ['import', join(folder, 'nowhere')]), { code: 1, err: /can't be read/ });
  t.same(
    JSON.parse((await run(subscribers, c, ['list'], { json: true })).out).map(
      (s: { user: string; domain: string }) => `${s.user}@${s.domain}`,
    ),
    ['carol@example.org', 'dave@example.org', 'erin@example.org'],
  );
  t.match(await run(subscribers, c, ['remove', 'dave@example.org']), { code: 0 });
  await t.rejects(run(calls, c, []), NotRunning);
  await t.rejects(run(bindings, c, []), /drawbridge up/);
  const border = await start(c);
  t.equal(border.status().subscribers, 2, 'and the border finds them');
  await border.stop(0);
});

t.test('what can not start says so in a sentence; what is only missing is a warning', async t => {
  const taken = createSocket('udp4').bind(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const realm = (sip: object, bind: string[] = ['127.0.0.1']): object => ({
    realms: { loop: { bind, sip, networks: ['127.0.0.0/8'] } },
  });
  await t.rejects(start(await config('taken', realm({ udp: taken.address().port, tcp: false }))), {
    name: 'StartError',
    message: /UDP port \d+ on 127\.0\.0\.1 is taken/,
  });
  await t.rejects(start(await config('foreign', realm({ udp: 0, tcp: 0 }, ['192.0.2.77']))), {
    name: 'StartError',
    message: /192\.0\.2\.77/,
  });
  const c = await config('warned', realm({ udp: 0, tcp: 0 }, ['127.0.0.1', '2001:db8::77']));
  writeFileSync(join(folder, 'not-a-folder'), '');
  const border = await start(
    freezeConfig({
      ...structuredClone(c),
      cdr: { file: join(folder, 'not-a-folder', 'cdr.jsonl') },
      admin: { listen: '192.0.2.78:80' },
      store: { kind: 'lmdb', path: join(folder, 'not-a-folder', 'store') },
    } as never),
  );
  t.teardown(() => border.stop(0));
  t.equal(border.status().listeners.length, 2, 'IPv4 goes on');
  t.equal(border.adminUrl, undefined);
  const warnings = border.status().warnings.join('\n');
  t.match(warnings, /goes on without udp \[2001:db8::77\]/);
  t.match(warnings, /cdr\.file/);
  t.match(warnings, /in memory only/);
  t.match(warnings, /admin/);
});

/** The command itself as a process. */
async function drawbridge(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: folder,
    env: { ...process.env, DRAWBRIDGE_CONFIG: '', ...env },
  });
  let out = '';
  let err = '';
  child.stdout.on('data', d => {
    out += d;
  });
  child.stderr.on('data', d => {
    err += d;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

t.test('the process: help, faults of the command line and of the file, a signal', async t => {
  t.match(await drawbridge(['help']), { code: 0, out: /drawbridge \[COMMAND\]/ });
  t.match(await drawbridge(['--version']), { code: 0, out: /^\d+\.\d+\.\d+\n$/ });
  t.match(await drawbridge(['clals']), { code: 2, err: /no command "clals"/ });
  t.match(await drawbridge(['up', '--josn']), { code: 2, err: /--josn/ });
  t.match(await drawbridge(['check', '-c', 'nowhere.yaml']), { code: 2, err: /no such file/ });
  writeFileSync(join(folder, 'bad.yaml'), 'realms:\n  a: { bind: [10.0.0.300] }\nmedai: {}\n');
  t.match(await drawbridge(['check', '-c', 'bad.yaml']), { code: 2, err: /bad\.yaml:2.*\n[\s\S]*bad\.yaml:3.*media/ });
  t.match(await drawbridge(['up'], { DRAWBRIDGE_CONFIG: 'bad.yaml' }), { code: 2, err: /bad\.yaml:2/ });
  const said = JSON.parse((await drawbridge(['check', '-c', 'bad.yaml', '--json'])).out) as {
    ok: boolean;
    problems: unknown[];
  };
  t.equal(said.ok, false);
  t.equal(said.problems.length, 2);
  const admin = await freePort();
  writeFileSync(
    join(folder, 'drawbridge.yaml'),
    `realms: { loop: { bind: [127.0.0.1], sip: { udp: 0, tcp: 0 } } }\nmedia: { ports: [26100, 26199], path: dgram }\nadmin: { listen: "127.0.0.1:${admin}" }\n`,
  );
  t.match(await drawbridge(['check']), { code: 0, out: /drawbridge\.yaml is right/ });

  const child = spawn(process.execPath, [MAIN], { cwd: folder, env: { ...process.env, DRAWBRIDGE_CONFIG: '' } });
  let out = '';
  child.stdout.on('data', d => {
    out += d;
  });
  while (!out.includes('Ctrl-C')) await once(child.stdout, 'data');
  t.match(out, /Drawbridge \d+\.\d+\.\d+ is up/);
  const credentials = JSON.parse(readFileSync(join(folder, 'var/credentials.json'), 'utf8')) as {
    user: string;
    domain: string;
    password: string;
  }[];
  t.same(
    credentials.map(x => x.user),
    ['alice', 'bob'],
  );
  for (const x of credentials) t.ok(out.includes(x.password), 'the table shows the password of the file');
  child.kill('SIGTERM');
  const [code] = (await once(child, 'close')) as [number];
  t.equal(code, 0, 'with no calls a drain is over at once');
});

t.test('tables, clocks, ladders and lists of people', async t => {
  t.equal(
    table(
      ['A', 'LONG'],
      [
        ['aaaa', 'b'],
        ['c', '\u0007'],
      ],
    ),
    'A     LONG\naaaa  b\nc     ?',
  );
  t.equal(clock(65_000), '1:05');
  t.equal(clock(7_389_000), '2:03:09');
  const message = (at: number, direction: 'in' | 'out', leg: string, text: string) => ({
    at,
    direction,
    leg,
    local: 'udp:203.0.113.10:5060',
    peer: leg === 'a' ? 'udp:198.51.100.7:4000' : 'udp:198.51.100.8:4001',
    text,
  });
  const drawn = ladder(
    [
      message(
        1000,
        'in',
        'a',
        'INVITE sip:bob@example.org SIP/2.0\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n',
      ),
      message(1004, 'out', 'b1', 'INVITE sip:bob@192.168.1.6 SIP/2.0\r\nCSeq: 9 INVITE\r\n\r\n'),
      message(1500, 'in', 'b1', 'SIP/2.0 180 Ringing\r\nCSeq: 9 INVITE\r\n\r\n'),
      message(1501, 'out', 'a', 'SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\n\r\n'),
    ],
    false,
  ).split('\n');
  t.match(drawn[0], / a +border +b1/);
  t.match(drawn[2], /^ {4}0\.000 +\|-+ INVITE \(SDP\) -+>\| +\|$/);
  t.match(drawn[3], /^ {4}0\.004 +\| +\|-+ INVITE -+>\|$/);
  t.match(drawn[4], /^ {4}0\.500 +\| +\|<-+ 180 Ringing \(INVITE\) -+\|$/);
  t.match(drawn[5], /^ {4}0\.501 +\|<-+ 180 Ringing \(INVITE\) -+\| +\|$/);
  t.equal(ladder([], false), 'Nothing of this call is kept.');
  t.same(parseSubscribers('[{"user":"a","domain":"b","password":"c"},{"user":"a"}]').problems, [
    'entry 2: expected { user, domain, password } or { user, domain, ha1 }',
  ]);
  t.match(parseSubscribers('[').problems, [/no JSON/]);
});
