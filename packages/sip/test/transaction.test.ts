import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Endpoint, Endpoints, seededRandom } from '@drawbridge/core';
import t from 'tap';
import {
  type ClientTransaction,
  INVITE_CLIENT,
  INVITE_SERVER,
  MATCH,
  NON_INVITE_CLIENT,
  NON_INVITE_SERVER,
  type ServerTransaction,
  type Transport,
} from '../src/index.js';
import { kind, Network, replyTo, requestText, Side } from './network.js';

const BOB: Endpoint = { address: '192.0.2.2', port: 5060 };
const ALICE: Endpoint = { address: '192.0.2.1', port: 5060 };
const HOUR = 3_600_000;

const side = (transport: Transport = 'udp', options = {}): Side =>
  new Side('a', '192.0.2.1', transport, seededRandom(1), options);

/** Opens a server transaction for `method` at a fresh side. */
function served(
  method: string,
  transport: Transport = 'udp',
  trying = true,
): { s: Side; st: ServerTransaction; text: string } {
  const s = side(transport);
  let st: ServerTransaction | undefined;
  s.onNew = (m, flow) => {
    st = s.open(m, flow, trying);
  };
  const text = requestText(method, 'z9hG4bKpeer1');
  s.receive(text, BOB, transport === 'tcp' ? 256 : 0);
  if (st === undefined) throw new Error('not opened');
  return { s, st, text };
}

const DOUBLING = [0, 500, 1500, 3500, 7500, 15_500, 31_500];
const CAPPED = [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];

t.test(
  'an unanswered request is sent 7 times (INVITE) or 11 times (others) over UDP, once over TCP, and times out after 32 s',
  async t => {
    for (const [method, transport, times] of [
      ['INVITE', 'udp', DOUBLING],
      ['OPTIONS', 'udp', CAPPED],
      ['INVITE', 'tcp', [0]],
      ['OPTIONS', 'tcp', [0]],
    ] as const) {
      const s = side(transport);
      const ct = s.request(method, BOB);
      s.advance(HOUR);
      t.same(
        s.log,
        times.map(x => `${x} ${method}`),
        `${method} ${transport}`,
      );
      t.same(s.diary, ['32000 timeout']);
      t.equal(ct.state, 'terminated');
      t.equal(s.transactions.clientCount, 0);
      t.equal(ct.flow.refs, 0);
      t.equal(s.wheel.size, 0);
    }
    const s = side();
    s.request('OPTIONS', BOB, { timeoutMs: 2000 });
    s.advance(HOUR);
    t.same(s.diary, ['2000 timeout']);
  },
);

t.test('a provisional response stops the INVITE and slows others to T2', async t => {
  const s = side();
  s.request('INVITE', BOB);
  s.advance(600);
  s.receive(replyTo(s.sent[0]?.text ?? '', 100), BOB);
  s.advance(60_000);
  t.same(s.log, ['0 INVITE', '500 INVITE']);
  const o = side();
  o.request('OPTIONS', BOB);
  o.advance(600);
  o.receive(replyTo(o.sent[0]?.text ?? '', 100), BOB);
  o.advance(HOUR);
  t.same(o.log, [
    '0 OPTIONS',
    '500 OPTIONS',
    '4600 OPTIONS',
    '8600 OPTIONS',
    '12600 OPTIONS',
    '16600 OPTIONS',
    '20600 OPTIONS',
    '24600 OPTIONS',
    '28600 OPTIONS',
  ]);
  t.same(o.diary, ['32000 timeout'], 'a 100 is not delivered, and timer F goes on');
});

t.test(
  'a 2xx that nobody acknowledges is sent 11 times on any transport, then ack-missing; acknowledged, once',
  async t => {
    for (const transport of ['udp', 'tcp'] as const) {
      const { s, st, text } = served('INVITE', transport);
      st.reply(s.now, 200, { body: 'v=0\r\n', contentType: 'application/sdp' }, s.tx);
      s.advance(1000);
      s.receive(text, BOB, transport === 'tcp' ? 256 : 0);
      s.advance(HOUR);
      t.same(s.log, ['0 100', ...CAPPED.map(x => `${x} 200`)], transport);
      t.same(s.diary, ['32000 ack-missing']);
      t.equal(s.transactions.serverCount, 0);
      t.equal(s.counts.get('retransmission'), 1, 'an INVITE in Accepted is swallowed');
    }
    const { s, st } = served('INVITE');
    st.reply(s.now, 200, {}, s.tx);
    s.advance(1600);
    st.acknowledged(s.now);
    s.advance(31_000);
    t.equal(st.state, 'accepted');
    s.advance(HOUR);
    t.same(s.log, ['0 100', '0 200', '500 200', '1500 200']);
    t.same(s.diary, []);
  },
);

