import { closest, distance } from 'fastest-levenshtein';
import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type YAMLError,
} from 'yaml';
import type { z } from 'zod';
import { choicesOf, keysOf, schemaAt, unknownKeys } from './schema.js';

export interface ConfigSource {
  readonly text: string;
  /** Name for the complaints; nothing is read from it. */
  readonly file: string;
}

/** One thing wrong with a configuration, in words for the person who wrote it. */
export interface ConfigProblem {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  readonly column: number;
  /** `realms.access.sip.udp`; empty for the document itself. */
  readonly path: string;
  /** What is there and what was expected, without file, line and path. */
  readonly message: string;
  /** The nearest right key or value, when there is one near enough. */
  readonly nearest?: string;
}

export type ConfigResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

type Path = readonly (string | number)[];

/** Keys whose values no complaint repeats. */
const SECRETS = /^(?:password|secret|token)$/i;

/**
 * Reads YAML 1.2 into what `schema` makes of it, frozen. Everything wrong is reported at once, in the order of the
 * lines. A key that the schema doesn't know is a problem even where the schema would strip it.
 */
export function loadConfig<S extends z.ZodType>(schema: S, source: ConfigSource): ConfigResult<z.output<S>> {
  const lines = new LineCounter();
  const doc = parseDocument(source.text, { lineCounter: lines, prettyErrors: false, strict: true, logLevel: 'error' });
  const problems: ConfigProblem[] = [];
  const complain = (offset: number, path: Path, message: string, nearest?: string): void => {
    // Two ways lead to an unknown key inside a union; one complaint is enough.
    const twin = problems.find(p => p.path === dotted(path) && p.message === message);
    if (twin !== undefined && path.length > 0) return;
    const { line, col } = lines.linePos(offset);
    const at = { file: source.file, line: Math.max(1, line), column: Math.max(1, col), path: dotted(path), message };
    problems.push(nearest === undefined ? at : { ...at, nearest });
  };

  for (const error of doc.errors) complain(error.pos[0], subject(error, source.text), plainSentence(error));
  // A broken structure makes every further complaint a riddle; a duplicate key doesn't break it.
  if (doc.errors.some(e => e.code !== 'DUPLICATE_KEY')) return { ok: false, problems };

  const given = value(doc, source.text, complain);
  if (given === undefined) return { ok: false, problems };
  for (const { path, keys } of unknownKeys(schema, given)) {
    for (const key of Object.keys(at(given, path) ?? {})) {
      if (keys.includes(key)) continue;
      complain(offsetOf(doc, [...path, key], 'key'), [...path, key], 'is not a key here', nearest(key, keys));
    }
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) for (const issue of parsed.error.issues) report(schema, doc, given, issue, [], complain);
  if (problems.length > 0 || !parsed.success) {
    return { ok: false, problems: problems.sort((a, b) => a.line - b.line || a.column - b.column) };
  }
  return { ok: true, value: frozen(parsed.data) };
}

/** One line per problem, ready for a terminal: `drawbridge.yaml:7: realms.access.bnd: is not a key here; did you mean bind?` */
export function formatProblems(problems: readonly ConfigProblem[]): string {
  return problems
    .map(p => {
      const subject = p.path === '' ? '' : `${p.path}: `;
      const hint = p.nearest === undefined ? '' : `; did you mean ${p.nearest}?`;
      return `${p.file}:${p.line}:${p.column}: ${subject}${p.message}${hint}`;
    })
    .join('\n');
}

type Complain = (offset: number, path: Path, message: string, nearest?: string) => void;

/** The document as plain values; an empty one is an empty mapping. */
function value(doc: Document, text: string, complain: Complain): unknown {
  try {
    return doc.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    const name = /alias .*: (\S+)$/.exec((error as Error).message)?.[1];
    if (name !== undefined)
      complain(
        text.indexOf(`*${name}`),
        [],
        `*${name} names nothing that & marked before it; a text that begins with * needs quotes`,
      );
    else complain(0, [], 'repeats its aliases too often to be read');
    return undefined;
  }
}

