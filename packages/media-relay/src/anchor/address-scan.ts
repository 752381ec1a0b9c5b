/** Bounded quantifiers only: linear on any input. */
const V4 = /\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}/;
/** Colons between the groups of a full IPv6 address, and the same with one hexadecimal word glued in front. */
const V6_COLONS = 7;

/**
 * Does a text hold an IP address, wherever in it? Errs on the side of yes: used to decide what must not leave.
 * Fingerprints (15 colons and more) are no addresses.
 */
export function carriesAddress(text: string): boolean {
  if (V4.test(text)) return true;
  let colons = 0;
  let long = false;
  let group = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = i < text.length ? text.charCodeAt(i) : 0;
    if (c === 58) {
      if (text.charCodeAt(i + 1) === 58) return true;
      colons++;
      group = 0;
    } else if (isHex(c)) {
      if (++group > 4) long = true;
    } else {
      if (!long && (colons === V6_COLONS || colons === V6_COLONS + 1)) return true;
      colons = 0;
      group = 0;
      long = false;
    }
  }
  return false;
}

function isHex(c: number): boolean {
  return (c >= 48 && c <= 57) || (c >= 97 && c <= 102) || (c >= 65 && c <= 70);
}
