import type { MediaSection } from '@drawbridge/sdp';

/** What a realm says of codecs, by their names of RFC 3551 and a=rtpmap in any case: `PCMA`, `opus`, `L16/44100`. */
export interface CodecRules {
  /** Only these, when there are any. */
  readonly allow?: readonly string[] | undefined;
  /** Never these. */
  readonly deny?: readonly string[] | undefined;
  /** First these, in this order; the others follow in theirs. Of offers toward the realm. */
  readonly order?: readonly string[] | undefined;
}

/** Payload types that mean a codec without a=rtpmap (RFC 3551 §6). */
const STATIC: ReadonlyMap<string, string> = new Map([
  ['0', 'pcmu/8000'],
  ['3', 'gsm/8000'],
  ['4', 'g723/8000'],
  ['5', 'dvi4/8000'],
  ['6', 'dvi4/16000'],
  ['7', 'lpc/8000'],
  ['8', 'pcma/8000'],
  ['9', 'g722/8000'],
  ['10', 'l16/44100'],
  ['11', 'l16/44100'],
  ['12', 'qcelp/8000'],
  ['13', 'cn/8000'],
  ['14', 'mpa/90000'],
  ['15', 'g728/8000'],
  ['16', 'dvi4/11025'],
  ['17', 'dvi4/22050'],
  ['18', 'g729/8000'],
  ['25', 'celb/90000'],
  ['26', 'jpeg/90000'],
  ['28', 'nv/90000'],
  ['31', 'h261/90000'],
  ['32', 'mpv/90000'],
  ['33', 'mp2t/90000'],
  ['34', 'h263/90000'],
]);

/** These accompany a codec and are none: an allow-list needn't name them, and a stream of them alone is none. */
const COMPANIONS: ReadonlySet<string> = new Set([
  'telephone-event',
  'cn',
  'rtx',
  'red',
  'ulpfec',
  'flexfec',
  'flexfec-03',
  'parityfec',
]);

/** Attributes whose value begins with a payload type. */
const BY_TYPE: ReadonlySet<string> = new Set(['rtpmap', 'fmtp', 'rtcp-fb', 'imageattr', 'framesize']);

/** The rules between two realms: what both permit, in the order that the receiving one likes. */
export class CodecFilter {
  readonly #sides: readonly { readonly allow: ReadonlySet<string>; readonly deny: ReadonlySet<string> }[];
  readonly #order: readonly string[];

  constructor(sides: readonly (CodecRules | undefined)[], order: CodecRules | undefined) {
    this.#sides = sides.flatMap(r => (r === undefined ? [] : [{ allow: lower(r.allow), deny: lower(r.deny) }]));
    this.#order = [...lower(order?.order)];
  }

  /**
   * Takes out of an m-line what isn't permitted, with all that refers to it. False when that leaves no codec: the stream
   * has port 0 then.
   */
  apply(m: MediaSection): boolean {
    if (m.port === 0) return true;
    const { formats } = m;
    if (!m.proto.toUpperCase().startsWith('RTP/')) {
      // What isn't RTP (T.38) is named by its format; an allow-list is one of codecs and doesn't mean it.
      if (!formats.every(f => this.#sides.some(s => s.deny.has(f.toLowerCase())))) return true;
      m.setPort(0);
      return false;
    }
    const names = namesOf(m);
    const kept = formats.filter(f => this.#permits(names.get(f) ?? ''));
    withoutStrays(m, kept, names);
    if (!kept.some(f => !isCompanion(names.get(f) ?? ''))) {
      m.setPort(0);
      return false;
    }
    if (kept.length < formats.length) {
      const gone = new Set(formats.filter(f => !kept.includes(f)));
      m.removeAttributes(a => BY_TYPE.has(a.name) && gone.has(typeOf(a.value ?? '')));
    }
    const ordered = this.#order.length === 0 ? kept : this.#inOrder(kept, names);
    if (ordered.some((f, i) => f !== formats[i]) || ordered.length !== formats.length) m.setFormats(ordered);
    return true;
  }

  #permits(name: string): boolean {
    return this.#sides.every(
      s => !isIn(s.deny, name) && (s.allow.size === 0 || isCompanion(name) || isIn(s.allow, name)),
    );
  }

  /** A stable sort: what isn't named keeps its place behind what is. */
  #inOrder(formats: readonly string[], names: ReadonlyMap<string, string>): string[] {
    const rank = (f: string): number => {
      const name = names.get(f) ?? '';
      const at = this.#order.findIndex(o => o === name || o === bare(name));
      return at < 0 ? this.#order.length : at;
    };
    return formats.toSorted((a, b) => rank(a) - rank(b));
  }
}

/** `name/rate` by payload type, in lower case. */
function namesOf(m: MediaSection): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const a of m.attributes('rtpmap')) {
    const value = a.value ?? '';
    const space = value.indexOf(' ');
    if (space <= 0 || names.has(value.slice(0, space))) continue;
    const [codec, rate] = value
      .slice(space + 1)
      .trim()
      .toLowerCase()
      .split('/', 2);
    names.set(value.slice(0, space), `${codec ?? ''}/${rate ?? ''}`);
  }
  for (const f of m.formats) if (!names.has(f)) names.set(f, STATIC.get(f) ?? '');
  return names;
}

/** Retransmission (RFC 4588) and redundancy (RFC 2198) go with what they repeat; in place. */
function withoutStrays(m: MediaSection, kept: string[], names: ReadonlyMap<string, string>): void {
  const gone = (type: string): boolean => m.formats.includes(type) && !kept.includes(type);
  for (let i = kept.length - 1; i >= 0; i--) {
    const name = bare(names.get(kept[i] ?? '') ?? '');
    if (name !== 'rtx' && name !== 'red') continue;
    const said = fmtpOf(m, kept[i] ?? '');
    const repeats = name === 'rtx' ? [/(?:^|[; ])apt=(\d{1,3})/.exec(said)?.[1] ?? ''] : said.split('/', 33);
    if (repeats.some(r => gone(r.trim()))) kept.splice(i, 1);
  }
}

function fmtpOf(m: MediaSection, type: string): string {
  for (const a of m.attributes('fmtp'))
    if (typeOf(a.value ?? '') === type) return (a.value ?? '').slice(type.length + 1);
  return '';
}

function typeOf(value: string): string {
  const space = value.indexOf(' ');
  return space < 0 ? value : value.slice(0, space);
}

function isIn(set: ReadonlySet<string>, name: string): boolean {
  return set.has(name) || set.has(bare(name));
}

function isCompanion(name: string): boolean {
  return COMPANIONS.has(bare(name));
}

function bare(name: string): string {
  const slash = name.indexOf('/');
  return slash < 0 ? name : name.slice(0, slash);
}

function lower(names: readonly string[] | undefined): ReadonlySet<string> {
  return new Set((names ?? []).map(n => n.toLowerCase()));
}
