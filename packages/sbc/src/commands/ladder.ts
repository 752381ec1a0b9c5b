import type { TraceMessage } from '../admin/facts.js';
import { printable } from './table.js';

const COLUMN = 34;

/** The messages of a call as a ladder: one column per far end, the border in the middle, time on the left. */
export function ladder(messages: readonly TraceMessage[], bodies: boolean): string {
  const first = messages[0];
  if (first === undefined) return 'Nothing of this call is kept.';
  const legs = [...new Set(messages.map(m => m.leg))];
  // The caller stands left of the border, everybody else right of it.
  const [caller, ...callees] = legs;
  const columns = [caller ?? '', 'border', ...callees];
  const peers = new Map(messages.map(m => [m.leg, m.peer]));
  const center = (text: string): string => {
    const cut = text.length > COLUMN - 2 ? text.slice(0, COLUMN - 2) : text;
    const left = Math.floor((COLUMN - cut.length) / 2);
    return ' '.repeat(left) + cut + ' '.repeat(COLUMN - left - cut.length);
  };
  const out = [
    `${' '.repeat(10)}${columns.map(center).join('')}`.trimEnd(),
    `${' '.repeat(10)}${columns.map(c => center(c === 'border' ? '' : printable(peers.get(c) ?? ''))).join('')}`.trimEnd(),
  ];
  for (const m of messages) {
    const time = ((m.at - first.at) / 1000).toFixed(3).padStart(9);
    out.push(`${time} ${rung(columns, m)}`.trimEnd());
    if (bodies) out.push(...m.text.split('\r\n').map(line => `${' '.repeat(12)}${printable(line)}`.trimEnd()));
  }
  return out.join('\n');
}

/** `|-- INVITE -->|` between the two columns that a message goes between. */
function rung(columns: readonly string[], m: TraceMessage): string {
  const far = columns.indexOf(m.leg);
  const border = 1;
  const left = Math.min(far, border);
  const right = Math.max(far, border);
  const toRight = (m.direction === 'in') === far < border;
  const label = ` ${title(m.text)} `;
  const width = (right - left) * COLUMN - 1;
  const cut = label.length > width - 4 ? label.slice(0, width - 4) : label;
  const dashes = width - cut.length - 1;
  const before = Math.floor(dashes / 2);
  const line = toRight
    ? `${'-'.repeat(before)}${cut}${'-'.repeat(dashes - before)}>`
    : `<${'-'.repeat(before)}${cut}${'-'.repeat(dashes - before)}`;
  const half = COLUMN / 2;
  let out = '';
  for (let i = 0; i < columns.length; i++) {
    if (i < left || i > right) out += `${' '.repeat(half)}|${' '.repeat(half - 1)}`;
    else if (i === left) out += `${' '.repeat(half)}|${line}|${' '.repeat(half - 1)}`;
  }
  return out;
}

/** `INVITE`, `INVITE (SDP)`, `180 Ringing`. */
function title(text: string): string {
  const line = printable(text.slice(0, text.indexOf('\r\n')));
  const sdp = /\r\nContent-Type: *application\/sdp/i.test(text) ? ' (SDP)' : '';
  if (!line.startsWith('SIP/2.0 ')) return `${line.split(' ')[0] ?? ''}${sdp}`;
  const method = /\r\nCSeq: *\d+ +([A-Z]+)/i.exec(text)?.[1] ?? '';
  return `${line.slice(8)}${method === '' ? '' : ` (${method})`}${sdp}`;
}
