import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createConnection } from 'node:net';
import { type Endpoint, familyOf, parseEndpoint } from '@drawbridge/core';
import { type DecodedPacket, decode, encode, type Packet, RECURSION_DESIRED, streamEncode } from 'dns-packet';
import { answers, type DnsQuestion, isDnsName, writeAnswer } from '../locate/answer.js';
import { type HostsFile, hostsOf, readHosts, readServers, WatchedFile } from './dns-files.js';

export interface DnsClientOptions {
  /** Name servers in order; undefined: those of `resolvConf`. */
  readonly servers?: readonly Endpoint[] | undefined;
  /** For one question, all tries together, ms. */
  readonly timeoutMs: number;
  /** Most questions under way; more are answered `failed` at once. */
  readonly cap?: number;
  /** Default /etc/hosts and /etc/resolv.conf; read again when they change. */
  readonly hostsFile?: string;
  readonly resolvConf?: string;
}

/** The message as it came, checked for id, source and question; or a plain sentence why there is none. */
export type DnsReply = { readonly message: Uint8Array } | { readonly failed: string };

export interface DnsClientCounters {
  /** Messages sent, by way. */
  udp: number;
  tcp: number;
  /** Answered out of the hosts file. */
  hosts: number;
  timeouts: number;
  /** Messages that were no answer to what was asked: ignored. */
  foreign: number;
}

/** Each server is asked so often before the question has failed. */
const ROUNDS = 2;
/** What the hosts file says is looked at again after this. */
const HOSTS_TTL_S = 60;
const SHORTEST_TRY_MS = 200;
/** Longest message taken over TCP: the largest pool of servers needs less, and reading one stays cheap. */
const LONGEST = 16_384;

/**
 * Questions to name servers over sockets of our own, since node:dns keeps the times to live of SRV and NAPTR to itself. Every
 * question has a socket, and with it a source port, of its own, connected to the one server that may answer. Names in the hosts
 * file are answered from there.
 */
export class DnsClient {
  readonly counters: DnsClientCounters = { udp: 0, tcp: 0, hosts: 0, timeouts: 0, foreign: 0 };
  readonly #o: DnsClientOptions;
  readonly #hosts: WatchedFile<HostsFile>;
  readonly #resolv: WatchedFile<readonly Endpoint[]>;
  readonly #closing = new AbortController();
  /** The server that answered last is asked first. */
  #preferred: Endpoint | undefined;
  #open = 0;

  constructor(options: DnsClientOptions) {
    this.#o = options;
    this.#hosts = new WatchedFile(options.hostsFile ?? '/etc/hosts', readHosts);
    this.#resolv = new WatchedFile(options.resolvConf ?? '/etc/resolv.conf', readServers);
  }

  get open(): number {
    return this.#open;
  }

