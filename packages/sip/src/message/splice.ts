import { H } from './header-id.js';
import { headerLine, mustBeLine, mustBeSafe } from './line.js';
import type { MessageView } from './view.js';

/** Order of edits at one place: what is inserted before a line, then what stands instead of it. */
const BEFORE = 0;
const INSTEAD = 1;

/**
 * Edits of one message. What isn't touched leaves as it came, byte for byte, run by run; bytes after the body that
 * Content-Length doesn't count stay behind. Use it within the batch: it reads from the view when `build` is called.
 * Every edit throws on a line that isn't exactly one header line.
 */
export class Splice {
  readonly #m: MessageView;
  readonly #at: number[] = [];
  readonly #kind: number[] = [];
  readonly #text: string[] = [];
  #start: string | undefined = undefined;
  #type = '';
  #body: string | undefined = undefined;

  constructor(m: MessageView) {
    this.#m = m;
  }

  /** `line` with its CRLF stands instead of header `i`. A second edit of the same header wins over the first. */
  replace(i: number, line: string): this {
    mustBeLine(line);
    return this.#edit(i, INSTEAD, line);
  }

  remove(i: number): this {
    return this.#edit(i, INSTEAD, '');
  }

  /** Before header `i`; several keep their order. `i === count` appends. */
  insertBefore(i: number, line: string): this {
    mustBeLine(line);
    return this.#edit(i, BEFORE, line);
  }

  append(line: string): this {
    return this.insertBefore(this.#m.count, line);
  }

  /** Another body; Content-Type and Content-Length follow it. An empty body takes its Content-Type away. */
  body(type: string, text: string): this {
    mustBeSafe('Content-Type', type);
    this.#type = type;
    this.#body = text;
    return this;
  }

  startLine(text: string): this {
    mustBeSafe('start line', text);
    this.#start = text;
    return this;
  }

  build(): string {
    const m = this.#m;
    if (this.#body !== undefined) this.#describe(this.#body);
    else if (!m.has(H.contentLength)) this.append(`Content-Length: ${m.bodyEnd - m.bodyStart}\r\n`);
    const body = this.#body ?? m.text.slice(m.bodyStart, m.bodyEnd);
    const start = this.#start === undefined ? '' : `${this.#start}\r\n`;
    return `${start}${this.#head(this.#start === undefined ? m.startAt : m.headStart)}\r\n${body}`;
  }

  /** Header lines from byte `from` on, with the edits in. */
  #head(from: number): string {
    const m = this.#m;
    const order = this.#sorted();
    let out = '';
    let copied = from;
    for (const k of order) {
      const i = this.#at[k] as number;
      const here = m.lineAt(i);
      if (here > copied) out += m.text.slice(copied, here);
      out += this.#text[k];
      copied = Math.max(copied, this.#kind[k] === INSTEAD ? m.lineAt(i + 1) : here);
    }
    return out + m.text.slice(copied, m.lineAt(m.count));
  }

  #edit(i: number, kind: number, text: string): this {
    if (!(i >= 0 && i < this.#m.count + (kind === BEFORE ? 1 : 0))) throw new RangeError(`no header ${i}`);
    if (kind === INSTEAD) {
      const known = this.#at.findIndex((at, k) => at === i && this.#kind[k] === INSTEAD);
      if (known >= 0) {
        this.#text[known] = text;
        return this;
      }
    }
    this.#at.push(i);
    this.#kind.push(kind);
    this.#text.push(text);
    return this;
  }

  /** Edits by place; a stable insertion sort, since there are few and most come in order. */
  #sorted(): number[] {
    const order: number[] = [];
    for (let k = 0; k < this.#at.length; k++) {
      let p = order.length;
      while (p > 0 && this.#after(order[p - 1] as number, k)) p--;
      order.splice(p, 0, k);
    }
    return order;
  }

  #after(a: number, b: number): boolean {
    const d = (this.#at[a] as number) - (this.#at[b] as number);
    return d > 0 || (d === 0 && (this.#kind[a] as number) > (this.#kind[b] as number));
  }

  #describe(body: string): void {
    this.#set(H.contentType, body === '' || this.#type === '' ? '' : headerLine('Content-Type', this.#type));
    this.#set(H.contentLength, `Content-Length: ${body.length}\r\n`);
  }

  #set(h: number, line: string): void {
    const i = this.#m.first(h);
    if (i >= 0) this.#edit(i, INSTEAD, line);
    else if (line !== '') this.#edit(this.#m.count, BEFORE, line);
  }
}
