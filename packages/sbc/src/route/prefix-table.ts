/** Longest first characters of a number → what was put there. A lookup costs the length of the number. */
export class PrefixTable<T> {
  readonly #byLength: Map<string, T[]>[] = [];
  #size = 0;

  /** Entries, several at one prefix counted each. */
  get size(): number {
    return this.#size;
  }

  add(prefix: string, value: T): void {
    let map = this.#byLength[prefix.length];
    if (map === undefined) {
      map = new Map();
      for (let n = this.#byLength.length; n < prefix.length; n++) this.#byLength[n] ??= new Map();
      this.#byLength[prefix.length] = map;
    }
    const list = map.get(prefix);
    if (list === undefined) map.set(prefix, [value]);
    else list.push(value);
    this.#size++;
  }

  /** What stands at the longest prefix of `number`. */
  longest(number: string): readonly T[] | undefined {
    for (let n = Math.min(number.length, this.#byLength.length - 1); n >= 0; n--) {
      const map = this.#byLength[n];
      const found = map === undefined || map.size === 0 ? undefined : map.get(number.slice(0, n));
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

export interface Tariff {
  readonly trunk: string;
  readonly cost: number;
}

/** `prefix,trunk,cost` a line; a head line, empty lines and `#` comments may stand there. Complaints name the line. */
export function readTariffs(
  text: string,
  trunks: ReadonlySet<string>,
): { readonly table: PrefixTable<Tariff>; readonly problems: readonly string[] } {
  const table = new PrefixTable<Tariff>();
  const problems: string[] = [];
  let number = 0;
  for (const raw of text.split('\n')) {
    number++;
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || (number === 1 && line.toLowerCase().startsWith('prefix'))) continue;
    const [prefix = '', trunk = '', cost = '0', ...more] = line.split(',').map(cell => cell.trim());
    if (!/^\+?\d{0,20}$/.test(prefix) || more.length > 0 || !/^\d{1,9}(?:\.\d{1,9})?$/.test(cost))
      problems.push(`line ${number}: expected prefix,trunk,cost such as +4930,carrier,0.01`);
    else if (!trunks.has(trunk)) problems.push(`line ${number}: there is no trunk "${trunk}"`);
    else table.add(tariffPrefix(prefix), { trunk, cost: Number(cost) });
    if (problems.length >= 20) break;
  }
  return { table, problems };
}

/** Numbers are compared with their `+`. */
export function tariffPrefix(prefix: string): string {
  return prefix.startsWith('+') ? prefix : `+${prefix}`;
}