t.test('a non-2xx final is repeated until the ACK of its hop, over UDP only', async t => {
  const { s, st, text } = served('INVITE');
  st.reply(s.now, 486, {}, s.tx);
  s.advance(HOUR);
  t.same(s.log, ['0 100', ...CAPPED.map(x => `${x} 486`)]);
  t.same(s.diary, ['32000 ack-missing']);

  const u = served('INVITE');
  u.st.reply(u.s.now, 486, {}, u.s.tx);
  u.s.advance(700);
  t.equal(u.s.receive(text, BOB), MATCH.absorbed);
  const ack = requestText('ACK', 'z9hG4bKpeer1', { toTag: u.st.toTag });
  t.equal(u.s.receive(ack, BOB), MATCH.absorbed);
  t.equal(u.st.state, 'confirmed');
  u.s.receive(ack, BOB);
  u.s.receive(text, BOB);
  u.s.advance(5_690);
  t.equal(u.st.state, 'confirmed');
  u.s.advance(HOUR);
  t.equal(u.st.state, 'terminated');
  t.same(u.s.log, ['0 100', '0 486', '500 486', '700 486']);
  t.same(u.s.diary, []);

  const c = served('INVITE', 'tcp');
  c.st.reply(c.s.now, 486, {}, c.s.tx);
  c.s.advance(5000);
  c.s.receive(requestText('ACK', 'z9hG4bKpeer1', { toTag: c.st.toTag }), BOB, 256);
  t.equal(c.st.state, 'terminated', 'timer I is 0 on a stream');
  t.same(c.s.log, ['0 100', '0 486']);
});

t.test('the ACK to a non-2xx has the branch, URI, Route and CSeq of the INVITE and the To of the response', async t => {
  const s = side();
  const ct = s.request('INVITE', BOB, { cseq: 7, routes: ['<sip:p1.example.org;lr>', '<sip:p2.example.org;lr>'] });
  const invite = s.sent[0]?.text ?? '';
  s.receive(replyTo(invite, 404, { toTag: 'xyz' }), BOB);
  s.receive(replyTo(invite, 404, { toTag: 'xyz' }), BOB);
  const expected =
    `ACK sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=${ct.branch};rport\r\n` +
    'Route: <sip:p1.example.org;lr>\r\nRoute: <sip:p2.example.org;lr>\r\nMax-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=a1\r\n' +
    'To: <sip:bob@example.org>;tag=xyz\r\nCall-ID: call-1\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n';
  t.same(
    s.sent.slice(1).map(x => x.text),
    [expected, expected],
  );
  t.same(s.diary, ['0 404'], 'delivered once');
  s.advance(31_990);
  t.equal(ct.state, 'completed');
  s.advance(32_000);
  t.equal(ct.state, 'terminated');
  t.equal(s.receive(replyTo(invite, 404, { toTag: 'xyz' }), BOB), false);
  t.equal(s.counts.get('stray-response'), 1);
});

t.test('CANCEL waits for a provisional response, shares the branch, and ends 64*T1 later', async t => {
  const s = side();
  const ct = s.request('INVITE', BOB, { cseq: 3 });
  ct.cancel(s.now, s.tx, 'Reason: SIP;cause=200\r\n');
  s.advance(400);
  t.same(s.log, ['0 INVITE']);
  s.receive(replyTo(s.sent[0]?.text ?? '', 100), BOB);
  t.equal(
    s.sent[1]?.text,
    `CANCEL sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=${ct.branch};rport\r\nMax-Forwards: 70\r\n` +
      'From: <sip:alice@example.org>;tag=a1\r\nTo: <sip:bob@example.org>\r\nCall-ID: call-1\r\nCSeq: 3 CANCEL\r\nReason: SIP;cause=200\r\nContent-Length: 0\r\n\r\n',
  );
  ct.cancel(s.now, s.tx);
  s.receive(replyTo(s.sent[1]?.text ?? '', 200), BOB);
  t.equal(ct.state, 'proceeding', "the 200 is the CANCEL's");
  s.advance(HOUR);
  t.same(s.log, ['0 INVITE', '400 CANCEL']);
  t.same(s.diary, ['32400 timeout']);
  t.equal(s.transactions.clientCount, 0);

  const u = side();
  const ringing = u.request('INVITE', BOB);
  u.receive(replyTo(u.sent[0]?.text ?? '', 180), BOB);
  ringing.cancel(u.now, u.tx);
  u.receive(replyTo(u.sent[0]?.text ?? '', 487), BOB);
  t.same(u.log, ['0 INVITE', '0 CANCEL', '0 ACK']);
  t.same(u.diary, ['0 180', '0 487']);

  const never = side();
  never.request('INVITE', BOB).cancel(0, never.tx);
  never.advance(HOUR);
  t.same(
    never.log,
    DOUBLING.map(x => `${x} INVITE`),
    'without a provisional response there is no CANCEL',
  );
  t.same(never.diary, ['32000 timeout']);

  const bye = side();
  bye.request('BYE', BOB).cancel(0, bye.tx);
  t.same(bye.log, ['0 BYE']);
});

