/** Why a body is not taken as SDP; returned, since it is the peer's fault. */
export class SdpError {
  readonly reason: 'sdp-malformed' | 'sdp-too-large';
  /** 1-based line. */
  readonly line: number;
  readonly detail: string;

  constructor(reason: SdpError['reason'], line: number, detail: string) {
    this.reason = reason;
    this.line = line;
    this.detail = detail;
  }

  toString(): string {
    return `line ${this.line}: ${this.detail}`;
  }
}
