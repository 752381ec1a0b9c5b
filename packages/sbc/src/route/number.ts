/** How numbers are dialled where this border stands. */
export interface Numbering {
  /** Our country code; without one only `+` and the international prefix are understood. */
  readonly country?: string | undefined;
  readonly area?: string | undefined;
  readonly international: string;
  readonly national: string;
  /** Digits of a whole E.164 number. */
  readonly minLength: number;
  readonly maxLength: number;
}

export type NumberForm = 'e164' | 'international' | 'national' | 'digits';

/** RFC 3966 §5.1.1: `-`, `.`, `(` and `)` mean nothing. Undefined for what is no number. */
export function plainDigits(user: string): string | undefined {
  if (user.length > 64) return undefined;
  let out = '';
  for (let i = 0; i < user.length; i++) {
    const c = user.charCodeAt(i);
    if (c >= 48 && c <= 57) out += user.charAt(i);
    else if (c === 43 && out === '') out = '+';
    else if (c !== 45 && c !== 46 && c !== 40 && c !== 41 && c !== 32) return undefined;
  }
  return out === '' || out === '+' ? undefined : out;
}

/**
 * A dialled number as E.164 with `+`; undefined when it isn't one (a short number, a name, a wrong length).
 * `context`: the phone-context of a tel URI (RFC 3966 §5.1.5), which says what a local number is local to.
 */
export function toE164(user: string, n: Numbering, context?: string): string | undefined {
  const digits = plainDigits(user);
  if (digits === undefined) return undefined;
  if (digits.startsWith('+')) return whole(digits.slice(1), n);
  if (context?.startsWith('+') === true) return whole((plainDigits(context) ?? '+').slice(1) + digits, n);
  if (n.international !== '' && digits.startsWith(n.international))
    return whole(digits.slice(n.international.length), n);
  if (n.country === undefined) return undefined;
  if (n.national !== '' && digits.startsWith(n.national)) return whole(n.country + digits.slice(n.national.length), n);
  return n.area === undefined ? undefined : whole(n.country + n.area + digits, n);
}

function whole(all: string, n: Numbering): string | undefined {
  const digits = withoutTrunkPrefix(all, n);
  const ok = digits.length >= n.minLength && digits.length <= n.maxLength && digits.charCodeAt(0) !== 48;
  return ok ? `+${digits}` : undefined;
}

/** `+49 (0)30 …`: where numbers are dialled with a 0 in front, none of them begins with one. */
function withoutTrunkPrefix(digits: string, { country, national }: Numbering): string {
  if (country === undefined || !national.startsWith('0') || !digits.startsWith(country + national)) return digits;
  return country + digits.slice(country.length + national.length);
}

/** An E.164 number as a trunk wants it written; anything else stays as it is. */
export function written(number: string, form: NumberForm, n: Numbering): string {
  if (!number.startsWith('+')) return number;
  const digits = number.slice(1);
  switch (form) {
    case 'digits':
      return digits;
    case 'international':
      return n.international + digits;
    case 'national': {
      const whole = n.international + digits;
      if (n.country === undefined || !digits.startsWith(n.country)) return whole;
      const national = n.national + digits.slice(n.country.length);
      // What would be read as a call abroad is no number of this country: nobody gets there under its tariff.
      return n.international !== '' && national.startsWith(n.international) ? whole : national;
    }
    default:
      return number;
  }
}
