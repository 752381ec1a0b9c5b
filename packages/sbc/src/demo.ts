import type { Random } from '@drawbridge/core';
import type { Credential } from './shell/credentials.js';

const USERS = ['alice', 'bob'] as const;
/** No letter or digit that people mistake for another. */
const LETTERS = 'abcdefghjkmnpqrstuvwxyz23456789';

/** The two demo subscribers: those that are there keep their passwords, in the domain of today. */
export function demoCredentials(domain: string, before: readonly Credential[], random: Random): Credential[] {
  return USERS.map(user => {
    const known = before.find(c => c.user === user);
    return { user, domain, password: known?.password ?? password(random) };
  });
}

/** 12 characters out of 31: 59 bits, and typed into a phone without a curse. */
function password(random: Random): string {
  let out = '';
  while (out.length < 12) {
    const n = random.u32() >>> 27;
    if (n < LETTERS.length) out += LETTERS.charAt(n);
  }
  return out;
}