function report(
  schema: z.ZodType,
  doc: Document,
  given: unknown,
  issue: z.core.$ZodIssue,
  above: Path,
  complain: Complain,
): void {
  const path = [...above, ...issue.path.map(p => (typeof p === 'symbol' ? String(p) : p))];
  const found = at(given, path);
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) {
      // Known to unknownKeys() wherever the schema could be walked; this is the rest (unions of objects).
      const keys = keysOf(schemaAt(schema, path));
      if (keys.length === 0) complain(offsetOf(doc, [...path, key], 'key'), [...path, key], 'is not a key here');
    }
    return;
  }
  if (issue.code === 'invalid_key') {
    const why = issue.issues[0]?.message ?? 'is not a key that may stand here';
    return complain(offsetOf(doc, path, 'key'), path, `is not a key that may stand here: ${why}`);
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0 && issue.message === 'Invalid input') {
    const deep = deepest(issue.errors);
    if (deep !== undefined) {
      for (const inner of deep) report(schema, doc, given, inner, path, complain);
      return;
    }
    const expectations = [...new Set(issue.errors.flatMap(e => e.map(expectation)))];
    return complain(offsetOf(doc, path, 'value'), path, `${shown(found)}; expected ${expectations.join(' or ')}`);
  }
  const key = path.at(-1);
  if (issue.code === 'invalid_union' && typeof key === 'string') {
    const kinds = choicesOf(schemaAt(schema, path.slice(0, -1)), key);
    const what = found === undefined ? 'is missing' : shown(found);
    return complain(
      offsetOf(doc, path, 'value'),
      path,
      `${what}; expected ${listed(kinds)}`,
      nearest(String(found), kinds),
    );
  }
  const expected = wanted(issue);
  if (found === undefined && path.length > 0)
    return complain(offsetOf(doc, path, 'key'), path, `is missing; ${expected}`);
  const choices = issue.code === 'invalid_value' ? issue.values.map(String) : [];
  const hint = typeof found === 'string' ? nearest(found, choices) : undefined;
  const what = typeof key === 'string' && SECRETS.test(key) ? 'is not right' : shown(found);
  complain(offsetOf(doc, path, 'value'), path, `${what}; ${expected}`, hint);
}

/** A schema's own words (`{ error: 'a host name' }`, with or without "expected") win over ours. */
function wanted(issue: z.core.$ZodIssue): string {
  const own = issue.code === 'custom' || !/^(?:Invalid|Too (?:small|big)|Unrecognized)/.test(issue.message);
  if (!own) return `expected ${expectation(issue)}`;
  return /^expected /i.test(issue.message) ? startsLower(issue.message) : `expected ${issue.message}`;
}

/** Of a union's branches, the one that failed furthest inside: the writer meant that one. */
function deepest(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] | undefined {
  let best: readonly z.core.$ZodIssue[] | undefined;
  let depth = 0;
  for (const issues of branches) {
    const least = Math.min(...issues.map(i => (i.code === 'unrecognized_keys' ? i.path.length + 1 : i.path.length)));
    if (least > depth) {
      best = issues;
      depth = least;
    }
  }
  return best;
}

const TYPE_NAMES: ReadonlyMap<string, string> = new Map([
  ['string', 'text'],
  ['number', 'a number'],
  ['int', 'a whole number'],
  ['boolean', 'true or false'],
  ['array', 'a list'],
  ['object', 'a mapping of keys'],
  ['record', 'a mapping of keys'],
  ['tuple', 'a list'],
  ['null', 'nothing'],
]);

const UNITS: ReadonlyMap<string, string> = new Map([
  ['string', 'character'],
  ['array', 'item'],
  ['object', 'key'],
]);

function amount(n: number | bigint, origin: string): string {
  const unit = UNITS.get(origin);
  return unit === undefined ? String(n) : `${n} ${unit}${Number(n) === 1 ? '' : 's'}`;
}

function listed(choices: readonly string[]): string {
  return choices.join(', ').replace(/, ([^,]*)$/, ' or $1');
}

/** A noun phrase for after "expected". */
function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return TYPE_NAMES.get(issue.expected) ?? issue.expected;
    case 'invalid_value':
      return listed(issue.values.map(String));
    case 'too_small':
      return `${issue.inclusive === false ? 'more than' : 'at least'} ${amount(issue.minimum, issue.origin)}`;
    case 'too_big':
      return `${issue.inclusive === false ? 'less than' : 'at most'} ${amount(issue.maximum, issue.origin)}`;
    case 'not_multiple_of':
      return `a multiple of ${issue.divisor}`;
    case 'invalid_format':
      return issue.format === 'regex' ? `text of the form ${issue.pattern ?? ''}` : `text of the form ${issue.format}`;
    default:
      return issue.message.replace(/^(?:expected|Invalid input: expected) /i, '');
  }
}