t.test('what a transaction is told twice, late or in vain changes nothing', async t => {
  const s = side();
  const ct = s.request('INVITE', BOB);
  const invite = s.sent[0]?.text ?? '';
  s.receive(replyTo(invite, 180), BOB);
  ct.cancel(s.now, s.tx);
  s.advance(10_000);
  s.receive(replyTo(invite, 180), BOB);
  s.receive(replyTo(s.sent[1]?.text ?? '', 200), BOB);
  s.advance(HOUR);
  t.same(s.diary, ['0 180', '10000 180', '32000 timeout'], 'ringing on does not put off the end of a cancelled INVITE');

  const failed = side();
  failed.request('INVITE', BOB);
  const text = failed.sent[0]?.text ?? '';
  failed.receive(replyTo(text, 404), BOB);
  t.equal(failed.receive(replyTo(text, 200), BOB), false, 'a 2xx after a failure is a stray');
  t.same([failed.counts.get('stray-response'), failed.counts.get('retransmission')], [1, 0]);
  t.equal(failed.receive(replyTo(text, 180), BOB), true);
  t.same([failed.counts.get('stray-response'), failed.counts.get('retransmission')], [1, 1]);

  const early = served('INVITE');
  t.equal(early.s.receive(requestText('ACK', 'z9hG4bKpeer1'), BOB), MATCH.absorbed);
  t.equal(early.st.state, 'proceeding');
  t.equal(early.s.counts.get('stray-ack'), 1);
  early.st.acknowledged(0);
  t.equal(early.st.state, 'proceeding');

  const again = served('OPTIONS');
  again.st.reply(0, 200, {}, again.s.tx);
  again.s.onNew = undefined;
  t.equal(again.s.receive(requestText('OPTIONS', 'z9hG4bKpeer2'), BOB), MATCH.merged);
  again.s.advance(HOUR);
  t.equal(
    again.s.receive(requestText('OPTIONS', 'z9hG4bKpeer2'), BOB),
    MATCH.new,
    'merged with nothing once that is over',
  );

  const quiet = served('INVITE', 'udp', false);
  t.same(quiet.s.log, [], 'no 100 where the user wants none');
  quiet.s.view.parse(requestText('INVITE', 'z9hG4bKpeer3', { callId: 'other' }));
  quiet.s.transactions.openServer(0, quiet.s.view, quiet.st.flow, quiet.s, quiet.s.tx);
  t.same(quiet.s.log, ['0 100'], 'at once otherwise');
});

t.test(
  'timer C is restarted by a 1xx above 100 and by nothing else; then CANCEL, and only a 2xx still counts',
  async t => {
    const s = side();
    const ct = s.request('INVITE', BOB);
    const invite = s.sent[0]?.text ?? '';
    s.receive(replyTo(invite, 100), BOB);
    s.advance(100_000);
    s.receive(replyTo(invite, 180), BOB);
    s.advance(200_000);
    s.receive(replyTo(invite, 100), BOB);
    s.advance(280_990);
    t.same(s.log, ['0 INVITE']);
    s.advance(281_000);
    t.same(s.log, ['0 INVITE', '281000 CANCEL']);
    t.same(s.diary, ['100000 180', '281000 timeout']);
    s.receive(replyTo(s.sent[1]?.text ?? '', 200), BOB);
    s.receive(replyTo(invite, 487), BOB);
    t.same(s.diary, ['100000 180', '281000 timeout']);
    t.equal(kind(s.sent.at(-1)?.text ?? ''), 'ACK');
    t.equal(ct.state, 'completed');

    const crossed = side('udp', { timerC: 181_000 });
    crossed.request('INVITE', BOB);
    const text = crossed.sent[0]?.text ?? '';
    crossed.receive(replyTo(text, 180), BOB);
    crossed.advance(181_000);
    crossed.receive(replyTo(text, 200), BOB);
    t.same(crossed.diary, ['0 180', '181000 timeout', '181000 200']);

    const none = side();
    none.request('INVITE', BOB, { timerC: 0 });
    none.receive(replyTo(none.sent[0]?.text ?? '', 180), BOB);
    none.advance(HOUR);
    t.same(none.diary, ['0 180']);
  },
);

t.test('after a 2xx every further 2xx is delivered for 32 s, and nothing else', async t => {
  const s = side();
  const ct = s.request('INVITE', BOB);
  const invite = s.sent[0]?.text ?? '';
  const tags: string[] = [];
  s.onAnswer = (_ct, m) => tags.push(m.toTag);
  s.receive(replyTo(invite, 200, { toTag: 'one' }), BOB);
  s.receive(replyTo(invite, 180, { toTag: 'two' }), BOB);
  s.receive(replyTo(invite, 486, { toTag: 'two' }), BOB);
  s.receive(replyTo(invite, 200, { toTag: 'two' }), BOB);
  s.advance(31_990);
  s.receive(replyTo(invite, 200, { toTag: 'one' }), BOB);
  t.same(tags, ['one', 'two', 'one']);
  t.equal(ct.state, 'accepted');
  s.advance(32_000);
  t.equal(s.receive(replyTo(invite, 200, { toTag: 'one' }), BOB), false);
  t.same(tags, ['one', 'two', 'one']);
  t.same(s.log, ['0 INVITE'], "the ACK to a 2xx is the dialog's");
});

