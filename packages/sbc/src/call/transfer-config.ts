import { z } from 'zod';

export const TRANSFER_MODES = ['border', 'relay', 'deny'] as const;
export type TransferMode = (typeof TRANSFER_MODES)[number];
const mode = z.enum(TRANSFER_MODES);

/** `calls.transfer`: what a REFER inside a call does, everywhere or by the realm of who sends it. */
export const transferSection = z
  .union([mode, z.record(z.string().regex(/^[A-Za-z0-9_-]{1,32}$/), mode)], {
    error: 'expected one of border, relay, deny, or a map of realm names to one of them',
  })
  .default('border');

/** A realm that the map doesn't name has the default. */
export function transferMode(
  section: TransferMode | Readonly<Record<string, TransferMode>>,
  realm: string,
): TransferMode {
  return typeof section === 'string' ? section : (section[realm] ?? 'border');
}
