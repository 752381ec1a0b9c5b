/** An eBPF register. r0 results, r1–r5 arguments (lost in calls), r6–r9 kept across calls, r10 the frame (read only). */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
export type Size = 'u8' | 'u16' | 'u32' | 'u64';
export type Comparison = 'eq' | 'ne' | 'gt' | 'ge' | 'lt' | 'le' | 'set';
export type Operation = 'add' | 'sub' | 'mul' | 'or' | 'and' | 'lsh' | 'rsh' | 'xor' | 'mov';

const SIZE = { u8: 0x10, u16: 0x08, u32: 0x00, u64: 0x18 } as const;
const ALU = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  xor: 0xa0,
  mov: 0xb0,
} as const;
const JUMP = { eq: 0x10, gt: 0x20, ge: 0x30, set: 0x40, ne: 0x50, lt: 0xa0, le: 0xb0 } as const;

/** Operand source: an immediate or a register. */
const K = 0x00;
const X = 0x08;
const ALU64 = 0x07;
const JMP = 0x05;
const JMP32 = 0x06;
const LDX_MEM = 0x61;
const ST_MEM = 0x62;
const STX_MEM = 0x63;
const LD_IMM64 = 0x18;
const PSEUDO_MAP_FD = 1;
const STACK = 512;

export interface Instruction {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly offset: number;
  readonly immediate: number;
}

/** Helper calls used here, by their number in linux/bpf.h. */
export const HELPER = { mapLookup: 1, skRelease: 86, skAssign: 124 } as const;

/** A map known by name while a program is written; its descriptor is filled in at load. */
export interface AssembledProgram {
  readonly instructions: readonly Instruction[];
  /** Instruction index → map name. */
  readonly maps: ReadonlyMap<number, string>;
  /** Instruction index → label, for the disassembly. */
  readonly labels: ReadonlyMap<number, string>;
}

/**
 * Writes an eBPF program instruction by instruction. Labels are resolved by `finish`; stack slots and maps
 * have names. Mistakes (unknown label, jump too far, full stack) throw: they are ours, not the kernel's.
 */
export class Assembler {
  readonly #code: Instruction[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: { at: number; label: string }[] = [];
  readonly #maps = new Map<number, string>();
  readonly #slots = new Map<string, number>();
  #stack = 0;

