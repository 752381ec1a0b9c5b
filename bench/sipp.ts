import { readFileSync } from 'node:fs';
import type { Daemon, Workshop } from './processes.js';

export interface SippRun {
  readonly done: number;
  readonly failed: number;
  readonly retransmitted: number;
  readonly seconds: number;
}

export interface SippLoad {
  readonly name: string;
  readonly scenario: string;
  readonly target: string;
  readonly local: { readonly address: string; readonly port: number };
  readonly rate: number;
  readonly count: number;
  readonly core: number;
  /** What the digest's uri names, without `sip:`; SIPp's own choice is the address it sends to, which is not the Request-URI. */
  readonly authUri?: string | undefined;
  /** Lines of fields that the scenario takes in order, one per call. */
  readonly fields?: string | undefined;
}

/** Runs a SIPp scenario to its end and reads the last row of its statistics. Throws when SIPp itself fails to run. */
export async function sippLoad(shop: Workshop, load: SippLoad): Promise<SippRun> {
  const csv = shop.file(`${load.name}.csv`);
  const sipp = shop.start(
    [
      'timeout',
      '180',
      'sipp',
      load.target,
      '-sf',
      load.scenario,
      '-i',
      load.local.address,
      '-p',
      String(load.local.port),
      '-r',
      String(load.rate),
      '-m',
      String(load.count),
      '-l',
      String(Math.max(2000, load.rate * 8)),
      '-nostdin',
      '-buff_size',
      '4194304',
      '-recv_timeout',
      '8000',
      '-timeout',
      '170',
      '-trace_stat',
      '-stf',
      csv,
      '-fd',
      '1',
      '-timer_resol',
      '10',
      ...(load.authUri === undefined ? [] : ['-auth_uri', load.authUri]),
      ...(load.fields === undefined ? [] : ['-inf', load.fields]),
    ],
    { core: load.core, log: `${load.name}.log` },
  );
  const began = Date.now();
  while (!sipp.ended) await new Promise(r => setTimeout(r, 20));
  const seconds = (Date.now() - began) / 1000;
  return { ...readStatistics(csv, sipp), seconds };
}

function readStatistics(csv: string, sipp: Daemon): Omit<SippRun, 'seconds'> {
  let lines: string[];
  try {
    lines = readFileSync(csv, 'latin1').trim().split('\n');
  } catch {
    throw new Error(`SIPp wrote no statistics:\n${sipp.log().slice(-1500)}`);
  }
  const names = (lines[0] ?? '').split(';');
  const last = (lines.at(-1) ?? '').split(';');
  const cell = (name: string): number => Number(last[names.indexOf(name)] ?? Number.NaN);
  return { done: cell('SuccessfulCall(C)'), failed: cell('FailedCall(C)'), retransmitted: cell('Retransmissions(C)') };
}

/** A SIPp answering side that runs until the workshop ends. */
export function sippAnswerer(
  shop: Workshop,
  o: { scenario: string; address: string; port: number; core: number },
): Daemon {
  return shop.start(
    [
      'sipp',
      '-sf',
      o.scenario,
      '-i',
      o.address,
      '-p',
      String(o.port),
      '-nostdin',
      '-buff_size',
      '4194304',
      '-timer_resol',
      '10',
    ],
    { core: o.core, log: `uas-${o.port}.log` },
  );
}
