/** Tones: how the lab knows whose voice arrived. 16-bit PCM, 8 kHz, mono. */
export const RATE = 8000;
const WINDOW = RATE / 5; // 200 ms

/** A WAV file of one sine at half amplitude. */
export function toneWav(hz: number, seconds: number): Buffer {
  const samples = new Int16Array(Math.round(seconds * RATE));
  for (let i = 0; i < samples.length; i++) samples[i] = Math.round(16000 * Math.sin((2 * Math.PI * hz * i) / RATE));
  return wav(samples);
}

export function wav(samples: Int16Array): Buffer {
  const out = Buffer.alloc(44 + samples.length * 2);
  out.write('RIFF', 0, 'latin1');
  out.writeUInt32LE(36 + samples.length * 2, 4);
  out.write('WAVEfmt ', 8, 'latin1');
  out.writeUInt32LE(16, 16);
  out.writeUInt16LE(1, 20);
  out.writeUInt16LE(1, 22);
  out.writeUInt32LE(RATE, 24);
  out.writeUInt32LE(RATE * 2, 28);
  out.writeUInt16LE(2, 32);
  out.writeUInt16LE(16, 34);
  out.write('data', 36, 'latin1');
  out.writeUInt32LE(samples.length * 2, 40);
  for (let i = 0; i < samples.length; i++) out.writeInt16LE(samples[i]!, 44 + i * 2);
  return out;
}

/** Samples of a WAV file; a length that was never filled in (the recorder died) means "to the end". */
export function wavSamples(file: Buffer): Int16Array {
  let at = 12;
  while (at + 8 <= file.length && file.toString('latin1', at, at + 4) !== 'data') at += 8 + file.readUInt32LE(at + 4);
  if (at + 8 > file.length) return new Int16Array(0);
  const said = file.readUInt32LE(at + 4);
  const room = file.length - at - 8;
  const bytes = said === 0 || said > room ? room : said;
  const samples = new Int16Array(bytes >> 1);
  for (let i = 0; i < samples.length; i++) samples[i] = file.readInt16LE(at + 8 + i * 2);
  return samples;
}

/** Share of a window's energy that lies at `hz`, 0 … 1 (Goertzel); silence has none. */
export function toneShare(samples: Int16Array, from: number, length: number, hz: number): number {
  const k = 2 * Math.cos((2 * Math.PI * hz) / RATE);
  let s1 = 0;
  let s2 = 0;
  let energy = 0;
  for (let i = from; i < from + length; i++) {
    const x = samples[i]!;
    energy += x * x;
    const s = x + k * s1 - s2;
    s2 = s1;
    s1 = s;
  }
  if (energy < length * 100) return 0;
  return (2 * (s1 * s1 + s2 * s2 - k * s1 * s2)) / (length * energy);
}

export interface Heard {
  /** Whole 200 ms windows in the recording. */
  readonly windows: number;
  /** Those in which most of the energy is the far tone. */
  readonly far: number;
  /** Those in which the own tone can be made out at all. */
  readonly own: number;
}

/** What a recording of the receiving side holds. */
export function listen(samples: Int16Array, tone: { readonly far: number; readonly own: number }): Heard {
  const windows = Math.floor(samples.length / WINDOW);
  let far = 0;
  let own = 0;
  for (let w = 0; w < windows; w++) {
    if (toneShare(samples, w * WINDOW, WINDOW, tone.far) > 0.5) far++;
    if (toneShare(samples, w * WINDOW, WINDOW, tone.own) > 0.05) own++;
  }
  return { windows, far, own };
}

/**
 * A sentence that says what is wrong with what was heard in a call of `seconds`, or undefined:
 * far tone in ≥ 90 % of the windows that the call had, own tone in none.
 * A recorder writes only what arrives, so the windows of the call count, not those of the file.
 */
export function deaf(heard: Heard, seconds: number): string | undefined {
  const wanted = Math.floor(seconds * 5);
  if (heard.far < wanted * 0.9) return `far tone in ${heard.far} of ${wanted} windows (${heard.windows} recorded)`;
  if (heard.own > 0) return `own tone in ${heard.own} windows`;
  return undefined;
}

/** Samples of G.711 payloads (ITU-T G.711): payload type 0 is μ-law, 8 is A-law; other types are skipped. */
export function g711Samples(payloads: readonly { readonly type: number; readonly bytes: string }[]): Int16Array {
  const known = payloads.filter(p => p.type === 0 || p.type === 8);
  const samples = new Int16Array(known.reduce((n, p) => n + p.bytes.length, 0));
  let at = 0;
  for (const p of known) {
    for (let i = 0; i < p.bytes.length; i++)
      samples[at++] = p.type === 8 ? alaw(p.bytes.charCodeAt(i)) : mulaw(p.bytes.charCodeAt(i));
  }
  return samples;
}

function alaw(byte: number): number {
  const b = byte ^ 0x55;
  const exponent = (b >> 4) & 7;
  const mantissa = ((b & 15) << 4) + 8;
  const size = exponent === 0 ? mantissa : (mantissa + 0x100) << (exponent - 1);
  return b & 0x80 ? size : -size;
}

function mulaw(byte: number): number {
  const b = ~byte & 0xff;
  const size = ((((b & 15) << 3) + 0x84) << ((b >> 4) & 7)) - 0x84;
  return b & 0x80 ? -size : size;
}
