import { type Endpoint, Endpoints } from '@drawbridge/core';
import t from 'tap';
import {
  type Carrier,
  Dialog,
  type Direction,
  type Flow,
  FlowTable,
  H,
  MessageView,
  OfferAnswer,
} from '../src/index.js';

const LOCAL: Endpoint = { address: '192.0.2.1', port: 5060 };
const flow = new FlowTable({ cap: 4, idleMs: 1000 }, { transportOf: () => 'udp', localOf: () => LOCAL }).of(
  0,
  0,
  Endpoints.of({ address: '198.51.100.7', port: 5060 }),
  0,
) as Flow;

function view(text: string): MessageView {
  const m = new MessageView();
  const fault = m.parse(
    `${text
      .trim()
      .split('\n')
      .map(l => l.trim())
      .join('\r\n')}\r\nContent-Length: 0\r\n\r\n`,
  );
  if (fault !== undefined) throw new Error(fault);
  return m;
}

const invite = (headers = '', to = '"Bob, of \\"B\\"" <sip:bob@example.org>'): MessageView =>
  view(`INVITE sip:bob@border SIP/2.0
  Via: SIP/2.0/UDP h;branch=z9hG4bK1
  From: Alice Wonder <sip:alice@example.org;x=1>;tag=alice-tag;other=2
  To: ${to}
  Call-ID: call-1@h
  CSeq: 314 INVITE
  Contact: "A" <sip:alice@198.51.100.7:40000;transport=udp>;q=1
  ${headers}`);

const answer = (status: number, headers = '', method = 'INVITE'): MessageView =>
  view(`SIP/2.0 ${status} X
  Via: SIP/2.0/UDP h;branch=z9hG4bK1
  From: <sip:us@border>;tag=our-tag
  To: <sip:bob@example.org>;tag=bob-tag
  Call-ID: call-2
  CSeq: 1 ${method}
  ${headers === '' ? 'X: y' : headers}`);

const VIA = { transport: 'udp', sentBy: '192.0.2.1:5060', branch: 'z9hG4bKnew' };
const ours = {
  callId: 'call-2',
  localTag: 'our-tag',
  localUri: '<sip:us@border>',
  remoteUri: '<sip:bob@example.org>',
  localSeq: 1,
};
const head = (text: string): string[] => text.split('\r\n').slice(0, -2);

t.test('as server: route set in order, ids turned round, requests of our own count from 1', async t => {
  const d = Dialog.asServer(
    invite('Record-Route: <sip:p2.example.org;lr>, <sip:p1.example.org;lr>\n Record-Route: <sip:p0.example.org;lr>'),
    'our-tag',
    flow,
  );
  t.match(d, {
    callId: 'call-1@h',
    localTag: 'our-tag',
    remoteTag: 'alice-tag',
    remoteTarget: 'sip:alice@198.51.100.7:40000;transport=udp',
    state: 'early',
    localSeq: 0,
    remoteSeq: 314,
  });
  t.equal(d.flow, flow);
  t.same(head(d.request('BYE', { via: VIA, headers: 'Reason: SIP;cause=200\r\n' })), [
    'BYE sip:alice@198.51.100.7:40000;transport=udp SIP/2.0',
    'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnew;rport',
    'Route: <sip:p2.example.org;lr>',
    'Route: <sip:p1.example.org;lr>',
    'Route: <sip:p0.example.org;lr>',
    'Max-Forwards: 70',
    'From: "Bob, of \\"B\\"" <sip:bob@example.org>;tag=our-tag',
    'To: Alice Wonder <sip:alice@example.org;x=1>;tag=alice-tag',
    'Call-ID: call-1@h',
    'CSeq: 1 BYE',
    'Reason: SIP;cause=200',
    'Content-Length: 0',
  ]);
  t.equal(d.localSeq, 1);
  t.match(
    d.request('INVITE', {
      via: VIA,
      contact: '<sip:x@192.0.2.1>',
      contentType: 'application/sdp',
      body: 'v=0\r\n',
      maxForwards: 9,
    }),
    /Max-Forwards: 9\r\n[\s\S]*CSeq: 2 INVITE\r\nContact: <sip:x@192.0.2.1>\r\nContent-Type: application\/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n$/,
  );
  t.match(d.request('ACK', { via: VIA, cseq: 2 }), 'CSeq: 2 ACK\r\n');
  t.equal(d.localSeq, 2, 'an ACK takes no number of its own');
  t.equal(
    Dialog.asServer(invite('X: y', 'sip:bob@example.org;p=1'), 't', flow).localUri,
    '<sip:bob@example.org>',
    'an addr-spec is put in <>',
  );
});

