import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bridge } from './bridge.js';
import { run, succeeds } from './machine.js';
import type { NatBehaviour } from './nat.js';
import { MAPPING_TIMEOUT, ruleset } from './nat.js';

/*
 * The laboratory, one network namespace per box:
 *
 *   lan1 10.1.0.2 ── 10.1.0.1 nat1 203.0.113.1 ──┐
 *   lan2 10.2.0.2 ── 10.2.0.1 nat2 203.0.113.2 ──┤ br0 of pub                       core
 *        (.3 too, on both lans)                  ├─ 203.0.113.10 the border ── 10.0.0.1 ── 10.0.0.5 the service behind it
 *   evil 203.0.113.66 ───────────────────────────┤ 203.0.113.11, .12 other public hosts
 *   lan6 2001:db8:6::2 ───── 2001:db8:6::1 ──────┘ 2001:db8:1::10 the border
 *
 * lan6 has no IPv4 at all. The default route of pub leads nowhere, so that a packet to a private address is lost
 * as it would be on the Internet, instead of failing in the sender. With NAT `none` the lans are routed.
 *
 * `ip netns exec` would mount another /sys and hide the bpf file system: programs enter with nsenter instead.
 */
export const BOXES = ['pub', 'nat1', 'nat2', 'lan1', 'lan2', 'lan6', 'core', 'evil'] as const;
export type Box = (typeof BOXES)[number];

export const AT = {
  border: '203.0.113.10',
  border6: '2001:db8:1::10',
  borderCore: '10.0.0.1',
  service: '10.0.0.5',
  public: '203.0.113.11',
  evil: '203.0.113.66',
  lan1: '10.1.0.2',
  lan2: '10.2.0.2',
  lan6: '2001:db8:6::2',
  nat1: '203.0.113.1',
  nat2: '203.0.113.2',
} as const;

const PREFIX = 'dbl';
/** Built by this process so far. */
let labs = 0;

export class Lab implements AsyncDisposable {
  /** Everything the run writes: configurations, logs, captures, recordings. */
  readonly folder: string;
  readonly #bridges = new Map<Box, Bridge>();
  readonly #name: string;
  readonly #onExit = (): void => this.#unwire();

  private constructor(name: string) {
    this.#name = name;
    this.folder = mkdtempSync(join(tmpdir(), `drawbridge-lab-${process.pid}-`));
  }