function shown(found: unknown): string {
  if (found === null) return 'has no value';
  if (Array.isArray(found)) return `is a list of ${found.length}`;
  if (typeof found === 'object') return 'is a mapping';
  const text = JSON.stringify(found) ?? 'nothing';
  return `is ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
}

function startsLower(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

/** What is near enough to be what was meant: a third of the letters may be wrong, two at least. */
export function nearest(given: string, choices: readonly string[]): string | undefined {
  if (choices.length === 0) return undefined;
  const lower = given.toLowerCase();
  const best = closest(
    lower,
    choices.map(c => c.toLowerCase()),
  );
  const choice = choices.find(c => c.toLowerCase() === best);
  return distance(lower, best) <= Math.max(2, Math.floor(given.length / 3)) && best.length > 1 ? choice : undefined;
}

function at(root: unknown, path: Path): unknown {
  let here = root;
  for (const step of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, step)) return undefined;
    here = (here as Record<string | number, unknown>)[step];
  }
  return here;
}

/** Where the key or the value of `path` stands; of the nearest thing above it when it doesn't exist. */
function offsetOf(doc: Document, path: Path, what: 'key' | 'value'): number {
  let node: unknown = doc.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, step] of path.entries()) {
    const last = depth === path.length - 1;
    let key: unknown;
    if (isMap(node)) {
      const pair = node.items.find(p => isPair(p) && isScalar(p.key) && String(p.key.value) === String(step));
      if (pair === undefined) return offset;
      key = pair.key;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
    } else return offset;
    offset = (last && what === 'value' ? startOf(node) : (startOf(key) ?? startOf(node))) ?? startOf(key) ?? offset;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function dotted(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    const key = /^[A-Za-z0-9_-]+$/.test(step) ? step : JSON.stringify(step);
    return text === '' ? key : `${text}.${key}`;
  }, '');
}

function frozen<T>(data: T): T {
  if (typeof data !== 'object' || data === null || Object.isFrozen(data)) return data;
  for (const inner of Object.values(data)) frozen(inner);
  // Only plain data: a schema may have made a PrefixSet or a Map of it, which still has to work.
  const plain = Array.isArray(data) || Object.getPrototypeOf(data) === Object.prototype;
  return plain ? Object.freeze(data) : data;
}

const SENTENCES: ReadonlyMap<string, string> = new Map([
  ['DUPLICATE_KEY', 'stands here a second time; keep one of the two'],
  ['TAB_AS_INDENT', 'a tab stands where YAML wants spaces; indent with spaces'],
  ['BAD_INDENT', 'this line is indented differently from its neighbours; line it up with them'],
  ['MISSING_CHAR', 'something is missing here, a quote, bracket, comma or colon'],
  ['UNEXPECTED_TOKEN', 'this is not expected here; a text with special characters needs quotes'],
  [
    'BLOCK_AS_IMPLICIT_KEY',
    'a second colon on one line; put quotes round the text, or the nested keys on lines of their own',
  ],
  ['MULTILINE_IMPLICIT_KEY', 'a key has to stand on one line and end in a colon'],
  ['BAD_ALIAS', 'the name after * was never given with &; a text that begins with * needs quotes'],
  ['MULTIPLE_DOCS', 'only one document may stand in the file; remove the line ---'],
  ['TAG_RESOLVE_FAILED', 'no such ! tag; a text that begins with ! needs quotes'],
  ['BAD_DQ_ESCAPE', 'this backslash sequence means nothing between double quotes; use single quotes'],
]);

/** The key that stands there twice. */
function subject(error: YAMLError, text: string): Path {
  const key = error.code === 'DUPLICATE_KEY' ? /^[^\s:]+/.exec(text.slice(error.pos[0]))?.[0] : undefined;
  return key === undefined ? [] : [key];
}

function plainSentence(error: YAMLError): string {
  const bracket = /must be sufficiently indented and end with a (.)/.exec(error.message)?.[1];
  if (bracket !== undefined) return `a ${bracket} is missing, or stands too far to the left`;
  const own = SENTENCES.get(error.code);
  return own ?? `is not YAML: ${startsLower(error.message.replace(/ at line \d+, column \d+[\s\S]*$/, ''))}`;
}