t.test('a response belongs to a transaction by branch and CSeq method', async t => {
  const s = side();
  const ct = s.request('OPTIONS', BOB);
  const text = s.sent[0]?.text ?? '';
  t.equal(s.receive(replyTo(text.replace('CSeq: 1 OPTIONS', 'CSeq: 1 INVITE'), 200), BOB), false);
  t.equal(s.receive(replyTo(text.replace(ct.branch, 'z9hG4bKother'), 200), BOB), false);
  t.equal(s.receive(replyTo(text.replace('CSeq: 1 OPTIONS', 'CSeq: 1 CANCEL'), 200), BOB), false);
  t.same(s.diary, []);
  t.equal(s.receive(replyTo(text, 200), BOB), true);
  t.same(s.diary, ['0 200']);
  t.equal(s.receive(replyTo(text, 200), BOB), true);
  t.same(s.diary, ['0 200'], 'a repeated final is swallowed');
  t.equal(s.counts.get('stray-response'), 3);
  t.equal(s.counts.get('retransmission'), 1);
});

t.test('a request belongs to a transaction by branch, sent-by with port, and method', async t => {
  const { s, st, text } = served('INVITE');
  s.onNew = undefined;
  t.equal(s.receive(text, BOB), MATCH.absorbed);
  t.equal(s.log.at(-1), '0 100');
  t.equal(s.receive(text.replace('192.0.2.1:5060', '192.0.2.1:5061'), BOB), MATCH.merged);
  t.equal(s.transactions.matched, st);
  t.equal(
    s.receive(text.replace('z9hG4bKpeer1', 'z9hG4bKpeer2'), BOB),
    MATCH.merged,
    'same From tag, Call-ID and CSeq over another way',
  );
  t.equal(
    s.receive(text.replace('z9hG4bKpeer1', 'z9hG4bKpeer2').replace(/^INVITE \S+/, 'INVITE sip:other@example.org'), BOB),
    MATCH.new,
    'an upstream that forks to two contacts of ours sends two requests, not one twice',
  );
  t.equal(s.receive(requestText('INVITE', 'z9hG4bKpeer2', { cseq: 2 }), BOB), MATCH.new);
  t.equal(s.receive(requestText('INVITE', 'z9hG4bKpeer2', { fromTag: 'a2' }), BOB), MATCH.new);
  t.equal(s.receive(requestText('INVITE', 'z9hG4bKpeer2', { callId: 'call-2' }), BOB), MATCH.new);
  t.equal(
    s.receive(requestText('INVITE', 'z9hG4bKpeer2', { toTag: 'b1' }), BOB),
    MATCH.new,
    'inside a dialog nothing is merged',
  );
  t.equal(s.receive(requestText('OPTIONS', 'z9hG4bKpeer1'), BOB), MATCH.new);
  t.equal(s.receive(requestText('ACK', 'z9hG4bKpeer9'), BOB), MATCH.ack);
  st.reply(s.now, 200, {}, s.tx);
  t.equal(
    s.receive(requestText('ACK', 'z9hG4bKpeer1'), BOB),
    MATCH.ack,
    'an ACK to a 2xx that kept the branch still goes to the dialog',
  );
  t.equal(s.transactions.matched, st);
});

t.test('without the cookie the whole request line, Via, Call-ID, CSeq and From tag decide (RFC 2543)', async t => {
  const s = side();
  const opened: ServerTransaction[] = [];
  s.onNew = (m, flow) => opened.push(s.open(m, flow));
  for (const branch of ['1', 'z9hG4bK']) {
    const o = { callId: `old-${branch}` };
    const invite = requestText('INVITE', branch, o);
    t.equal(s.receive(invite, BOB), MATCH.new);
    t.equal(s.receive(invite, BOB), MATCH.absorbed);
    t.equal(s.receive(requestText('CANCEL', branch, o), BOB), MATCH.cancel);
    opened.at(-1)?.reply(s.now, 487, {}, s.tx);
    t.equal(s.receive(requestText('ACK', branch, { ...o, toTag: opened.at(-1)?.toTag ?? '' }), BOB), MATCH.absorbed);
    t.equal(opened.at(-1)?.state, 'confirmed');
    t.equal(s.receive(requestText('INVITE', branch, { ...o, cseq: 2 }), BOB), MATCH.new, 'same branch, other CSeq');
  }
});

t.test(
  'a CANCEL is believed from the same address, Call-ID, From tag and CSeq only; its port may have moved',
  async t => {
    const { s, st } = served('INVITE');
    s.onCancelled = () => st.reply(s.now, 487, { reason: 'cancelled' }, s.tx);
    const cancel = requestText('CANCEL', 'z9hG4bKpeer1');
    t.equal(s.receive(cancel, { address: '198.51.100.66', port: 5060 }), MATCH.strayCancel);
    t.equal(s.receive(requestText('CANCEL', 'z9hG4bKpeer1', { callId: 'call-2' }), BOB), MATCH.strayCancel);
    t.equal(s.receive(requestText('CANCEL', 'z9hG4bKpeer1', { fromTag: 'a2' }), BOB), MATCH.strayCancel);
    t.equal(s.receive(requestText('CANCEL', 'z9hG4bKpeer1', { cseq: 2 }), BOB), MATCH.strayCancel);
    t.equal(s.receive(requestText('CANCEL', 'z9hG4bKpeer2'), BOB), MATCH.strayCancel);
    t.same(s.diary, []);
    t.equal(s.receive(cancel, { address: BOB.address, port: 40_000 }), MATCH.cancel);
    t.same(s.diary, ['0 cancel']);
    t.same(
      s.sent.map(x => `${kind(x.text)} ${x.to.port}`),
      ['100 5060', '200 40000', '487 5060'],
    );
    t.match(s.sent[1]?.text, `tag=${st.toTag}`);
    t.match(s.sent[2]?.text, `tag=${st.toTag}`);
    t.equal(s.receive(cancel, BOB), MATCH.cancel);
    t.same(s.diary, ['0 cancel'], 'after the final it changes nothing');
    t.equal(s.log.at(-1), '0 200', 'but is answered');
    t.equal(s.counts.get('cancelled'), 1);
  },
);

