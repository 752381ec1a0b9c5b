import type { z } from 'zod';

/** The parts of a zod definition that this room looks at. */
interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly catchall?: z.core.$ZodType;
  readonly innerType?: z.core.$ZodType;
  readonly in?: z.core.$ZodType;
  readonly out?: z.core.$ZodType;
  readonly element?: z.core.$ZodType;
  readonly items?: readonly z.core.$ZodType[];
  readonly valueType?: z.core.$ZodType;
  readonly options?: readonly z.core.$ZodType[];
  /** Of a literal. */
  readonly values?: readonly unknown[];
  readonly getter?: () => z.core.$ZodType;
}

function definition(schema: z.core.$ZodType): Definition {
  return schema._zod.def as unknown as Definition;
}

/** The schema of what is written down, beneath defaults, optionals and transformations. */
function bare(schema: z.core.$ZodType): z.core.$ZodType {
  let here = schema;
  for (let depth = 0; depth < 32; depth++) {
    const d = definition(here);
    let inner = d.innerType;
    if (d.type === 'pipe') inner = d.in !== undefined && definition(d.in).type === 'transform' ? d.out : d.in;
    if (d.type === 'lazy') inner = d.getter?.();
    if (inner === undefined) return here;
    here = inner;
  }
  return here;
}

type Path = readonly (string | number)[];

/** The schema that a path leads to; undefined where unions or catch-alls leave it open. */
export function schemaAt(root: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  let here: z.core.$ZodType | undefined = root;
  for (const step of path) {
    if (here === undefined) return undefined;
    here = child(bare(here), step);
  }
  return here === undefined ? undefined : bare(here);
}

function child(schema: z.core.$ZodType, step: string | number): z.core.$ZodType | undefined {
  const d = definition(schema);
  if (d.type === 'object') return d.shape !== undefined && Object.hasOwn(d.shape, step) ? d.shape[step] : undefined;
  if (d.type === 'record') return d.valueType;
  if (d.type === 'array') return d.element;
  if (d.type === 'tuple') return d.items?.[Number(step)];
  return undefined;
}

/** The keys an object schema knows, empty for anything else. */
export function keysOf(schema: z.core.$ZodType | undefined): string[] {
  return schema === undefined ? [] : Object.keys(definition(schema).shape ?? {});
}

/** The literals that tell the options of a union apart by `key`. */
export function choicesOf(union: z.core.$ZodType | undefined, key: string): string[] {
  if (union === undefined) return [];
  return (definition(union).options ?? []).flatMap(option => {
    const inner = definition(bare(option)).shape?.[key];
    return inner === undefined ? [] : (definition(bare(inner)).values ?? []).map(String);
  });
}

/** Places where `given` has keys that the schema doesn't know, with the keys that it does. */
export function* unknownKeys(
  root: z.core.$ZodType,
  given: unknown,
  path: Path = [],
): Generator<{ readonly path: Path; readonly keys: string[] }> {
  if (typeof given !== 'object' || given === null) return;
  const schema = bare(root);
  const d = definition(schema);
  if (d.type === 'union') {
    const option = chosen(d.options ?? [], given);
    if (option !== undefined) yield* unknownKeys(option, given, path);
    return;
  }
  if (d.type === 'object' && !Array.isArray(given)) {
    const keys = keysOf(schema);
    const open = d.catchall !== undefined && definition(d.catchall).type !== 'never';
    if (!open && Object.keys(given).some(key => !keys.includes(key))) yield { path, keys };
  }
  for (const [step, inner] of Object.entries(given)) {
    const at = Array.isArray(given) ? Number(step) : step;
    const beneath = child(schema, at);
    if (beneath !== undefined) yield* unknownKeys(beneath, inner, [...path, at]);
  }
}

/** Of a union's options, the one that fits the shape and the literals of what is given. */
function chosen(options: readonly z.core.$ZodType[], given: object): z.core.$ZodType | undefined {
  const fitting = options.filter(option => {
    const d = definition(bare(option));
    if (Array.isArray(given)) return d.type === 'array' || d.type === 'tuple';
    if (d.type === 'record') return true;
    if (d.type !== 'object') return false;
    return Object.entries(d.shape ?? {}).every(([key, inner]) => {
      const literal = definition(bare(inner));
      if (literal.type !== 'literal' || !Object.hasOwn(given, key)) return true;
      return literal.values?.includes((given as Record<string, unknown>)[key]) ?? true;
    });
  });
  return fitting.length === 1 ? fitting[0] : undefined;
}
