import { KernelError, loadLibc, SocketError } from 'node-dgram-raw';
import type { DataPath, DataPathOptions, OpenDataPath } from '../path.js';
import { DgramPath } from './dgram.js';
import { SocketsPath } from './sockets.js';
import { SteeredPath } from './steered.js';

/**
 * Opens the best data path this machine allows: steered, else a socket per port, else node:dgram; each says why
 * not the one before. Naming one takes that or throws (KernelError, SocketError). An address that is not this
 * machine's throws whatever the path: no fallback could carry it.
 */
export const openDataPath: OpenDataPath = async (o: DataPathOptions): Promise<DataPath> => {
  const asked = o.path === 'auto' ? undefined : o.path;
  if (asked === 'dgram') return DgramPath.open(o, 'asked for');
  const libc = await loadLibc();
  if (typeof libc === 'string') {
    if (asked !== undefined) throw new KernelError('unsupported', libc);
    return DgramPath.open(o, libc);
  }
  if (asked === 'sockets') return SocketsPath.open(libc, o, 'asked for');
  try {
    return await SteeredPath.open(libc, o, asked === undefined ? 'sk_lookup and raw sockets work here' : 'asked for');
  } catch (error) {
    if (asked !== undefined || (error instanceof SocketError && error.reason !== 'permission')) throw error;
    const because = `no steering: ${error instanceof Error ? error.message : String(error)}`;
    o.log?.(because);
    return SocketsPath.open(libc, o, because);
  }
};