t.test('a non-INVITE gets no early 100 and no 408, and is given up after 32 s', async t => {
  const { s, st, text } = served('MESSAGE');
  st.reply(s.now, 100, {}, s.tx);
  st.reply(s.now, 180, {}, s.tx);
  s.receive(text, BOB);
  t.same(s.log, []);
  s.advance(3490);
  st.reply(s.now, 100, {}, s.tx);
  t.same(s.log, []);
  s.advance(3500);
  st.reply(s.now, 100, {}, s.tx);
  t.same(s.log, ['3500 100']);
  st.reply(s.now, 408, {}, s.tx);
  s.receive(text, BOB);
  t.same(s.log, ['3500 100']);
  t.equal(st.state, 'completed');

  const silent = served('MESSAGE');
  silent.s.advance(31_990);
  t.equal(silent.st.state, 'trying');
  silent.s.advance(HOUR);
  t.equal(silent.s.transactions.serverCount, 0);
  silent.st.reply(silent.s.now, 200, {}, silent.s.tx);
  t.same(silent.s.log, []);

  const good = served('MESSAGE');
  good.st.reply(good.s.now, 200, {}, good.s.tx);
  good.st.reply(good.s.now, 500, {}, good.s.tx);
  good.s.advance(5000);
  good.s.receive(text, BOB);
  good.s.advance(31_990);
  t.equal(good.st.state, 'completed');
  good.s.advance(32_000);
  t.equal(good.st.state, 'terminated');
  t.same(good.s.log, ['0 200', '5000 200'], 'a second final is ignored, a retransmission gets the first again');
});

t.test('an INVITE that its user forgets is ended by the layer', async t => {
  const { s, st } = served('INVITE');
  st.reply(600_000, 180, {}, s.tx);
  s.advance(899_990);
  t.same(s.log, ['0 100', '0 180']);
  s.advance(2 * HOUR);
  t.equal(s.log.filter(x => x.endsWith(' 500')).length, 11);
  t.equal(s.counts.get('internal-error'), 1);
  t.equal(s.transactions.serverCount, 0);
});

t.test('a reply that was written before leaves as it is, and is repeated', async t => {
  const { s, st } = served('OPTIONS');
  const written = st.write(200, { headers: 'X-Late: 1\r\n' });
  t.same(s.sent, [], 'to write sends nothing');
  t.match(written, /^SIP\/2\.0 200 [\s\S]*;tag=[\s\S]*\r\nX-Late: 1\r\n/);
  st.reply(s.now, 200, { written }, s.tx);
  st.reply(s.now, 500, {}, s.tx);
  t.same(
    s.sent.map(x => x.text),
    [written],
    'and it was the final one',
  );
});

t.test('replies above 100 carry one To tag of the layer, or the tag they are given', async t => {
  const { s, st } = served('INVITE');
  st.reply(s.now, 180, {}, s.tx);
  st.reply(s.now, 183, { toTag: 'fork2' }, s.tx);
  st.reply(s.now, 200, {}, s.tx);
  const tags = s.sent.map(x => /^To:.*?(?:;tag=(.*))?\r$/m.exec(x.text)?.[1]);
  t.equal(tags[0], undefined);
  t.match(tags[1], /^[0-9a-zA-Z.-]{16}$/);
  t.same(tags.slice(2), ['fork2', tags[1]]);
  const other = served('INVITE');
  other.st.reply(0, 180, { toTag: 'theirs' }, other.s.tx);
  other.st.reply(0, 486, {}, other.s.tx);
  t.match(other.s.sent[2]?.text, ';tag=theirs\r\n');
});

t.test(
  'a retransmission from the same address on a new port moves the transaction there; from another address it does not',
  async t => {
    const { s, st, text } = served('INVITE');
    const before = st.flow;
    s.receive(text, { address: BOB.address, port: 6000 });
    t.same([before.refs, st.flow.refs], [0, 1]);
    s.receive(text, { address: '198.51.100.66', port: 5060 });
    st.reply(s.now, 486, {}, s.tx);
    t.same(
      s.sent.map(x => `${x.to.address}:${x.to.port}`),
      ['192.0.2.2:5060', '192.0.2.2:6000', '192.0.2.2:6000', '192.0.2.2:6000'],
    );
  },
);