  static build(): Lab {
    sweep();
    endWithSignals();
    const lab = new Lab(`${PREFIX}${process.pid}-${labs++}`);
    process.once('exit', lab.#onExit);
    try {
      lab.#wire();
      lab.nat(1, { kind: 'none' });
      lab.nat(2, { kind: 'none' });
    } catch (error) {
      lab.#unwire();
      throw error;
    }
    return lab;
  }

  /** Name of a box's namespace. */
  namespace(box: Box): string {
    return `${this.#name}-${box}`;
  }

  /** Command and arguments that run `command` inside a box; the process id stays that of the command. */
  inside(box: Box, command: string, args: readonly string[]): [string, string[]] {
    return ['nsenter', [`--net=/run/netns/${this.namespace(box)}`, command, ...args]];
  }

  run(box: Box, command: string, args: readonly string[], input?: string): string {
    return run(...this.inside(box, command, args), input);
  }

  /** The way from here into a box's TCP ports. */
  async bridge(box: Box): Promise<Bridge> {
    let bridge = this.#bridges.get(box);
    if (bridge === undefined) {
      bridge = await Bridge.open(
        this.inside(box, process.execPath, [Bridge.program]),
        join(this.folder, `${box}.sock`),
      );
      this.#bridges.set(box, bridge);
    }
    return bridge;
  }

  /** Switches a NAT's behaviour and forgets its mappings; the wires stay. */
  nat(i: 1 | 2, behaviour: NatBehaviour): void {
    const box: Box = i === 1 ? 'nat1' : 'nat2';
    const timeout = behaviour.timeout ?? MAPPING_TIMEOUT;
    this.run(box, 'nft', ['-f', '-'], ruleset(i, behaviour));
    this.forget(i);
    if (behaviour.kind !== 'none') {
      // known to the namespace only once a rule tracks connections
      this.run(box, 'sysctl', [
        '-qw',
        `net.netfilter.nf_conntrack_udp_timeout=${timeout}`,
        `net.netfilter.nf_conntrack_udp_timeout_stream=${timeout}`,
      ]);
    }
    const other = i === 1 ? 2 : 1;
    const route = behaviour.kind === 'none' ? 'replace' : 'del';
    for (const from of ['pub', other === 1 ? 'nat1' : 'nat2'] as const) {
      succeeds('ip', ['-n', this.namespace(from), 'route', route, `10.${i}.0.0/24`, 'via', `203.0.113.${i}`]);
    }
  }

  /** Empties a NAT's table of mappings. */
  forget(i: 1 | 2): void {
    this.run(i === 1 ? 'nat1' : 'nat2', 'conntrack', ['-F']);
  }

  /** A folder of its own for one peer. */
  room(name: string): string {
    const path = join(this.folder, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#onExit);
    for (const bridge of this.#bridges.values()) await bridge.close();
    this.#unwire();
  }

  #wire(): void {
    const ns = (box: Box): string => this.namespace(box);
    const batch = (box: Box, lines: readonly string[]): void => {
      run('ip', ['-n', ns(box), '-batch', '-'], `${lines.join('\n')}\n`);
    };
    for (const box of BOXES) run('ip', ['netns', 'add', ns(box)]);
    for (const box of BOXES) {
      this.run(box, 'sysctl', [
        '-qw',
        'net.ipv6.conf.all.accept_dad=0',
        'net.ipv6.conf.default.accept_dad=0',
        'net.ipv6.conf.all.accept_ra=0',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
      ]);
    }
    batch('pub', [
      'link set lo up',
      'link add br0 type bridge mcast_snooping 0 forward_delay 0',
      'link set br0 up',
      `addr add ${AT.border}/24 dev br0`,
      'addr add 203.0.113.11/24 dev br0',
      'addr add 203.0.113.12/24 dev br0',
      `addr add ${AT.border6}/64 dev br0 nodad`,
      'link add void type veth peer name voidp',
      'link set void up arp off',
      'link set voidp up',
      'route add default dev void',
      `link add core type veth peer name eth0 netns ${ns('core')}`,
      `addr add ${AT.borderCore}/24 dev core`,
      'link set core up',
      `link add l6 type veth peer name eth0 netns ${ns('lan6')}`,
      'addr add 2001:db8:6::1/64 dev l6 nodad',
      'link set l6 up',
      `link add pe type veth peer name eth0 netns ${ns('evil')}`,
      'link set pe master br0 up',
    ]);
    batch('core', [
      'link set lo up',
      `addr add ${AT.service}/24 dev eth0`,
      'addr add 10.0.0.6/24 dev eth0',
      'link set eth0 up',
      `route add default via ${AT.borderCore}`,
    ]);
    batch('lan6', [
      'link set lo up',
      `addr add ${AT.lan6}/64 dev eth0 nodad`,
      'link set eth0 up',
      'route add default via 2001:db8:6::1',
    ]);
    batch('evil', [
      'link set lo up',
      `addr add ${AT.evil}/24 dev eth0`,
      'link set eth0 up',
      `route add default via ${AT.border}`,
    ]);
    for (const i of [1, 2] as const) {
      const nat: Box = i === 1 ? 'nat1' : 'nat2';
      const lan: Box = i === 1 ? 'lan1' : 'lan2';
      batch(nat, [
        'link set lo up',
        `link add wan type veth peer name p${i} netns ${ns('pub')}`,
        `link add lan type veth peer name eth0 netns ${ns(lan)}`,
        `addr add 203.0.113.${i}/24 dev wan`,
        `addr add 10.${i}.0.1/24 dev lan`,
        'link set wan up',
        'link set lan up',
        `route add default via ${AT.border}`,
      ]);
      batch('pub', [`link set p${i} master br0 up`]);
      batch(lan, [
        'link set lo up',
        `addr add 10.${i}.0.2/24 dev eth0`,
        `addr add 10.${i}.0.3/24 dev eth0`,
        'link set eth0 up',
        `route add default via 10.${i}.0.1`,
      ]);
      this.run(nat, 'sysctl', [
        '-qw',
        'net.ipv4.ip_forward=1',
        'net.ipv4.conf.all.send_redirects=0',
        'net.ipv4.conf.lan.send_redirects=0',
        'net.ipv4.conf.wan.send_redirects=0',
      ]);
    }
  }

  #unwire(): void {
    for (const box of BOXES) dissolve(this.namespace(box));
    if (process.env.DRAWBRIDGE_KEEP === undefined) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Ends what still runs in a namespace of the laboratory (children of a peer that was killed, say), then removes it. */
function dissolve(namespace: string): void {
  let pids: string[] = [];
  try {
    pids = run('ip', ['netns', 'pids', namespace]).split('\n');
  } catch {
    return;
  }
  for (const pid of pids) {
    if (pid === '') continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // gone by itself
    }
  }
  succeeds('ip', ['netns', 'del', namespace]);
}

let signalled = false;

/** A run that is interrupted or timed out tears its lab down too: `exit` handlers don't run for a signal's default. */
function endWithSignals(): void {
  if (signalled) return;
  signalled = true;
  for (const [signal, number] of [
    ['SIGHUP', 1],
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ] as const)
    process.once(signal, () => process.exit(128 + number));
}

/** Removes the namespaces of runs that died before their `finally`. */
function sweep(): void {
  let names: string[];
  try {
    names = readdirSync('/run/netns');
  } catch {
    return;
  }
  const living = new Set(readdirSync('/proc'));
  for (const name of names) {
    const owner = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (owner !== undefined && !living.has(owner)) dissolve(name);
  }
}