t.test('as client: route set reversed; the 2xx of an early dialog computes it anew, later messages do not', async t => {
  const early = Dialog.asClient(
    ours,
    answer(183, 'Record-Route: <sip:p1;lr>, <sip:p2;lr>\n Contact: <sip:bob@203.0.113.1>'),
    flow,
  );
  t.match(early, {
    state: 'early',
    remoteTag: 'bob-tag',
    localSeq: 1,
    remoteSeq: -1,
    remoteTarget: 'sip:bob@203.0.113.1',
  });
  t.same(early.routeSet, ['<sip:p2;lr>', '<sip:p1;lr>']);
  early.confirm(answer(200, 'Record-Route: <sip:p1;lr>, <sip:p2;lr>, <sip:p3;lr>\n Contact: <sip:bob@203.0.113.2>'));
  t.same(early.routeSet, ['<sip:p3;lr>', '<sip:p2;lr>', '<sip:p1;lr>']);
  t.match(early, { state: 'confirmed', remoteTarget: 'sip:bob@203.0.113.2' });
  early.confirm(answer(200, 'Record-Route: <sip:evil;lr>\n Contact: <sip:evil@203.0.113.66>'));
  early.refresh(answer(200, 'Record-Route: <sip:evil;lr>\n Contact: <sip:bob@203.0.113.3>'));
  t.same(early.routeSet, ['<sip:p3;lr>', '<sip:p2;lr>', '<sip:p1;lr>']);
  t.equal(early.remoteTarget, 'sip:bob@203.0.113.3');
  t.match(Dialog.asClient(ours, answer(200), flow), { state: 'confirmed', remoteTarget: '' });
  const forks = ['one', 'two'].map(tag =>
    Dialog.asClient(ours, view(answer(180).text.replace('bob-tag', tag).replace('Content-Length: 0', '')), flow),
  );
  t.same(
    forks.map(d => d.remoteTag),
    ['one', 'two'],
  );
});

t.test('a strict router in front gets itself as Request-URI and the target as last Route', async t => {
  const strict = Dialog.asServer(
    invite('Record-Route: <sip:strict.example.org;method=INVITE?Subject=x>, <sip:p1;lr>'),
    'our-tag',
    flow,
  );
  t.same(head(strict.request('BYE', { via: VIA })).slice(0, 4), [
    'BYE sip:strict.example.org SIP/2.0',
    'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnew;rport',
    'Route: <sip:p1;lr>',
    'Route: <sip:alice@198.51.100.7:40000;transport=udp>',
  ]);
  const loose = Dialog.asServer(invite('Record-Route: <sip:p1;lr=on>'), 'our-tag', flow);
  t.same(head(loose.request('BYE', { via: VIA })).slice(0, 3), [
    'BYE sip:alice@198.51.100.7:40000;transport=udp SIP/2.0',
    'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnew;rport',
    'Route: <sip:p1;lr=on>',
  ]);
});

t.test('a CSeq that does not rise is refused, gaps are legal, ACK and CANCEL do not count', async t => {
  const d = Dialog.asServer(invite(), 'our-tag', flow);
  const request = (method: string, cseq: number): MessageView =>
    view(`${method} sip:us@border SIP/2.0
    Via: SIP/2.0/UDP h;branch=z9hG4bK2
    From: <sip:alice@example.org>;tag=alice-tag
    To: <sip:bob@example.org>;tag=our-tag
    Call-ID: call-1@h
    CSeq: ${cseq} ${method}
    Contact: <sip:alice@198.51.100.9>`);
  t.equal(d.accepts(request('ACK', 314)), 'ok');
  t.equal(d.accepts(request('CANCEL', 314)), 'ok');
  t.equal(d.accepts(request('INVITE', 314)), 'lower-cseq');
  t.equal(d.accepts(request('INFO', 313)), 'lower-cseq');
  t.equal(d.accepts(request('INFO', 400)), 'ok');
  t.equal(d.accepts(request('INFO', 400)), 'lower-cseq');
  t.equal(d.accepts(request('BYE', 401)), 'ok');
  const client = Dialog.asClient(ours, answer(200), flow);
  t.equal(client.accepts(request('BYE', 0)), 'ok', 'the first of a peer may be any');
  t.ok(d.matches(request('BYE', 402)));
  t.notOk(d.matches(view(request('BYE', 402).text.replace('alice-tag', 'eve-tag').replace('Content-Length: 0', ''))));
  d.refresh(request('INFO', 403));
  t.equal(d.remoteTarget, 'sip:alice@198.51.100.7:40000;transport=udp', 'INFO refreshes no target');
  d.refresh(request('UPDATE', 404));
  t.equal(d.remoteTarget, 'sip:alice@198.51.100.9');
  d.end();
  t.equal(d.state, 'ended');
});