t.test(
  'the death of a stream ends client transactions with an error; server transactions live on and answer on the next',
  async t => {
    const s = side('tcp');
    const st: ServerTransaction[] = [];
    s.onNew = (m, flow) => st.push(s.open(m, flow));
    const text = requestText('INVITE', 'z9hG4bKpeer1', { transport: 'tcp' });
    s.receive(text, BOB, 256);
    const flow = st[0]?.flow;
    const stays = s.request('OPTIONS', { address: '192.0.2.9', port: 5060 });
    const dies = s.request('OPTIONS', BOB);
    t.not(dies.flow, flow, 'the stream from there is no way to there');
    s.flows.streamClosed(s.now, 256, s.tx);
    t.same(s.diary, []);
    s.streamPeer = BOB;
    s.flows.streamOpened(s.now, 1024);
    s.flows.streamClosed(s.now, 1024, s.tx);
    t.same(s.diary, ['0 transport-error']);
    t.equal(dies.state, 'terminated');
    t.equal(stays.state, 'trying');
    t.equal(st[0]?.state, 'proceeding');
    st[0]?.reply(s.now, 486, {}, s.tx);
    t.equal(s.sent.at(-1)?.text.startsWith('OPTIONS'), true, 'nothing went out on the dead stream');
    s.receive(text, { address: '198.51.100.66', port: 5060 }, 768);
    t.same(s.diary, ['0 transport-error', '0 transport-error'], 'once to each of the two');
    s.receive(text, { address: BOB.address, port: 45_000 }, 512);
    t.equal(s.sent.at(-1)?.via, 512);
    t.equal(kind(s.sent.at(-1)?.text ?? ''), '486');
    t.equal(flow?.refs, 0);
  },
);

t.test('a send that a stream refuses is told from the wheel; over UDP it counts as lost', async t => {
  for (const [transport, diary] of [
    ['tcp', ['10 transport-error']],
    ['udp', ['32000 timeout']],
  ] as const) {
    const s = side(transport);
    s.accepts = false;
    s.request('INVITE', BOB);
    t.same(s.diary, []);
    s.advance(HOUR);
    t.same(s.diary, diary);
  }
});

t.test('one transaction too many is refused and counted, and fits again later', async t => {
  const s = side('udp', { maxServer: 2, maxClient: 2 });
  const flow = s.flows.dialled(0, 0, BOB);
  if (flow === undefined) throw new Error('no flow');
  const openOne = (n: number): ServerTransaction | undefined => {
    s.view.parse(requestText('OPTIONS', `z9hG4bKn${n}`, { callId: `c${n}` }));
    return s.transactions.openServer(s.now, s.view, flow, s, s.tx);
  };
  const first = openOne(1);
  t.ok(first && openOne(2));
  t.equal(openOne(3), undefined);
  t.ok(s.request('OPTIONS', BOB) && s.request('INVITE', BOB));
  t.throws(() => s.request('OPTIONS', BOB));
  t.equal(s.counts.get('transaction-limit'), 2);
  s.advance(HOUR);
  t.ok(openOne(3));
  t.ok(s.request('OPTIONS', BOB));
});

// State, event, next state: the machines as RFC 3261 §17, RFC 6026 §7 and RFC 4320 §4 draw them.
const EXPECTED = {
  INVITE_CLIENT: `calling 100 proceeding, calling 1xx proceeding, calling 2xx accepted, calling 3xx-6xx completed, calling cancel calling,
    calling A calling, calling B terminated, calling transport-error terminated, proceeding 1xx proceeding, proceeding 2xx accepted,
    proceeding 3xx-6xx completed, proceeding cancel proceeding, proceeding C proceeding, proceeding X terminated,
    proceeding transport-error terminated, accepted 2xx accepted, accepted M terminated, completed 3xx-6xx completed,
    completed D terminated, completed transport-error terminated`,
  NON_INVITE_CLIENT: `trying 100 proceeding, trying 1xx proceeding, trying 2xx completed, trying 3xx-6xx completed, trying E trying,
    trying F terminated, trying transport-error terminated, proceeding 1xx proceeding, proceeding 2xx completed,
    proceeding 3xx-6xx completed, proceeding E proceeding, proceeding F terminated, proceeding transport-error terminated,
    completed K terminated, completed transport-error terminated`,
  INVITE_SERVER: `proceeding request proceeding, proceeding reply-1xx proceeding, proceeding reply-2xx accepted,
    proceeding reply-3xx-6xx completed, proceeding Z proceeding, proceeding transport-error proceeding, accepted request accepted,
    accepted reply-2xx accepted, accepted acknowledged accepted, accepted G accepted, accepted L terminated,
    accepted transport-error accepted, completed request completed, completed ACK confirmed, completed G completed,
    completed H terminated, completed transport-error completed, confirmed request confirmed, confirmed ACK confirmed, confirmed I terminated`,
  NON_INVITE_SERVER: `trying request trying, trying reply-1xx proceeding, trying reply-2xx completed, trying reply-3xx-6xx completed,
    trying Z terminated, trying transport-error trying, proceeding request proceeding, proceeding reply-1xx proceeding,
    proceeding reply-2xx completed, proceeding reply-3xx-6xx completed, proceeding Z terminated, proceeding transport-error proceeding,
    completed request completed, completed J terminated, completed transport-error completed`,
};

