export interface PartHealth {
  readonly part: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** What each part of the process says of itself; `/readyz` shows it. */
export class Health {
  readonly #parts = new Map<string, PartHealth>();

  /** A part that was never set doesn't count; `detail` is a plain sentence. */
  set(part: string, ok: boolean, detail = ''): void {
    this.#parts.set(part, { part, ok, detail });
  }

  remove(part: string): void {
    this.#parts.delete(part);
  }

  get ready(): boolean {
    for (const p of this.#parts.values()) if (!p.ok) return false;
    return this.#parts.size > 0;
  }

  get parts(): PartHealth[] {
    return [...this.#parts.values()];
  }
}
