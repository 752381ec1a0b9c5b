import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { authority } from '@drawbridge/sip/test-certificates';
import t from 'tap';
import { Baresip } from '../lab/baresip.js';
import { Border, LOCAL } from '../lab/border.js';
import { registerAll, talk } from '../lab/calls.js';
import { inLaboratory } from '../lab/evidence.js';
import { AT } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import { TONES, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(120_000);

t.test('a phone on TLS and one on UDP, both behind NATs, hear each other', { skip }, t =>
  inLaboratory(t, 'tls', async lab => {
    const folder = lab.room('certificates');
    const ca = await authority();
    const own = await ca.issue({ cn: AT.border, names: [['ip', AT.border]] });
    const file = (name: string, text: string): string => {
      const path = join(folder, name);
      writeFileSync(path, text);
      return path;
    };
    const certificate = file('border.pem', own.certificate);
    const key = file('border.key', own.key);
    const trusted = file('ca.pem', ca.certificate);
    await using border = await Border.start(lab, {
      realms: `
  access: { bind: [${AT.border}], sip: { tls: 5061 }, tls: { certificate: "${certificate}", key: "${key}" } }
  core: { bind: [${AT.borderCore}], networks: ["10.0.0.0/24"] }`,
    });
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    lab.nat(1, { kind: 'portrestricted' });
    lab.nat(2, { kind: 'symmetric' });
    const phone = (user: 'alice' | 'bob', transport: 'tls' | 'udp'): Promise<Baresip> =>
      Baresip.start(lab, {
        box: user === 'alice' ? 'lan1' : 'lan2',
        address: user === 'alice' ? AT.lan1 : AT.lan2,
        user,
        domain: LOCAL,
        password: USERS[user] ?? '',
        outbound: transport === 'tls' ? `${AT.border}:5061` : AT.border,
        transport,
        ca: trusted,
        tone: TONES[user],
        regint: 600,
      });
    await using alice = await phone('alice', 'tls');
    await using bob = await phone('bob', 'udp');
    await registerAll(alice, bob);
    const bindings = JSON.parse(border.command(['bindings', '--json'])) as { aor: string; transport: string }[];
    t.same(bindings.map(b => `${b.aor} ${b.transport}`).sort(), [`alice@${LOCAL} tls`, `bob@${LOCAL} udp`]);
    t.same(await talk(alice, bob), []);
    t.same(await talk(bob, alice), []);
    const metrics = (await border.get('/metrics')).text;
    t.match(metrics, /^drawbridge_streams\{realm="access",transport="tls",family="4"\} 1$/m);
    t.match(metrics, /^drawbridge_tls_certificate_expiry_seconds\{realm="access"\} \d{5}$/m);
    await alice.quit();
    await eventually(500, 'its registration to go with its stream', async () =>
      (JSON.parse(border.command(['bindings', '--json'])) as unknown[]).length === 1 ? true : undefined,
    );
  }),
);
