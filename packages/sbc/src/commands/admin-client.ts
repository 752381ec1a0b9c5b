import { formatEndpoint, parseEndpoint } from '@drawbridge/core';
import type { Config } from '../config.js';

/** Nobody answers where the configuration says the admin API is. */
export class NotRunning extends Error {
  override readonly name = 'NotRunning';
}

/** The running border said no, in its own words. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const ANSWER_WITHIN_MS = 10_000;

/** Asks the border that runs with this configuration. Rejects with `NotRunning` or `Refused`. */
export class AdminClient {
  readonly url: string;

  constructor(admin: Config['admin']) {
    const at = parseEndpoint(admin.listen) ?? { address: '127.0.0.1', port: 8080 };
    const address = at.address === '0.0.0.0' ? '127.0.0.1' : at.address === '::' ? '::1' : at.address;
    this.url = `http://${formatEndpoint({ address, port: at.port })}`;
  }

  get<T>(path: string): Promise<T> {
    return this.#ask<T>('GET', path);
  }

  post<T>(path: string, body?: unknown): Promise<T> {
    return this.#ask<T>('POST', path, body);
  }

  put<T>(path: string, body: unknown): Promise<T> {
    return this.#ask<T>('PUT', path, body);
  }

  delete<T>(path: string): Promise<T> {
    return this.#ask<T>('DELETE', path);
  }

  async #ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    let answer: Response;
    try {
      answer = await fetch(`${this.url}/api/v1${path}`, {
        method,
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      });
    } catch {
      throw new NotRunning(
        `No border answers at ${this.url}: start one with \`drawbridge up\`, or name its configuration with -c.`,
      );
    }
    const said: unknown = await answer.json().catch(() => undefined);
    if (answer.ok) return said as T;
    const error =
      typeof said === 'object' && said !== null && 'error' in said
        ? String(said.error)
        : `${this.url} answered ${answer.status}`;
    throw new Refused(answer.status, error);
  }
}
