import type { MediaRelayModules, MediaRelayOptions, PathReport, RelayStats } from '../api.js';
import { MediaSession } from '../session.js';

/** The media relay of one process: ports, sessions, and the thread that carries the packets. */
export class MediaRelay {
  /** Throws RelayOptionsError for wrong options. */
  static async open(_options: MediaRelayOptions, _modules: MediaRelayModules): Promise<MediaRelay> {
    return new MediaRelay();
  }
  readonly paths: readonly PathReport[] = [];
  session(o: { id: string }): MediaSession {
    return new MediaSession(o.id);
  }
  stats(): RelayStats {
    throw new Error('not yet');
  }
  /** New sessions are refused; resolves when the last session closed or after `within` ms. */
  async drain(_o: { within: number }): Promise<void> {}
  async close(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
