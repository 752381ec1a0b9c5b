import {
  type Candidate,
  type Connection,
  DIRECTIONS,
  type Direction,
  formatConnection,
  isDirection,
  parseCandidate,
  parseConnection,
  parsePort,
  parseRtcp,
  type RtcpAttribute,
} from './value.js';

/** One line without its ending; the ending is kept beside it, so that what is not edited leaves as it came. */
export interface Line {
  /** `x=value`; the type is its first character. */
  text: string;
  ending: string;
}

export interface Attribute {
  readonly name: string;
  /** Undefined for a flag such as a=rtcp-mux. */
  readonly value: string | undefined;
}

/** Where a new line goes (RFC 8866 §5); everything unknown comes last. */
const SESSION_ORDER = 'vosiuepcbtrzka';
const MEDIA_ORDER = 'micbka';

/** The lines before the first m=, or one m= with what follows it. */
export class Section {
  readonly lines: Line[];
  readonly #order: string;
  readonly #ending: () => string;

  constructor(lines: Line[], order: 'session' | 'media', ending: () => string) {
    this.lines = lines;
    this.#order = order === 'session' ? SESSION_ORDER : MEDIA_ORDER;
    this.#ending = ending;
  }

  /** Value of the first line of a type (`c`, `b`, …). */
  get(type: string): string | undefined {
    return this.lines.find(l => l.text.startsWith(type) && l.text[1] === '=')?.text.slice(2);
  }

  /** Replaces the first line of a type, or puts one where RFC 8866 wants it. Throws on CR, LF or NUL. */
  set(type: string, value: string): void {
    refuseBreaks(value);
    const text = `${type}=${value}`;
    const line = this.lines.find(l => l.text.startsWith(type) && l.text[1] === '=');
    if (line !== undefined) line.text = text;
    else this.#insert(text);
  }

  /** Removes every line for which `drop` says so; m=, v= and o= can't be removed. */
  remove(drop: (type: string, value: string) => boolean): void {
    const kept = this.lines.filter(l => 'mvo'.includes(l.text[0] ?? 'm') || !drop(l.text[0] ?? '', l.text.slice(2)));
    this.lines.splice(0, this.lines.length, ...kept);
  }

  *attributes(name?: string): IterableIterator<Attribute> {
    for (const l of this.lines) {
      if (!l.text.startsWith('a=')) continue;
      const a = splitAttribute(l.text);
      if (name === undefined || a.name === name) yield a;
    }
  }

  /** Value of the first attribute of a name; '' for a flag, undefined when absent. */
  attribute(name: string): string | undefined {
    for (const { text } of this.lines) {
      if (!isNamed(text, name)) continue;
      return text.length > name.length + 2 && text.charCodeAt(name.length + 2) === COLON
        ? text.slice(name.length + 3)
        : '';
    }
    return undefined;
  }

  has(name: string): boolean {
    return this.attribute(name) !== undefined;
  }

  /** Adds an attribute at the end. Throws on CR, LF or NUL. */
  addAttribute(name: string, value?: string): void {
    const text = value === undefined ? `a=${name}` : `a=${name}:${value}`;
    refuseBreaks(text);
    this.#insert(text);
  }

  /** Replaces the first attribute of the name in its place and removes the others, or adds it. */
  setAttribute(name: string, value?: string): void {
    const text = value === undefined ? `a=${name}` : `a=${name}:${value}`;
    refuseBreaks(text);
    const first = this.lines.find(l => isNamed(l.text, name));
    if (first === undefined) {
      this.#insert(text);
      return;
    }
    first.text = text;
    const kept = this.lines.filter(
      l => l === first || !l.text.startsWith('a=') || splitAttribute(l.text).name !== name,
    );
    this.lines.splice(0, this.lines.length, ...kept);
  }

  removeAttributes(drop: (a: Attribute) => boolean): void {
    const kept = this.lines.filter(l => !l.text.startsWith('a=') || !drop(splitAttribute(l.text)));
    this.lines.splice(0, this.lines.length, ...kept);
  }

  /** c= of this section alone. Undefined when absent; parse errors were refused by `parseSdp`. */
  get ownConnection(): Connection | undefined {
    const value = this.get('c');
    return value === undefined ? undefined : parseConnection(value);
  }

  setConnection(c: Connection): void {
    this.set('c', formatConnection(c));
  }

  /** The direction attribute of this section alone; the last one wins, as deployed peers read it. */
  get ownDirection(): Direction | undefined {
    let found: Direction | undefined;
    for (const { text } of this.lines) {
      // `a=inactive` is the shortest, `a=recvonly` and its like the longest; a trailing blank is forgiven.
      if (text.length < 10 || text.length > 12 || !text.startsWith('a=')) continue;
      const name = text.slice(2).trimEnd();
      if (isDirection(name)) found = name;
    }
    return found;
  }

  setDirection(direction: Direction): void {
    const last = this.lines.findLast(l => l.text.startsWith('a=') && DIRECTIONS.includes(l.text.slice(2) as Direction));
    if (last === undefined) this.#insert(`a=${direction}`);
    else last.text = `a=${direction}`;
  }

