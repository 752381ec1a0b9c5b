import t from 'tap';
import { Admission } from '../src/flow/admission.js';

t.test('an address, and the network around it, come in so often and no more; who leaves makes room', async t => {
  const a = new Admission({ maxPerAddress: 2, maxPerNetwork: 3 });
  t.same(
    ['192.0.2.1', '192.0.2.1', '192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.3.1'].map(x => a.enter(x)),
    [true, true, false, true, false, true],
  );
  a.leave('192.0.2.1');
  t.ok(a.enter('192.0.2.3'));
  t.notOk(a.enter('192.0.2.3'));
  const six = [
    '2001:db8:1:1::1',
    '2001:db8:1:1::2',
    '2001:db8:1:1::3',
    '2001:db8:1:2::1',
    '2001:db8:1:3::1',
    '2001:db8:2::1',
  ];
  t.same(
    six.map(x => a.enter(x)),
    [true, true, false, true, false, true],
    'a /64 is an address, a /48 a network',
  );
  for (const x of ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.3.1', six[0], six[1], six[3], six[5]])
    a.leave(x ?? '');
  t.equal(a.size, 0);
});