t.test('what a dialog keeps does not pin the message it came from', async t => {
  const many: Dialog[] = [];
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose_gc');
  const gc = runInNewContext('gc') as () => void;
  const text = invite(
    `Record-Route: <sip:proxy-with-a-long-name.example.org;lr>\n Subject: ${'s'.repeat(20_000)}`,
  ).text;
  const m = new MessageView();
  const fill = (into: unknown[], make: () => unknown): number => {
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 500; i++) {
      m.parse(Buffer.from(text, 'latin1').toString('latin1'));
      into.push(make());
    }
    gc();
    return (process.memoryUsage().heapUsed - before) / 500;
  };
  // What the engine allocates once, when code runs often enough to be compiled, is no dialog's memory.
  for (let i = 0; i < 5; i++) {
    fill([], () => Dialog.asServer(m, 'our-tag', flow));
    fill([], () => m.get(H.recordRoute));
    fill([], () => 0);
  }
  const dialog = fill(many, () => Dialog.asServer(m, 'our-tag', flow));
  const pinned = fill([], () => 0);
  const kept: string[] = [];
  const control = fill(kept, () => m.get(H.recordRoute));
  t.ok(dialog < 2500, `${Math.round(dialog)} bytes a dialog`);
  t.ok(pinned < 200, `${Math.round(pinned)} bytes a message`);
  t.ok(control > 15_000, `a slice holds ${Math.round(control)} bytes`);
  t.equal(many.length + kept.length, 1000);
});

type Step = readonly [Direction, Carrier, boolean, string];
function play(steps: readonly Step[], oa = new OfferAnswer()): { said: string[]; expected: string[]; oa: OfferAnswer } {
  return { said: steps.map(([d, c, sdp]) => oa.note(d, c, sdp)), expected: steps.map(s => s[3]), oa };
}

t.test('the six legal pairs of offer and answer, from both sides', async t => {
  const pairs: Record<string, readonly Step[]> = {
    'INVITE → 2xx': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '1xx', false, 'none'],
      ['out', '2xx', true, 'answer'],
      ['in', 'ACK', false, 'none'],
    ],
    'INVITE → 2xx with previews': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '1xx', true, 'preview'],
      ['out', '1xx', true, 'preview'],
      ['out', '2xx', true, 'answer'],
    ],
    'INVITE → reliable 1xx': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '1xx-reliable', true, 'answer'],
      ['in', 'PRACK', false, 'none'],
      ['out', '1xx', true, 'none'],
      ['out', '2xx', true, 'none'],
      ['in', 'ACK', false, 'none'],
    ],
    '2xx → ACK': [
      ['in', 'INVITE', false, 'none'],
      ['out', '1xx', false, 'none'],
      ['out', '2xx', true, 'offer'],
      ['in', 'ACK', true, 'answer'],
    ],
    'reliable 1xx → PRACK': [
      ['in', 'INVITE', false, 'none'],
      ['out', '1xx-reliable', true, 'offer'],
      ['in', 'PRACK', true, 'answer'],
      ['out', '2xx', false, 'none'],
      ['in', 'ACK', false, 'none'],
    ],
    'PRACK → 2xx': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '1xx-reliable', true, 'answer'],
      ['in', 'PRACK', true, 'offer'],
      ['out', 'PRACK-2xx', true, 'answer'],
      ['out', '2xx', false, 'none'],
    ],
    'UPDATE → 2xx': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '1xx-reliable', true, 'answer'],
      ['out', 'UPDATE', true, 'offer'],
      ['in', 'UPDATE-2xx', true, 'answer'],
      ['out', '2xx', false, 'none'],
    ],
    're-INVITE': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '2xx', true, 'answer'],
      ['out', 'INVITE', true, 'offer'],
      ['in', '2xx', true, 'answer'],
      ['in', 'INVITE', false, 'none'],
      ['out', '2xx', true, 'offer'],
      ['in', 'ACK', true, 'answer'],
    ],
  };
  for (const [name, steps] of Object.entries(pairs)) {
    const { said, expected, oa } = play(steps);
    t.same(said, expected, name);
    t.equal(oa.state, 'stable', name);
    const turned = steps.map(([d, c, s, role]) => [d === 'in' ? 'out' : 'in', c, s, role] as const);
    t.same(play(turned).said, expected, `${name}, turned round`);
  }
});

