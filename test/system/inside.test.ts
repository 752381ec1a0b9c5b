import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Border, LOCAL } from '../lab/border.js';
import { end, establish } from '../lab/calls.js';
import { inLaboratory } from '../lab/evidence.js';
import { eventually, unable } from '../lab/machine.js';
import type { Cell } from '../lab/matrix.js';
import { hearOnWire, setStage, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(120_000);

const CELL: Cell = {
  caller: { nat: 'portrestricted', transport: 'udp' },
  callee: { nat: 'symmetric', transport: 'udp' },
  domain: 'local',
};

/** What these tests read of the API's answers. */
interface CallSeen {
  readonly id: string;
  readonly state: string;
  readonly legs: readonly { readonly leg: string; readonly realm: string; readonly transport: string }[];
  readonly media: readonly {
    readonly leg: string;
    readonly path: string;
    readonly counters: { readonly packets: number };
  }[];
}

t.test('what an operator sees of a call, and may do to it', { skip }, t =>
  inLaboratory(t, 'inside', async lab => {
    await using border = await Border.start(lab);
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    await using stage = await setStage(lab, CELL);
    const { alice, bob } = stage;
    const cdrs = (): { ref?: string; cause?: string }[] =>
      readFileSync(join(border.folder, 'cdr.jsonl'), 'utf8')
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as { ref?: string; cause?: string });

    t.same(JSON.parse(border.command(['calls', '--json'])), [], 'control: no call yet');
    await establish(alice.phone, bob.phone);
    t.same(await hearOnWire({ alice, bob }, 1), []);

    const seen = JSON.parse(border.command(['calls', '--json'])) as CallSeen[];
    t.equal(seen.length, 1);
    const call = seen[0] as CallSeen;
    t.equal(call.state, 'answered');
    t.same(
      call.legs.map(l => [l.leg, l.realm, l.transport]),
      [
        ['a', 'access', 'udp'],
        ['b1', 'access', 'udp'],
      ],
    );
    t.same(call.media.map(m => m.leg).sort(), ['a', 'b1']);
    t.ok(
      call.media.every(m => m.counters.packets > 20),
      'packets are counted on both legs',
    );
    t.match(border.command(['calls', call.id]), /203\.0\.113\.1/, 'where media comes from');

    const registered = JSON.parse(border.command(['bindings', '--json'])) as { aor: string }[];
    t.same(registered.map(b => b.aor).sort(), [`alice@${LOCAL}`, `bob@${LOCAL}`]);

    const ladder = border.command(['trace', call.id]);
    const order = ['INVITE (SDP)', '180 Ringing', '200 OK (INVITE) (SDP)', ' ACK '].map(word =>
      ladder.lastIndexOf(word),
    );
    t.ok(
      order.every((at, i) => at > (order[i - 1] ?? -1)),
      ladder,
    );
    t.match((await border.get('/metrics')).text, /^drawbridge_calls(\{[^}]*\})? 1$/m);

    border.command(['calls', 'end', call.id]);
    await Promise.all([alice.phone.event('CALL_CLOSED'), bob.phone.event('CALL_CLOSED')]);
    await eventually(500, 'the CDR', () => (cdrs().length === 1 ? true : undefined));
    t.match(cdrs(), [{ cause: 'admin-request' }]);
    t.match((await border.get('/metrics')).text, /^drawbridge_calls(\{[^}]*\})? 0$/m);

    await t.test('a border that is told to stop lets its calls go on and takes no new ones', async t => {
      await establish(alice.phone, bob.phone);
      border.terminate();
      await eventually(500, 'the drain', async () => ((await border.get('/readyz')).status === 503 ? true : undefined));
      await alice.phone.dial(`sip:carol@${LOCAL}`);
      t.match((await alice.phone.event('CALL_CLOSED', 500)).param, /^503 /, 'no new call');
      t.same(await hearOnWire({ alice, bob }, 1), [], 'the old one goes on');
      t.equal(border.code, undefined, 'and so does the border');
      await end(bob.phone, alice.phone);
      t.equal(await border.ended(500), 0, 'until the last call is over');
      t.match(cdrs(), [{ cause: 'admin-request' }, { cause: 'normal-clearing' }]);
      // so that the phones can sign off
      await border.up();
    });
  }),
);