const rows = (text: string): string[] => text.split(',').map(r => r.trim().replace(/\s+/g, ' '));
const flat = (table: object): string[] =>
  Object.entries(table).flatMap(([state, events]) =>
    Object.entries(events as object).map(([event, next]) => `${state} ${event} ${(next as { to: string }).to}`),
  );

t.test('the tables are those of the RFCs', async t => {
  t.same(flat(INVITE_CLIENT), rows(EXPECTED.INVITE_CLIENT));
  t.same(flat(NON_INVITE_CLIENT), rows(EXPECTED.NON_INVITE_CLIENT));
  t.same(flat(INVITE_SERVER), rows(EXPECTED.INVITE_SERVER));
  t.same(flat(NON_INVITE_SERVER), rows(EXPECTED.NON_INVITE_SERVER));
});

t.test('every transition of the client tables is what a client transaction does', async t => {
  const status: Record<string, number> = { '100': 100, '1xx': 183, '2xx': 200, '3xx-6xx': 486 };
  for (const [method, expected] of [
    ['INVITE', EXPECTED.INVITE_CLIENT],
    ['OPTIONS', EXPECTED.NON_INVITE_CLIENT],
  ] as const) {
    for (const row of rows(expected)) {
      const [state, event, next] = row.split(' ') as [string, string, string];
      // A stream dies only under a transaction that is on one; timers A, E, D and K run only over UDP.
      const transport: Transport = event === 'transport-error' && state !== 'completed' ? 'tcp' : 'udp';
      const s = side(transport);
      const ct = s.request(method, BOB);
      const text = s.sent[0]?.text ?? '';
      const reach: Record<string, number | undefined> = { proceeding: 180, accepted: 200, completed: 404 };
      const first = reach[state];
      if (first !== undefined) s.receive(replyTo(text, first), BOB);
      t.equal(ct.state, state, `${method} reaches ${state}`);
      const sent = s.sent.length;
      if (status[event] !== undefined) s.receive(replyTo(text, status[event] ?? 0), BOB);
      else if (event === 'cancel') ct.cancel(s.now, s.tx);
      else if (event === 'transport-error') (ct as ClientTransaction).flowDied(s.now, s.tx);
      else if (event === 'X') {
        ct.cancel(s.now, s.tx);
        s.advance(32_000);
      } else
        s.advance(
          {
            A: 500,
            E: state === 'trying' ? 500 : 4000,
            B: 32_000,
            F: 32_000,
            C: 181_000,
            D: 32_000,
            M: 32_000,
            K: 5000,
          }[event] ?? 0,
        );
      t.equal(ct.state, next, `${method}: ${row}`);
      if (event === 'A' || event === 'E') t.equal(s.sent.length, sent + 1);
    }
  }
});

t.test('every transition of the server tables is what a server transaction does', async t => {
  const status: Record<string, number> = { 'reply-1xx': 100, 'reply-2xx': 202, 'reply-3xx-6xx': 486 };
  for (const [method, expected] of [
    ['INVITE', EXPECTED.INVITE_SERVER],
    ['OPTIONS', EXPECTED.NON_INVITE_SERVER],
  ] as const) {
    for (const row of rows(expected)) {
      const [state, event, next] = row.split(' ') as [string, string, string];
      const stream = event === 'transport-error' && state !== 'completed';
      const { s, st, text } = served(method, stream ? 'tcp' : 'udp');
      const via = stream ? 256 : 0;
      if (method === 'OPTIONS') {
        s.advance(3500);
        if (state !== 'trying') st.reply(s.now, state === 'proceeding' ? 100 : 200, {}, s.tx);
      } else if (state === 'accepted') st.reply(s.now, 200, {}, s.tx);
      else if (state === 'completed' || state === 'confirmed') st.reply(s.now, 404, {}, s.tx);
      if (state === 'confirmed') s.receive(requestText('ACK', 'z9hG4bKpeer1', { toTag: st.toTag }), BOB);
      if (stream && method === 'OPTIONS' && state === 'completed') continue;
      t.equal(st.state, state, `${method} reaches ${state}`);
      const from = s.now;
      if (status[event] !== undefined) st.reply(s.now, status[event] ?? 0, {}, s.tx);
      else if (event === 'request') s.receive(text, BOB, via);
      else if (event === 'ACK') s.receive(requestText('ACK', 'z9hG4bKpeer1', { toTag: st.toTag }), BOB);
      else if (event === 'acknowledged') st.acknowledged(s.now);
      else if (event === 'transport-error') {
        s.accepts = false;
        s.receive(text, BOB, via);
      } else
        s.advance(
          from + ({ G: 500, H: 32_000, I: 5000, J: 32_000, L: 32_000 }[event] ?? (method === 'OPTIONS' ? 28_500 : 0)),
        );
      if (event === 'Z' && method === 'INVITE') {
        // Abandoned: the layer's own 500 takes it from there.
        s.advance(900_000);
        t.equal(st.state, 'completed', `${method}: ${row}, then 500`);
      } else t.equal(st.state, next, `${method}: ${row}`);
    }
  }
});

