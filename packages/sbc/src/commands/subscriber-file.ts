import type { DigestAlgorithm } from '@drawbridge/sip';
import * as z from 'zod';
import { type NewSubscriber, subscriberProblem } from '../subscribers.js';

const one = z.strictObject({
  user: z.string(),
  domain: z.string(),
  password: z.string().optional(),
  ha1: z
    .partialRecord(
      z.enum(['MD5', 'SHA-256', 'SHA-512-256'] satisfies DigestAlgorithm[]),
      z.string().regex(/^[0-9a-f]{32,64}$/),
    )
    .optional(),
});

export interface SubscriberFile {
  readonly subscribers: readonly NewSubscriber[];
  /** Sentences with the line or place; all of them, and then nothing should be imported. */
  readonly problems: readonly string[];
}

/** A JSON list of `{ user, domain, password }` or `{ user, domain, ha1 }`, or lines of `user,domain,password`; `#` begins a comment line. */
export function parseSubscribers(text: string): SubscriberFile {
  return text.trimStart().startsWith('[') ? fromJson(text) : fromLines(text);
}

function fromJson(text: string): SubscriberFile {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    return { subscribers: [], problems: [`is no JSON: ${error instanceof Error ? error.message : String(error)}`] };
  }
  const subscribers: NewSubscriber[] = [];
  const problems: string[] = [];
  for (const [i, item] of (Array.isArray(list) ? list : []).entries()) {
    const parsed = one.safeParse(item);
    const problem = parsed.success
      ? subscriberProblem(parsed.data)
      : 'expected { user, domain, password } or { user, domain, ha1 }';
    if (parsed.success && problem === undefined) subscribers.push(parsed.data);
    else problems.push(`entry ${i + 1}: ${problem}`);
  }
  return { subscribers, problems };
}

function fromLines(text: string): SubscriberFile {
  const subscribers: NewSubscriber[] = [];
  const problems: string[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const first = line.indexOf(',');
    const second = line.indexOf(',', first + 1);
    if (first < 1 || second < 0) {
      problems.push(`line ${i + 1}: expected user,domain,password`);
      continue;
    }
    // What follows the second comma is the password, commas included.
    const s = {
      user: line.slice(0, first).trim(),
      domain: line.slice(first + 1, second).trim(),
      password: line.slice(second + 1),
    };
    const problem = subscriberProblem(s);
    if (problem === undefined) subscribers.push(s);
    else problems.push(`line ${i + 1}: ${problem}`);
  }
  return { subscribers, problems };
}
