import { HEADER_IDS, headerId, headerLine, type MessageView } from '@drawbridge/sip';
import type { HeaderRule } from './config.js';

/** What a rule says of one header line; 0 = nothing. */
export const RULE = { pass: 1, remove: 2 } as const;

/** The rules between two realms, in one table: what `in` of one and `out` of the other say; where they differ, remove wins. */
export class HeaderRules {
  /** Lines that the rules set, each with its CRLF. */
  readonly lines: string;
  readonly #byId = new Uint8Array(HEADER_IDS);
  /** Names that we don't know, in lower case. */
  readonly #byName = new Map<string, number>();

  constructor(rules: readonly HeaderRule[]) {
    const lines = new Map<string, string>();
    for (const r of rules) {
      if ('pass' in r) this.#note(r.pass, RULE.pass);
      else if ('remove' in r) this.#note(r.remove, RULE.remove);
      else {
        this.#note(r.set, RULE.remove);
        lines.set(r.set.toLowerCase(), headerLine(r.set, r.value));
      }
    }
    this.lines = [...lines.values()].join('');
  }

  of(m: MessageView, i: number): number {
    const id = m.id(i);
    if (id !== 0) return this.#byId[id]!;
    return this.#byName.size === 0 ? 0 : (this.#byName.get(m.name(i).toLowerCase()) ?? 0);
  }

  #note(name: string, what: number): void {
    const id = headerId(name);
    if (id !== 0) this.#byId[id]! |= what;
    else this.#byName.set(name.toLowerCase(), (this.#byName.get(name.toLowerCase()) ?? 0) | what);
  }
}