t.test('calls over a network that loses, repeats and reorders end, and leave nothing behind', async t => {
  const seed = Number(process.env['SEED'] ?? 20_261_120);
  t.comment(`SEED=${seed}`);
  for (const loss of [0, 0.1, 0.3, 0.5]) {
    const net = new Network(seed + loss * 100, { loss });
    const { a, b } = net;
    const random = seededRandom(seed);
    const open: ServerTransaction[] = [];
    let acked = 0;
    b.onNew = (m, flow) => {
      const st = b.open(m, flow);
      open.push(st);
      if (m.method !== 'INVITE') st.reply(b.now, 200, {}, b.tx);
      else if (m.cseq % 4 === 0) st.reply(b.now, 486, {}, b.tx);
      else if (m.cseq % 4 === 1) st.reply(b.now, 180, {}, b.tx);
      else st.reply(b.now, 200, {}, b.tx);
    };
    b.onCancelled = st => st.reply(b.now, 487, {}, b.tx);
    b.onAck = m => {
      acked++;
      for (const st of open) if (st.toTag === m.toTag) st.acknowledged(b.now);
    };
    a.onAnswer = (ct, m) => {
      if (ct.method !== 'INVITE') return;
      if (m.status === 180) ct.cancel(a.now, a.tx);
      else if (m.status === 200)
        a.transactions.ack(
          a.now,
          ct.flow,
          requestText('ACK', a.transactions.newBranch(), { toTag: m.toTag, cseq: m.cseq, callId: m.callId }),
          a.tx,
        );
    };
    const sent: ClientTransaction[] = [];
    for (let n = 0; n < 200; n++) {
      sent.push(a.request(n % 2 === 0 ? 'INVITE' : 'MESSAGE', BOB, { cseq: (n / 2 + 1) | 0, callId: `call-${n}` }));
      net.run(net.now + (random.u32() % 400));
    }
    net.run(net.now + 300_000);
    t.equal(
      a.transactions.clientCount + a.transactions.serverCount + b.transactions.clientCount + b.transactions.serverCount,
      0,
      `loss ${loss}`,
    );
    t.equal(a.wheel.size + b.wheel.size, 0);
    for (const x of [...sent, ...open]) t.equal(x.flow.refs, 0);
    const finals = a.diary.filter(d => !d.endsWith(' 180')).length;
    t.ok(finals >= 200, `every request had an end (${finals})`);
    if (loss === 0) {
      t.equal(net.lost, 0);
      t.equal(a.diary.filter(d => d.endsWith('timeout')).length, 0);
      t.equal(acked, 50);
      t.same(
        [486, 487, 200].map(x => a.diary.filter(d => d.endsWith(` ${x}`)).length),
        [25, 25, 150],
      );
    } else t.ok(net.lost > 0);
  }
});

t.test('memory is flat however many transactions there were', async t => {
  const many = Number(process.env['TRANSACTIONS'] ?? 200_000);
  t.comment(`TRANSACTIONS=${many}; a million takes about 15 s`);
  setFlagsFromString('--expose_gc');
  const gc = runInNewContext('gc') as () => void;
  const s = side('udp', { maxServer: 100_000, maxClient: 100_000 });
  s.tx.text = () => true;
  const flow = s.flows.dialled(0, 0, BOB);
  if (flow === undefined) throw new Error('no flow');
  const padding = `X: ${'y'.repeat(600)}\r\n`;
  const peer = Endpoints.of(ALICE);
  let n = 0;
  const some = (count: number): void => {
    for (let i = 0; i < count; i += 2) {
      n++;
      const text = `MESSAGE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKpeer${n}\r\nFrom: <sip:a@example.org>;tag=from-tag-${n}\r\nTo: <sip:b@example.org>\r\nCall-ID: a-rather-long-call-id-${n}\r\nCSeq: 1 MESSAGE\r\n${padding}Content-Length: 0\r\n\r\n`;
      s.view.parse(Buffer.from(text, 'latin1').toString('latin1'));
      s.transactions.matchRequest(s.now, s.view, 0, peer, 0, s.tx);
      s.transactions.openServer(s.now, s.view, flow, s, s.tx)?.reply(s.now, 200, {}, s.tx);
      const branch = s.transactions.newBranch();
      const own = text.replace(/z9hG4bKpeer\d+/, branch);
      s.transactions.request(s.now, { method: 'MESSAGE', text: own, branch, flow, user: s }, s.tx);
      s.view.parse(`SIP/2.0 200 OK${own.slice(own.indexOf('\r\n'))}`);
      s.transactions.matchResponse(s.now, s.view, 0, peer, 0, s.tx);
      if (i % 64 === 0) s.advance(s.now + 100);
    }
  };
  s.onResponse = () => {};
  const measure = (): number => {
    s.advance(s.now + 100_000);
    gc();
    return process.memoryUsage().heapUsed;
  };
  some(50_000);
  const before = measure();
  some(many);
  const live = s.transactions.serverCount + s.transactions.clientCount;
  const after = measure();
  t.ok(live > 10_000, `${live} lived at once`);
  t.ok(after - before < 2_000_000, `${Math.round((after - before) / 1024)} KiB more`);
  t.equal(s.transactions.serverCount + s.transactions.clientCount, 0);
});