  /** Never rejects. */
  async ask(q: DnsQuestion): Promise<DnsReply> {
    if (!isDnsName(q.name)) return { failed: 'this is no name for the DNS' };
    if (this.#closing.signal.aborted) return { failed: 'the border is stopping' };
    if (this.#open >= (this.#o.cap ?? 200)) return { failed: 'too many questions are under way' };
    this.#open++;
    try {
      return (await this.#fromHosts(q)) ?? (await this.#fromServers(q));
    } catch (error) {
      return { failed: error instanceof Error ? error.message : String(error) };
    } finally {
      this.#open--;
    }
  }

  /** Ends what is under way. */
  close(): void {
    this.#closing.abort();
  }

  async #fromHosts(q: DnsQuestion): Promise<DnsReply | undefined> {
    const addresses = hostsOf(await this.#hosts.read(), q);
    if (addresses === undefined) return undefined;
    this.counters.hosts++;
    const { type } = q;
    const found = type === 'A' || type === 'AAAA' ? addresses.map(address => ({ type, address })) : [];
    return { message: writeAnswer(q, found, HOSTS_TTL_S) };
  }

  async #fromServers(q: DnsQuestion): Promise<DnsReply> {
    const configured = this.#o.servers ?? (await this.#resolv.read());
    const first = configured.find(s => s.address === this.#preferred?.address && s.port === this.#preferred.port);
    const servers = first === undefined ? configured : [first, ...configured.filter(s => s !== first)];
    if (servers.length === 0) return { failed: 'there is no name server; name some under dns.servers' };
    const end = performance.now() + this.#o.timeoutMs;
    const each = Math.max(SHORTEST_TRY_MS, this.#o.timeoutMs / (servers.length * ROUNDS));
    let why = '';
    for (let round = 0; round < ROUNDS; round++) {
      for (const server of servers) {
        const left = Math.min(each, end - performance.now());
        if (left <= 0 || this.#closing.signal.aborted) break;
        let tried = await this.#overUdp(server, q, left);
        if (typeof tried !== 'string' && tried.packet.flag_tc)
          tried = await this.#overTcp(server, q, Math.max(SHORTEST_TRY_MS, Math.min(each, end - performance.now())));
        if (typeof tried === 'string') {
          why = `${server.address}: ${tried}`;
          continue;
        }
        const { rcode } = tried.packet as { rcode?: string };
        if (rcode === 'NOERROR' || rcode === 'NXDOMAIN') {
          this.#preferred = server;
          return { message: tried.bytes };
        }
        why = `${server.address} answered ${rcode?.toLowerCase()}`;
      }
    }
    if (this.#closing.signal.aborted) why = 'the border is stopping';
    return { failed: why === '' ? 'no name server answered in time' : why };
  }

  /** A decoded answer, or a word why there is none. */
  #overUdp(server: Endpoint, q: DnsQuestion, ms: number): Promise<Tried> {
    return new Promise(resolve => {
      const id = randomInt(65_536);
      const socket = createSocket(familyOf(server.address) === 4 ? 'udp4' : 'udp6');
      const done = this.#once(ms, () => socket.close(), resolve);
      socket.on('error', error => done((error as NodeJS.ErrnoException).code ?? error.message));
      socket.on('message', bytes => {
        const packet = this.#check(bytes, id, q);
        if (packet !== undefined) done({ bytes, packet });
      });
      // A connected socket hears only this server, and its ICMP errors.
      socket.connect(server.port, server.address, () => {
        if (done.over) return;
        this.counters.udp++;
        socket.send(encode(query(id, q)));
      });
    });
  }

  #overTcp(server: Endpoint, q: DnsQuestion, ms: number): Promise<Tried> {
    return new Promise(resolve => {
      const id = randomInt(65_536);
      const socket = createConnection({ host: server.address, port: server.port });
      const done = this.#once(ms, () => socket.destroy(), resolve);
      let got = Buffer.alloc(0);
      socket.on('error', error => done((error as NodeJS.ErrnoException).code ?? error.message));
      socket.on('close', () => done('the stream ended early'));
      socket.on('data', chunk => {
        got = Buffer.concat([got, chunk]);
        const length = got.length < 2 ? 0 : got.readUInt16BE(0);
        if (length > LONGEST) return done('the answer is too long');
        if (got.length < 2 || got.length < length + 2) return;
        const bytes = got.subarray(2, length + 2);
        const packet = this.#check(bytes, id, q);
        done(packet === undefined ? 'the answer is to another question' : { bytes, packet });
      });
      this.counters.tcp++;
      socket.write(streamEncode(query(id, q)));
    });
  }

  /** Anything but the answer to this question is somebody else's, forged or late. */
  #check(bytes: Buffer, id: number, q: DnsQuestion): DecodedPacket | undefined {
    try {
      const packet = decode(bytes);
      if (packet.id === id && answers(packet, q)) return packet;
    } catch {
      // Counted with the others.
    }
    this.counters.foreign++;
    return undefined;
  }

  /** One outcome: by `done`, by the deadline, or by the end of all. */
  #once(ms: number, close: () => void, resolve: (t: Tried) => void): Done {
    const { signal } = this.#closing;
    const done: Done = Object.assign(
      (t: Tried): void => {
        if (done.over) return;
        done.over = true;
        clearTimeout(timer);
        signal.removeEventListener('abort', ended);
        close();
        resolve(t);
      },
      { over: false },
    );
    const ended = (): void => done('the border is stopping');
    const timer = setTimeout(() => {
      this.counters.timeouts++;
      done('no answer');
    }, ms);
    signal.addEventListener('abort', ended);
    return done;
  }
}

type Tried = { readonly bytes: Uint8Array; readonly packet: DecodedPacket } | string;
type Done = ((t: Tried) => void) & { over: boolean };

function query(id: number, q: DnsQuestion): Packet {
  return { type: 'query', id, flags: RECURSION_DESIRED, questions: [{ name: q.name, type: q.type, class: 'IN' }] };
}

/** `10.0.0.53`, `[2001:db8::53]:5353`: port 53 unless it says otherwise. */
export function parseNameServer(text: string): Endpoint | undefined {
  return parseEndpoint(text, 53);
}
