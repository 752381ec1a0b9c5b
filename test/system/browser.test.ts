import t from 'tap';
import { Border, LOCAL } from '../lab/border.js';
import { Browser } from '../lab/browser.js';
import { certificate } from '../lab/certificate.js';
import { inLaboratory } from '../lab/evidence.js';
import { AT } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import { USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(240_000);

t.test('JsSIP in Chromium over a secure WebSocket', { skip }, t =>
  inLaboratory(t, 'browser', async lab => {
    const tls = certificate(lab.room('certificates'), [`DNS:${LOCAL}`, `IP:${AT.border}`]);
    await using border = await Border.start(lab, {
      realms: `
  access: { bind: [${AT.border}], networks: ["0.0.0.0/0"], sip: { wss: 443 }, tls: { certificate: "${tls.certificate}", key: "${tls.key}" } }
  core: { bind: [${AT.borderCore}], networks: ["10.0.0.0/24"] }`,
      // Browsers speak DTLS, which is not relayed yet: within a site their media goes straight.
      media: '{ ports: [30000, 30199], inactivity: 3s, sites: { office: ["203.0.113.64/26"] } }',
      calls: '{ noAnswer: 20s }',
    });
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    await using browser = await Browser.start(lab, 'evil');
    const at = `wss://${AT.border}/`;
    const phone = (user: string, password = USERS[user] ?? '') => browser.phone({ user, domain: LOCAL, password, at });

    const mallory = await phone('carol', 'wrong');
    t.equal(await mallory.event('registrationFailed'), 'registrationFailed', 'a wrong password');
    await mallory.do('ua.stop()');
    const [alice, bob] = await Promise.all([phone('alice'), phone('bob')]);
    await Promise.all([alice.event('registered'), bob.event('registered')]);
    const bindings = await border.api<{ aor: string; transport: string }[]>('/bindings');
    t.same(bindings.map(b => [b.aor, b.transport]).sort(), [
      [`alice@${LOCAL}`, 'wss'],
      [`bob@${LOCAL}`, 'wss'],
    ]);

    await alice.do(`call('sip:bob@${LOCAL}')`);
    t.equal(await bob.event('incoming'), 'incoming alice');
    await alice.event('progress');
    await bob.do('answer()');
    await Promise.all([alice.event('confirmed'), bob.event('confirmed')]);
    await Promise.all([alice.hears(50), bob.hears(50)]);
    t.pass('they talk');
    const calls = await border.api<{ legs: { transport: string }[] }[]>('/calls');
    t.same(
      calls.map(c => c.legs.map(l => l.transport)),
      [['wss', 'wss']],
    );

    await alice.do('session.hold()');
    t.match(await bob.event('hold'), /hold remote/);
    await alice.do('session.unhold()');
    t.match(await bob.event('unhold'), /unhold remote/);
    await bob.do("session.sendDTMF('5', { transportType: 'INFO' })");
    t.equal(await alice.event('dtmf'), 'dtmf 5');
    await bob.do('session.terminate()');
    t.match(await alice.event('ended'), /ended/);

    await alice.do(`ua.sendMessage('sip:bob@${LOCAL}', 'hello')`);
    t.equal(await bob.event('message'), 'message hello');

    await alice.do(`call('sip:bob@${LOCAL}')`);
    await bob.event('incoming');
    await bob.do('session.terminate({ status_code: 486 })');
    t.match(await alice.event('failed'), /failed Busy/);

    await bob.close();
    await eventually(1000, 'the stream to take its registration along', async () =>
      (await border.api<unknown[]>('/bindings')).length === 1 ? true : undefined,
    );
    await alice.do(`call('sip:bob@${LOCAL}')`);
    t.match(await alice.event('failed'), /failed (Unavailable|Not Found)/, 'a page that is closed cannot be called');
  }),
);