  /** The next instruction can be jumped to by this name. */
  label(name: string): this {
    if (this.#labels.has(name)) throw new TypeError(`label ${name} is there twice`);
    this.#labels.set(name, this.#code.length);
    return this;
  }

  /** Reserves `bytes` of stack under a name, aligned to 8; returns its offset from r10. */
  slot(name: string, bytes: number): number {
    const known = this.#slots.get(name);
    if (known !== undefined) return known;
    this.#stack += (bytes + 7) & ~7;
    if (this.#stack > STACK) throw new RangeError(`stack slot ${name}: an eBPF program has ${STACK} bytes of stack`);
    this.#slots.set(name, -this.#stack);
    return -this.#stack;
  }

  /** dst = dst op register. */
  op(operation: Operation, dst: Register, src: Register): this {
    return this.#emit(ALU64 | X | ALU[operation], dst, src, 0, 0);
  }

  /** dst = dst op immediate (sign-extended from 32 bits). */
  opImm(operation: Operation, dst: Register, immediate: number): this {
    return this.#emit(ALU64 | K | ALU[operation], dst, 0, 0, immediate);
  }

  load(size: Size, dst: Register, src: Register, offset: number): this {
    return this.#emit(LDX_MEM | SIZE[size], dst, src, offset, 0);
  }

  store(size: Size, dst: Register, offset: number, src: Register): this {
    return this.#emit(STX_MEM | SIZE[size], dst, src, offset, 0);
  }

  storeImm(size: Size, dst: Register, offset: number, immediate: number): this {
    return this.#emit(ST_MEM | SIZE[size], dst, 0, offset, immediate);
  }

  /** dst = address of a named stack slot. */
  slotAddress(dst: Register, name: string): this {
    const offset = this.#slots.get(name);
    if (offset === undefined) throw new TypeError(`no stack slot ${name}`);
    return this.op('mov', dst, 10).opImm('add', dst, offset);
  }

  /** dst = a map, named now and bound to a descriptor when loaded. */
  map(dst: Register, name: string): this {
    this.#maps.set(this.#code.length, name);
    return this.#emit(LD_IMM64, dst, PSEUDO_MAP_FD, 0, 0).#emit(0, 0, 0, 0, 0);
  }

  call(helper: number): this {
    return this.#emit(JMP | 0x80, 0, 0, 0, helper);
  }

  exit(): this {
    return this.#emit(JMP | 0x90, 0, 0, 0, 0);
  }

  jump(label: string): this {
    return this.#jump(JMP, 0, 0, 0, label);
  }

  /** Compares all 64 bits with a sign-extended immediate. */
  jumpIf(comparison: Comparison, dst: Register, immediate: number, label: string): this {
    return this.#jump(JMP | K | JUMP[comparison], dst, 0, immediate, label);
  }

  /** Compares the low 32 bits only: for values such as addresses that may have their top bit set. */
  jumpIf32(comparison: Comparison, dst: Register, immediate: number, label: string): this {
    return this.#jump(JMP32 | K | JUMP[comparison], dst, 0, immediate, label);
  }

  jumpIfRegister(comparison: Comparison, dst: Register, src: Register, label: string): this {
    return this.#jump(JMP | X | JUMP[comparison], dst, src, 0, label);
  }

  finish(): AssembledProgram {
    const instructions = this.#code.slice();
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new TypeError(`no label ${label}`);
      const offset = target - at - 1;
      if (offset < -0x8000 || offset > 0x7fff) throw new RangeError(`label ${label} is too far away`);
      instructions[at] = { ...(instructions[at] as Instruction), offset };
    }
    const labels = new Map<number, string>();
    for (const [name, at] of this.#labels) labels.set(at, name);
    return { instructions, maps: new Map(this.#maps), labels };
  }

  #jump(code: number, dst: number, src: number, immediate: number, label: string): this {
    this.#jumps.push({ at: this.#code.length, label });
    return this.#emit(code, dst, src, 0, immediate);
  }

  #emit(code: number, dst: number, src: number, offset: number, immediate: number): this {
    this.#code.push({ code, dst, src, offset, immediate: immediate | 0 });
    return this;
  }
}

/** The bytes the kernel loads. Throws when a map the program names is missing. */
export function encode(program: AssembledProgram, maps: Readonly<Record<string, number>>, into: Buffer): void {
  program.instructions.forEach((i, n) => {
    const at = n * 8;
    let { immediate } = i;
    const name = program.maps.get(n);
    if (name !== undefined) {
      const fd = maps[name];
      if (fd === undefined) throw new TypeError(`no map ${name}`);
      immediate = fd;
    }
    into[at] = i.code;
    into[at + 1] = i.dst | (i.src << 4);
    into.writeInt16LE(i.offset, at + 2);
    into.writeInt32LE(immediate, at + 4);
  });
}

const SIZE_NAMES = invert(SIZE);
const ALU_NAMES = invert(ALU);
const JUMP_NAMES = invert(JUMP);
const SIGNS: Readonly<Record<string, string>> = {
  add: '+=',
  sub: '-=',
  mul: '*=',
  or: '|=',
  and: '&=',
  lsh: '<<=',
  rsh: '>>=',
  xor: '^=',
  mov: '=',
};
const COMPARES: Readonly<Record<string, string>> = {
  eq: '==',
  ne: '!=',
  gt: '>',
  ge: '>=',
  lt: '<',
  le: '<=',
  set: '&',
};

/** One line per instruction, decoded from what will be loaded rather than from how it was written. */
export function disassemble(program: AssembledProgram): string[] {
  const lines: string[] = [];
  const { instructions, labels, maps } = program;
  for (let n = 0; n < instructions.length; n++) {
    const i = instructions[n] as Instruction;
    const label = labels.get(n);
    if (label !== undefined) lines.push(`${label}:`);
    lines.push(`  ${n}: ${text(i, n, labels, maps.get(n))}`);
    if (i.code === LD_IMM64) n++;
  }
  return lines;
}

function text(i: Instruction, n: number, labels: ReadonlyMap<number, string>, map: string | undefined): string {
  const target = (): string => labels.get(n + 1 + i.offset) ?? `${n + 1 + i.offset}`;
  const memory = (r: number): string =>
    `*(${SIZE_NAMES.get(i.code & 0x18)} *)(r${r} ${i.offset < 0 ? '-' : '+'} ${Math.abs(i.offset)})`;
  if (i.code === LD_IMM64) return `r${i.dst} = map ${map ?? i.immediate}`;
  if (i.code === (JMP | 0x80))
    return `call ${Object.entries(HELPER).find(([, id]) => id === i.immediate)?.[0] ?? i.immediate}`;
  if (i.code === (JMP | 0x90)) return 'exit';
  if (i.code === JMP) return `goto ${target()}`;
  switch (i.code & 7) {
    case 1:
      return `r${i.dst} = ${memory(i.src)}`;
    case 2:
      return `${memory(i.dst)} = ${i.immediate}`;
    case 3:
      return `${memory(i.dst)} = r${i.src}`;
    case ALU64:
      return `r${i.dst} ${SIGNS[ALU_NAMES.get(i.code & 0xf0) ?? '']} ${i.code & X ? `r${i.src}` : i.immediate}`;
    default: {
      const register = (i.code & 7) === JMP32 ? 'w' : 'r';
      const right =
        i.code & X
          ? `${register}${i.src}`
          : (i.code & 7) === JMP32
            ? `0x${(i.immediate >>> 0).toString(16)}`
            : `${i.immediate}`;
      return `if ${register}${i.dst} ${COMPARES[JUMP_NAMES.get(i.code & 0xf0) ?? '']} ${right} goto ${target()}`;
    }
  }
}

function invert(o: Readonly<Record<string, number>>): ReadonlyMap<number, string> {
  return new Map(Object.entries(o).map(([name, value]) => [value, name]));
}
