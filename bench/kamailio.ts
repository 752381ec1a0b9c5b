import { join } from 'node:path';
import { ROOT } from './border.js';
import { type Daemon, udpBound, type Workshop } from './processes.js';

export const kamailioFile = (name: string): string => join(ROOT, 'bench/kamailio', name);

/** Kamailio at its best settings (`fm` allocator) with one of our configurations, ready on 127.0.0.1:5070. */
export async function startKamailio(
  shop: Workshop,
  o: { readonly cfg: string; readonly core: number; readonly children: number; readonly flags?: readonly string[] },
): Promise<Daemon> {
  const kamailio = shop.start(
    [
      'kamailio',
      '-DD',
      '-E',
      '-f',
      kamailioFile(o.cfg),
      '-A',
      `CHILDREN=${o.children}`,
      ...(o.flags ?? []),
      '-m',
      '2048',
      '-M',
      '16',
      '-b',
      '4194304',
      '-x',
      'fm',
      '-X',
      'fm',
      '-Y',
      shop.folder,
    ],
    { core: o.core, log: 'kamailio.log' },
  );
  await kamailio.until('Kamailio', () => udpBound('127.0.0.1', 5070));
  return kamailio;
}
