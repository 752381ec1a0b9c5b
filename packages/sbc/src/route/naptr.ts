/**
 * The substitution of a NAPTR record (RFC 3402 §3.2) on a number: `!^.*$!sip:info@example.com!`, `!^\+49(.*)$!sip:\1@x!`.
 *
 * A matcher of our own for what such records hold: literals, `.`, `\d`, `[0-9]` classes, `*`, `+`, `?` on one of these,
 * groups without alternatives, `^` and `$`. A pair of atom and place that has failed is not tried again: with the 16
 * characters of a number the cost grows with the length of the rule and no faster. Anything else is no rule of ours.
 */
const LONGEST = 255;
const MOST_GROUPS = 9;

interface Atom {
  /** Undefined: any character. */
  readonly set: string | undefined;
  readonly least: 0 | 1;
  readonly many: boolean;
  /** Groups that open before it and close behind it. */
  readonly opens: readonly number[];
  closes: number[];
}

/** What the rule makes of `text`; undefined when it doesn't match, or isn't one that we read. */
export function substituted(rule: string, text: string): string | undefined {
  if (rule.length > LONGEST || rule.length < 3) return undefined;
  const mark = rule.charAt(0);
  if (/[0-9\\iI]/.test(mark)) return undefined;
  const parts = split(rule.slice(1), mark);
  if (parts === undefined) return undefined;
  const expression = compile(parts.from);
  const groups = expression === undefined ? undefined : match(expression, text);
  return groups === undefined ? undefined : fill(parts.to, groups);
}

/** `from!to!flags`; the mark may stand inside after a backslash. */
function split(rest: string, mark: string): { readonly from: string; readonly to: string } | undefined {
  const parts: string[] = [];
  let part = '';
  for (let i = 0; i < rest.length; i++) {
    const c = rest.charAt(i);
    if (c === '\\' && i + 1 < rest.length) {
      const next = rest.charAt(++i);
      part += next === mark ? mark : c + next;
    } else if (c === mark) {
      parts.push(part);
      part = '';
    } else part += c;
  }
  const [from, to, ...more] = parts;
  if (from === undefined || to === undefined || more.length > 0 || !/^i?$/i.test(part)) return undefined;
  return { from, to };
}

interface Expression {
  readonly atoms: readonly Atom[];
  readonly start: boolean;
  readonly end: boolean;
}

function compile(from: string): Expression | undefined {
  const atoms: Atom[] = [];
  const open: number[] = [];
  let opens: number[] = [];
  let groups = 0;
  let i = 0;
  const start = from.charAt(0) === '^';
  if (start) i = 1;
  let end = false;
  while (i < from.length) {
    const c = from.charAt(i++);
    if (c === '$' && i === from.length) {
      end = true;
      break;
    }
    if (c === '(') {
      if (++groups > MOST_GROUPS) return undefined;
      open.push(groups);
      opens.push(groups);
      continue;
    }
    if (c === ')') {
      const closed = open.pop();
      const last = atoms.at(-1);
      // A group that is repeated, or that holds nothing, is none of ours.
      if (closed === undefined || last === undefined || opens.includes(closed) || /[*+?{]/.test(from.charAt(i)))
        return undefined;
      last.closes.push(closed);
      continue;
    }
    if (/[*+?{}|^$]/.test(c)) return undefined;
    let set: string | undefined = c;
    if (c === '.') set = undefined;
    else if (c === '\\') {
      const next = from.charAt(i++);
      if (next === 'd') set = '0123456789';
      else if (next === '' || /[A-Za-z0-9]/.test(next)) return undefined;
      else set = next;
    } else if (c === '[') {
      const close = from.indexOf(']', i);
      set = close < 0 ? undefined : members(from.slice(i, close));
      if (set === undefined) return undefined;
      i = close + 1;
    }
    const sign = from.charAt(i);
    const repeats = sign === '*' || sign === '+' || sign === '?';
    if (repeats) i++;
    atoms.push({
      set,
      least: sign === '*' || sign === '?' ? 0 : 1,
      many: sign === '*' || sign === '+',
      opens,
      closes: [],
    });
    opens = [];
  }
  return open.length > 0 || opens.length > 0 ? undefined : { atoms, start, end };
}

/** `0-9a`: what stands between brackets; no complement. */
function members(text: string): string | undefined {
  if (text === '' || text.startsWith('^')) return undefined;
  let out = '';
  for (let i = 0; i < text.length; i++) {
    if (text.charAt(i + 1) === '-' && i + 2 < text.length) {
      const low = text.charCodeAt(i);
      const high = text.charCodeAt(i + 2);
      if (high < low || high > 127) return undefined;
      for (let code = low; code <= high; code++) out += String.fromCharCode(code);
      i += 2;
    } else out += text.charAt(i);
  }
  return out;
}

/**
 * The first way through, greedy, by a table of (atom, place) that were tried and failed: each is tried once. Gives the
 * text of each group, the whole match first.
 */
function match({ atoms, start, end }: Expression, text: string): string[] | undefined {
  for (let from = 0; from <= (start ? 0 : text.length); from++) {
    const dead = new Set<number>();
    const spans: number[] = [];
    const to = walk(0, from);
    if (to !== undefined) return groupsOf(spans, from, to);

    function walk(atom: number, at: number): number | undefined {
      const a = atoms[atom];
      if (a === undefined) return end && at !== text.length ? undefined : at;
      const key = atom * (text.length + 1) + at;
      if (dead.has(key)) return undefined;
      let most = at;
      while (most < text.length && (a.many || most === at) && fits(a, text.charAt(most))) most++;
      for (let stop = most; stop >= at + a.least; stop--) {
        const done = walk(atom + 1, stop);
        if (done === undefined) continue;
        spans[atom * 2] = at;
        spans[atom * 2 + 1] = stop;
        return done;
      }
      dead.add(key);
      return undefined;
    }
  }
  return undefined;

  function groupsOf(spans: readonly number[], from: number, to: number): string[] {
    const opened = new Map<number, number>();
    const out = [text.slice(from, to)];
    atoms.forEach((a, i) => {
      for (const g of a.opens) opened.set(g, spans[i * 2] ?? 0);
      for (const g of a.closes) out[g] = text.slice(opened.get(g) ?? 0, spans[i * 2 + 1] ?? 0);
    });
    return out;
  }
}

function fits(a: Atom, c: string): boolean {
  return a.set === undefined || a.set.includes(c);
}

function fill(to: string, groups: readonly string[]): string | undefined {
  let out = '';
  for (let i = 0; i < to.length; i++) {
    const c = to.charAt(i);
    if (c !== '\\') {
      out += c;
      continue;
    }
    const next = to.charAt(++i);
    if (/[1-9]/.test(next)) {
      const group = groups[Number(next)];
      if (group === undefined) return undefined;
      out += group;
    } else out += next;
  }
  return out.length > LONGEST * 2 ? undefined : out;
}