  #insert(text: string): void {
    const rank = this.#rank(text);
    let at = this.lines.length;
    while (at > 0 && this.#rank(this.lines[at - 1]?.text ?? '') > rank) at--;
    // The last line of a body may lack its ending; what follows it must not run into it.
    const before = this.lines[at - 1];
    if (before?.ending === '') before.ending = this.#ending();
    this.lines.splice(at, 0, { text, ending: this.#ending() });
  }

  #rank(text: string): number {
    // Blank lines behind the last section stay behind it.
    if (text === '') return 100;
    const at = this.#order.indexOf(text[0] ?? '');
    return at < 0 ? 99 : at;
  }
}

/** One m= line and what belongs to it. */
export class MediaSection extends Section {
  readonly #session: Section;
  #splitText = '';
  #split: readonly string[] = [];

  constructor(lines: Line[], session: Section, ending: () => string) {
    super(lines, 'media', ending);
    this.#session = session;
  }

  /** `audio`, `video`, `image`, `application`, … as written. */
  get kind(): string {
    return this.#field(0);
  }
  get port(): number {
    const f = this.#field(1);
    const slash = f.indexOf('/');
    return parsePort(slash < 0 ? f : f.slice(0, slash));
  }
  /** The `/n` behind the port; 1 when there is none. */
  get portCount(): number {
    const f = this.#field(1);
    const slash = f.indexOf('/');
    return slash < 0 ? 1 : Number(f.slice(slash + 1));
  }
  get proto(): string {
    return this.#field(2);
  }
  get formats(): readonly string[] {
    return this.#m().slice(3);
  }

  /** Writes another port, without a count; the rest of the line stays. */
  setPort(port: number): void {
    const line = this.lines[0];
    if (line === undefined) return;
    const from = line.text.indexOf(' ') + 1;
    line.text = `${line.text.slice(0, from)}${port}${line.text.slice(line.text.indexOf(' ', from))}`;
  }

  /** Writes other formats behind what the line says of kind, port and transport. Throws on CR, LF or NUL. */
  setFormats(formats: readonly string[]): void {
    const line = this.lines[0];
    if (line === undefined) return;
    const text = `m=${this.#m().slice(0, 3).join(' ')} ${formats.join(' ')}`;
    refuseBreaks(text);
    line.text = text;
  }

  /** c= of this stream or of the session. */
  get connection(): Connection | undefined {
    return this.ownConnection ?? this.#session.ownConnection;
  }
  get direction(): Direction {
    return this.ownDirection ?? this.#session.ownDirection ?? 'sendrecv';
  }
  /** Hold as RFC 2543 phones say it: c=IN IP4 0.0.0.0 (RFC 3264 §8.4), or the unspecified IPv6 address. */
  get legacyHold(): boolean {
    const address = this.connection?.address;
    return address === '0.0.0.0' || address === '::';
  }
  get rtcp(): RtcpAttribute | undefined {
    const value = this.attribute('rtcp');
    return value === undefined ? undefined : parseRtcp(value);
  }
  get rtcpMux(): boolean {
    return this.has('rtcp-mux');
  }
  get ptime(): number | undefined {
    const value = Number(this.attribute('ptime') ?? Number.NaN);
    return value > 0 ? value : undefined;
  }
  get mid(): string | undefined {
    return this.attribute('mid');
  }
  get crypto(): readonly string[] {
    return [...this.attributes('crypto')].map(a => a.value ?? '');
  }
  get fingerprints(): readonly string[] {
    const own = [...this.attributes('fingerprint')];
    return (own.length > 0 ? own : [...this.#session.attributes('fingerprint')]).map(a => a.value ?? '');
  }
  /** The well-formed ones. */
  get candidates(): readonly Candidate[] {
    return [...this.attributes('candidate')].map(a => parseCandidate(a.value ?? '')).filter(c => c !== undefined);
  }
  /** Hz of the RTP clock of the first format; 8000 when nothing says otherwise (RFC 3551 static types are 8000 but for MPA, video). */
  get clockRate(): number {
    const first = this.formats[0] ?? '';
    for (const a of this.attributes('rtpmap')) {
      if (!a.value?.startsWith(`${first} `)) continue;
      const rate = Number(a.value.split('/')[1] ?? Number.NaN);
      if (rate > 0 && rate <= 192_000) return rate;
    }
    return this.kind === 'video' ? 90_000 : 8000;
  }

  #field(i: number): string {
    return this.#m()[i] ?? '';
  }
  /** The m= line in its fields, split once per text. */
  #m(): readonly string[] {
    const text = this.lines[0]?.text ?? '';
    if (text !== this.#splitText) {
      this.#splitText = text;
      this.#split = text.slice(2).trimEnd().split(' ');
    }
    return this.#split;
  }
}

const COLON = 58;

/** Is the line `a=NAME` or `a=NAME:…`? */
function isNamed(text: string, name: string): boolean {
  if (!text.startsWith('a=') || !text.startsWith(name, 2)) return false;
  const end = name.length + 2;
  return end === text.length || text.charCodeAt(end) === COLON || text.slice(end).trimEnd() === '';
}

function splitAttribute(text: string): Attribute {
  const colon = text.indexOf(':', 2);
  return colon < 0
    ? { name: text.slice(2).trimEnd(), value: undefined }
    : { name: text.slice(2, colon), value: text.slice(colon + 1) };
}

/** Our own fault, hence thrown: a value that would become two lines. */
function refuseBreaks(value: string): void {
  if (value.includes('\r') || value.includes('\n') || value.includes('\0'))
    throw new TypeError('a line of SDP holds no CR, LF or NUL');
}