t.test('what is not among them is a violation and changes nothing', async t => {
  const V = 'offer-answer-violation';
  const wrong: Record<string, readonly Step[]> = {
    '2xx without the answer': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '2xx', false, V],
    ],
    '2xx without the delayed offer': [
      ['in', 'INVITE', false, 'none'],
      ['out', '2xx', false, V],
      ['out', '2xx', true, 'offer'],
    ],
    'offer in an unreliable 1xx': [
      ['in', 'INVITE', false, 'none'],
      ['out', '1xx', true, V],
      ['out', '2xx', true, 'offer'],
    ],
    'ACK without the answer': [
      ['in', 'INVITE', false, 'none'],
      ['out', '2xx', true, 'offer'],
      ['in', 'ACK', false, V],
      ['in', 'ACK', true, 'answer'],
    ],
    'ACK with a description too many': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '2xx', true, 'answer'],
      ['in', 'ACK', true, V],
    ],
    'UPDATE before the first answer': [
      ['in', 'INVITE', true, 'offer'],
      ['in', 'UPDATE', true, 'request-pending'],
      ['out', 'UPDATE', true, 'glare'],
      ['out', '2xx', true, 'answer'],
    ],
    'UPDATE in a delayed offer': [
      ['in', 'INVITE', false, 'none'],
      ['in', 'UPDATE', true, V],
      ['out', '2xx', true, 'offer'],
    ],
    're-INVITE across ours': [
      ['in', 'INVITE', true, 'offer'],
      ['out', '2xx', true, 'answer'],
      ['out', 'INVITE', true, 'offer'],
      ['in', 'INVITE', true, 'glare'],
      ['in', 'INVITE', false, 'glare'],
      ['out', 'INVITE', true, 'request-pending'],
      ['in', '2xx', true, 'answer'],
    ],
    'PRACK with an offer before the answer': [
      ['in', 'INVITE', true, 'offer'],
      ['in', 'PRACK', true, 'request-pending'],
    ],
    'PRACK without the answer': [
      ['in', 'INVITE', false, 'none'],
      ['out', '1xx-reliable', true, 'offer'],
      ['in', 'PRACK', false, V],
      ['in', 'PRACK', true, 'answer'],
    ],
    'answers to nothing': [
      ['in', '2xx', true, V],
      ['in', 'UPDATE-2xx', true, V],
      ['in', 'PRACK-2xx', true, V],
      ['in', '1xx', true, V],
    ],
    'a response from the one who asked': [
      ['in', 'INVITE', true, 'offer'],
      ['in', '2xx', true, V],
      ['out', '2xx', true, 'answer'],
    ],
  };
  for (const [name, steps] of Object.entries(wrong)) {
    const { said, expected } = play(steps);
    t.same(said, expected, name);
  }
});

t.test('a failure undoes what it offered, and nothing before', async t => {
  const first = play([
    ['out', 'INVITE', true, 'offer'],
    ['in', '1xx', true, 'preview'],
    ['in', 'non-2xx', false, 'none'],
  ]).oa;
  t.equal(first.state, 'idle');
  const again = play([
    ['in', 'INVITE', true, 'offer'],
    ['out', '2xx', true, 'answer'],
    ['in', 'INVITE', true, 'offer'],
    ['out', 'non-2xx', false, 'none'],
    ['out', 'INVITE', true, 'offer'],
  ]);
  t.same(again.said, again.expected);
  again.oa.rollback();
  t.equal(again.oa.state, 'stable');
  const early = play([
    ['out', 'INVITE', true, 'offer'],
    ['in', '1xx-reliable', true, 'answer'],
    ['out', 'UPDATE', true, 'offer'],
    ['in', 'UPDATE-non-2xx', false, 'none'],
  ]).oa;
  t.equal(early.state, 'stable');
  early.note('in', 'non-2xx', false);
  t.equal(early.state, 'idle', 'the early session is gone with its INVITE');
  const delayed = play([
    ['out', 'INVITE', false, 'none'],
    ['in', '1xx-reliable', true, 'offer'],
    ['in', '2xx', false, 'none'],
  ]);
  t.same(delayed.said, delayed.expected);
  t.notOk(delayed.oa.delayed);
  const rolled = play([
    ['out', 'INVITE', true, 'offer'],
    ['in', '1xx-reliable', true, 'answer'],
  ]).oa;
  rolled.rollback();
  t.equal(rolled.state, 'idle', 'and so it is when its user rolls back');
});

t.test('each fork has a machine of its own', async t => {
  const base = new OfferAnswer();
  base.note('out', 'INVITE', true);
  const one = base.fork();
  const two = base.fork();
  t.equal(one.note('in', '1xx-reliable', true), 'answer');
  t.equal(two.note('in', '1xx', true), 'preview');
  t.equal(one.state, 'stable');
  t.equal(two.state, 'offer-out');
  t.equal(two.note('in', '2xx', true), 'answer');
  const delayed = new OfferAnswer();
  delayed.note('out', 'INVITE', false);
  t.ok(delayed.delayed);
  const three = delayed.fork();
  t.equal(three.note('in', '2xx', true), 'offer');
  t.equal(three.note('out', 'ACK', true), 'answer');
});
