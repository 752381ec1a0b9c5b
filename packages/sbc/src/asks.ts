import { type AskId, type Mono, type TimerWheel, type Tx, Waiting } from '@drawbridge/core';
import type { PushAnswer, PushRequest } from './push/waker.js';

/** What a core may ask the outside, and what comes back. Each kind is answered by one shell that `compose` names. */
export interface Questions {
  /** One query, answered from the network: `failed` says why there is no answer at all. */
  readonly dns: {
    readonly question: { readonly name: string; readonly type: 'A' | 'AAAA' | 'SRV' | 'NAPTR' | 'TXT' };
    /** The message as it came, undecoded, after the shell has checked id, source and question. */
    readonly answer: { readonly message: Uint8Array } | { readonly failed: string };
  };
  /** The operator's push gateway. */
  readonly push: { readonly question: PushRequest; readonly answer: PushAnswer };
}

export type QuestionKind = keyof Questions;
export type Question<K extends QuestionKind = QuestionKind> = Questions[K]['question'];
export type Answer<K extends QuestionKind = QuestionKind> = Questions[K]['answer'];

/** Undefined: nobody answered by the deadline. */
export type Answered<K extends QuestionKind> = (now: Mono, answer: Answer<K> | undefined, tx: Tx) => void;

export interface AsksModules {
  readonly wheel: TimerWheel;
  /** Mints an id and sends the question out as an event. */
  send(kind: QuestionKind, question: Question): AskId;
  /** The Tx of the turn: a deadline comes without one. */
  tx(): Tx;
}

/** Open questions of a shard: capped, each with a deadline. What asks goes on by itself meanwhile. */
export class Asks {
  readonly #open = new Map<AskId, OpenQuestion>();
  readonly #cap: number;
  readonly #m: AsksModules;

  constructor(options: { readonly cap: number }, modules: AsksModules) {
    this.#cap = options.cap;
    this.#m = modules;
  }

  get size(): number {
    return this.#open.size;
  }

  /** `done` is called once, in a later turn, and never after `forget`. Undefined: too many are open, nothing was asked. */
  ask<K extends QuestionKind>(
    now: Mono,
    kind: K,
    question: Question<K>,
    deadlineMs: number,
    done: Answered<K>,
  ): AskId | undefined {
    if (this.#open.size >= this.#cap) return undefined;
    const id = this.#m.send(kind, question);
    const open = new OpenQuestion(done as Answered<QuestionKind>, at => {
      if (this.#open.delete(id)) open.done(at, undefined, this.#m.tx());
    });
    this.#open.set(id, open);
    this.#m.wheel.arm(open, now + deadlineMs);
    return id;
  }

  /** Whoever asked has no use for the answer any more. */
  forget(id: AskId): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    this.#open.delete(id);
    this.#m.wheel.cancel(open);
  }

  /** False: nobody waits for it. */
  answered(now: Mono, id: AskId, answer: Answer, tx: Tx): boolean {
    const open = this.#open.get(id);
    if (open === undefined) return false;
    this.forget(id);
    open.done(now, answer, tx);
    return true;
  }
}

class OpenQuestion extends Waiting {
  readonly done: Answered<QuestionKind>;
  readonly #late: (now: Mono) => void;

  constructor(done: Answered<QuestionKind>, late: (now: Mono) => void) {
    super();
    this.done = done;
    this.#late = late;
  }

  override onDue(now: Mono): void {
    this.#late(now);
  }
}
