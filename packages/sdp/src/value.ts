/** o= (RFC 8866 §5.2). The numbers stay text: they are up to 64 bits wide and only compared. */
export interface Origin {
  readonly username: string;
  readonly sessionId: string;
  readonly version: string;
  readonly addressType: 'IP4' | 'IP6';
  readonly address: string;
}

/** c= (RFC 8866 §5.7). `address` is as written, so possibly a host name; `suffix` holds `/ttl/count` of multicast. */
export interface Connection {
  readonly addressType: 'IP4' | 'IP6';
  readonly address: string;
  readonly suffix: string;
}

/** a=rtcp (RFC 3605): the port, and the address when it is another than c=. */
export interface RtcpAttribute {
  readonly port: number;
  readonly connection: Connection | undefined;
}

/** a=candidate (RFC 8839 §5.1), as far as a border looks at it. */
export interface Candidate {
  readonly foundation: string;
  readonly component: number;
  readonly transport: string;
  readonly priority: number;
  readonly address: string;
  readonly port: number;
  readonly type: string;
}

export type Direction = 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';
export const DIRECTIONS: readonly Direction[] = ['sendrecv', 'sendonly', 'recvonly', 'inactive'];

export function isDirection(name: string): name is Direction {
  return name === 'sendrecv' || name === 'sendonly' || name === 'recvonly' || name === 'inactive';
}

export function parseOrigin(value: string): Origin | undefined {
  const f = value.split(' ');
  if (f.length !== 6) return undefined;
  const [username, sessionId, version, net, addressType, address] = f;
  if (!username || !digits(sessionId, 20) || !digits(version, 20) || net !== 'IN' || !address) return undefined;
  if (addressType !== 'IP4' && addressType !== 'IP6') return undefined;
  return { username, sessionId, version, addressType, address };
}

export function formatOrigin(o: Origin): string {
  return `${o.username} ${o.sessionId} ${o.version} IN ${o.addressType} ${o.address}`;
}

export function parseConnection(value: string): Connection | undefined {
  const f = value.trimEnd().split(' ');
  if (f.length !== 3 || f[0] !== 'IN') return undefined;
  const addressType = f[1];
  const whole = f[2];
  if ((addressType !== 'IP4' && addressType !== 'IP6') || !whole) return undefined;
  const slash = whole.indexOf('/');
  if (slash === 0) return undefined;
  return {
    addressType,
    address: slash < 0 ? whole : whole.slice(0, slash),
    suffix: slash < 0 ? '' : whole.slice(slash),
  };
}

export function formatConnection(c: Connection): string {
  return `IN ${c.addressType} ${c.address}${c.suffix}`;
}

/** c= or a=rtcp toward one address. */
export function connectionTo(address: string): Connection {
  return { addressType: address.includes(':') ? 'IP6' : 'IP4', address, suffix: '' };
}

export function parseRtcp(value: string): RtcpAttribute | undefined {
  const space = value.indexOf(' ');
  const port = parsePort(space < 0 ? value : value.slice(0, space));
  if (port < 0) return undefined;
  if (space < 0) return { port, connection: undefined };
  const connection = parseConnection(value.slice(space + 1));
  return connection === undefined ? undefined : { port, connection };
}

export function parseCandidate(value: string): Candidate | undefined {
  const f = value.split(' ', 8);
  const [foundation, component, transport, priority, address, port, typ, type] = f;
  if (!foundation || !digits(component, 3) || !transport || !digits(priority, 10) || !address || typ !== 'typ' || !type)
    return undefined;
  const p = parsePort(port ?? '');
  return p < 0
    ? undefined
    : { foundation, component: Number(component), transport, priority: Number(priority), address, port: p, type };
}

/** 0–65535, -1 for anything else. */
export function parsePort(text: string): number {
  return digits(text, 5) && Number(text) <= 65535 ? Number(text) : -1;
}

export function digits(text: string | undefined, most: number): text is string {
  if (text === undefined || text.length === 0 || text.length > most) return false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 48 || c > 57) return false;
  }
  return true;
}
